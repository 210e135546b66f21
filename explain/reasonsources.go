package explain

import (
	"reflect"
	"slices"
)

// otherSource returns the cause if a step of an old build took files from another path that no step takes any more. The key
// can't tell, because it contains only the files.
func (r *reasons) otherSource(step, input int) *Cause {
	key := r.plan.current(step).key.Text
	for _, old := range r.old {
		same := old.byKey[key]
		if slices.ContainsFunc(same[:min(len(same), maxNeighbours)], func(i int) bool { return takesSame(old.plan, i, r.plan, step, input) }) {
			return nil
		}
	}
	for _, old := range r.old {
		i := r.goneSource(old, key, step, input)
		if i < 0 {
			continue
		}
		if diff := diffFields(old.fieldsOf(i), r.plan.Steps[step].Op.Fields(r.plan.Builder)); len(diff) > 0 {
			return &Cause{Kind: CauseOperation, Step: -1, Diff: diff}
		}
	}
	return nil
}

// goneSource returns the step of an old build that has the key of a step and whose paths no step of the new build takes, or -1:
// the only such step, or the counterpart.
func (r *reasons) goneSource(old *oldBuild, key string, step, input int) int {
	before, now := old.byKey[key], r.newKeys()[key]
	var gone []int
	for _, i := range before[:min(len(before), maxTwins)] {
		if !slices.ContainsFunc(now[:min(len(now), maxTwins)], func(other int) bool { return takesSame(old.plan, i, r.plan, other, input) }) {
			gone = append(gone, i)
		}
	}
	if len(gone) == 1 {
		return gone[0]
	}
	if i := r.counterpart(old, step); slices.Contains(gone, i) {
		return i
	}
	return -1
}

// maxTwins is the most steps with one key whose paths are compared with those of others.
const maxTwins = 16

// takesSame reports whether two steps with the same key take the same paths of an input.
func takesSame(p *plan, a int, q *plan, b, input int) bool {
	x, y := p.current(a).deps, q.current(b).deps
	return len(x) == len(y) && reflect.DeepEqual(x[input].Paths, y[input].Paths)
}
