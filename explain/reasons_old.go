package explain

import (
	"slices"
)

// oldBuild is a build that the cache comes from.
type oldBuild struct {
	plan     *plan
	matching *matching
	on       map[int][]int    // steps by the records of their first input
	after    map[int][]int    // steps by the step of their first input
	of       map[int]int      // steps by their records
	byKey    map[string][]int // steps by their keys
	sources  map[string][]int // by their names

	// Cached answers: steps in a place that are not in the new build; sources that the new build does not name, images (true)
	// and others; fields; and, by step of the new build, its counterpart.
	free         map[place][]int
	gone         map[bool][]int
	fields       map[int]map[string]string
	counterparts map[int]int
}

// place is what operations of one kind stand on: a record, or a step.
type place struct {
	on     int
	isStep bool
	kind   string
}

func newOldBuild(g *graph, p *plan) *oldBuild {
	old := &oldBuild{
		plan: p, matching: newMatching(g, p), on: map[int][]int{}, after: map[int][]int{}, of: map[int]int{}, byKey: map[string][]int{},
		sources: map[string][]int{}, free: map[place][]int{}, gone: map[bool][]int{}, fields: map[int]map[string]string{},
		counterparts: map[int]int{},
	}
	for i := range p.Steps {
		old.add(i)
	}
	return old
}

func (old *oldBuild) add(i int) {
	s := &old.plan.Steps[i]
	for _, n := range old.plan.steps[i].outputs {
		for _, f := range old.matching.found[output{i, n}] {
			old.of[f.record] = i
		}
	}
	if key := old.plan.current(i); key != nil {
		old.byKey[key.key.Text] = append(old.byKey[key.key.Text], i)
	}
	switch {
	case s.Op.Source != nil:
		name := sourceName(s.Op.Source)
		old.sources[name] = append(old.sources[name], i)
	case s.Op.IsResult():
	case len(s.Inputs) == 0:
		old.on[onNothing] = append(old.on[onNothing], i)
	case old.plan.steps[s.Inputs[0].Step].local:
		old.on[onLocal] = append(old.on[onLocal], i)
	default:
		old.after[s.Inputs[0].Step] = append(old.after[s.Inputs[0].Step], i)
		for _, f := range old.matching.found[output{s.Inputs[0].Step, s.Inputs[0].Output}] {
			old.on[f.record] = append(old.on[f.record], i)
		}
	}
}

// fieldsOf returns the fields of a step.
func (old *oldBuild) fieldsOf(i int) map[string]string {
	if old.fields[i] == nil {
		old.fields[i] = old.plan.Steps[i].Op.Fields(old.plan.Builder)
	}
	return old.fields[i]
}

// neighbours returns the steps of an old build that an operation may have been: they are of the same kind, stood on the
// same records or their counterparts, and are not in the new build.
func (r *reasons) neighbours(old *oldBuild, step int) []int {
	most := r.most()
	kind := r.plan.Steps[step].Op.Kind()
	var all []int
	for _, on := range r.standsOn(step) {
		for _, i := range r.freeOf(old, place{on: on, kind: kind}, old.on[on]) {
			if len(all) == most {
				break
			}
			if !slices.Contains(all, i) {
				all = append(all, i)
			}
		}
	}
	if inputs := r.plan.Steps[step].Inputs; len(all) == 0 && len(inputs) > 0 {
		if before := r.counterpart(old, inputs[0].Step); before >= 0 {
			all = r.freeOf(old, place{on: before, isStep: true, kind: kind}, old.after[before])
			all = all[:min(len(all), most)]
		}
	}
	r.compared += len(all)
	return all
}

// most returns how many old steps one new step is compared with.
func (r *reasons) most() int {
	if r.compared >= maxCompared {
		return 1
	}
	return maxNeighbours
}

// freeOf returns those of an old build's steps in a place that are not in the new build.
func (r *reasons) freeOf(old *oldBuild, at place, steps []int) []int {
	all, known := old.free[at]
	if !known {
		twins := old.countKeys(steps)
		for _, i := range steps {
			if old.plan.Steps[i].Op.Kind() == at.kind && (r.isFewer(old, i, twins) || !r.isClaimed(old, i) && !r.isElsewhere(old, i)) {
				all = append(all, i)
			}
		}
		old.free[at] = all
	}
	return all
}

// countKeys returns, for each key, how many of some steps have it.
func (old *oldBuild) countKeys(steps []int) map[string]int {
	count := map[string]int{}
	for _, i := range steps {
		if key := old.plan.current(i); key != nil {
			count[key.key.Text]++
		}
	}
	return count
}

// isFewer reports whether an old step is one of several twins of which the new build has some, but fewer: one of them has changed.
func (r *reasons) isFewer(old *oldBuild, i int, twins map[string]int) bool {
	key := old.plan.current(i)
	if key == nil {
		return false
	}
	now := len(r.newKeys()[key.key.Text])
	return now > 0 && now < twins[key.key.Text]
}

// standsOn returns the records of the first input of a step.
func (r *reasons) standsOn(step int) []int {
	inputs := r.plan.Steps[step].Inputs
	if len(inputs) == 0 {
		return []int{onNothing}
	}
	if r.plan.steps[inputs[0].Step].local {
		return []int{onLocal}
	}
	return r.states[output{inputs[0].Step, inputs[0].Output}].all()
}

// sameRecord reports whether two inputs are the same record, or both a local source.
func (r *reasons) sameRecord(old *oldBuild, was, is inputOf) bool {
	if old.plan.steps[was.Step].local || r.plan.steps[is.Step].local {
		return old.plan.steps[was.Step].local == r.plan.steps[is.Step].local
	}
	records := r.states[output{is.Step, is.Output}].all()
	return slices.ContainsFunc(old.matching.found[output{was.Step, was.Output}], func(f match) bool {
		return slices.Contains(records, f.record)
	})
}

// isClaimed reports whether a step of an old build is a step of the new one too.
func (r *reasons) isClaimed(old *oldBuild, i int) bool {
	for _, n := range old.plan.steps[i].outputs {
		for _, f := range old.matching.found[output{i, n}] {
			if r.claimed()[f.record] {
				return true
			}
		}
	}
	return false
}

// isElsewhere reports whether the new build also has the operation of an old step, so that it was moved rather than changed.
func (r *reasons) isElsewhere(old *oldBuild, i int) bool {
	key := old.plan.current(i)
	return key != nil && len(r.newKeys()[key.key.Text]) > 0
}

// otherInputs returns the differences between the inputs of two operations, from the second input on.
func (r *reasons) otherInputs(old *oldBuild, i, step int) []Difference {
	was, is := old.plan.Steps[i].Inputs, r.plan.Steps[step].Inputs
	var all []Difference
	for n := 1; n < max(len(was), len(is)); n++ {
		if n < len(was) && n < len(is) && r.sameRecord(old, was[n], is[n]) {
			continue
		}
		d := Difference{Field: "input"}
		if n < len(was) {
			d.Old = new(old.plan.describe(was[n].Step))
		}
		if n < len(is) {
			d.New = new(r.plan.describe(is[n].Step))
		}
		if d.Old == nil || d.New == nil || *d.Old != *d.New {
			all = append(all, d)
		}
	}
	return all
}
