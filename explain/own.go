package explain

import (
	"context"
	"slices"
)

// own returns what has changed in a step that primarily misses because of another one: what will still make it miss when
// the other is fixed. It returns nil if nothing has, or if that can't be told apart from the effects of the first cause.
func (r *reasons) own(ctx context.Context, step int, follows *Cause) (*Cause, error) {
	root := r.rootOf(follows.Step)
	first := r.causes[root]
	key := r.plan.current(step)
	if first == nil || first.Kind == CauseVersion || key == nil {
		return nil, nil
	}
	for _, out := range r.plan.steps[step].outputs {
		same := r.byDigest[key.key.Record(out)]
		if len(same) == 0 {
			return r.ownOperation(output{step, out}, root), nil
		}
		if cause, err := r.ownContent(ctx, output{step, out}, key, same); cause != nil || err != nil {
			return cause, err
		}
	}
	return nil, nil
}

// rootOf returns the step with the first cause behind a step's miss. Causes are found in the order of the steps.
func (r *reasons) rootOf(step int) int {
	if root, ok := r.roots[step]; ok {
		return root
	}
	return step
}

// ownOperation returns the cause if the cache has an operation nowhere, without the differences already reported for steps
// before it: a changed variable differs in all steps that follow.
func (r *reasons) ownOperation(out output, root int) *Cause {
	if r.told[root] == nil {
		r.told[root] = map[string]bool{}
		for _, d := range r.causes[root].Diff {
			r.told[root][d.key()] = true
		}
	}
	diff := slices.DeleteFunc(r.difference(out), func(d Difference) bool { return r.told[root][d.key()] })
	if len(diff) > 0 {
		for _, d := range diff {
			r.told[root][d.key()] = true
		}
		return &Cause{Kind: CauseOperation, Step: -1, Diff: diff}
	}
	first := r.causes[root].Kind
	if len(r.old) > 0 || first == CauseOperation || first == CauseBase || r.unnamed[root] {
		return nil
	}
	r.unnamed[root] = true // this may be all that has changed in those that follow
	return &Cause{Kind: CauseOperation, Step: -1}
}

// key identifies a difference.
func (d Difference) key() string {
	key := d.Field
	for _, side := range []*string{d.Old, d.New} {
		if key += "\x00"; side != nil {
			key += "=" + *side
		}
	}
	return key
}

// ownContent returns the cause if no record of an operation has the files that a directory has now.
func (r *reasons) ownContent(ctx context.Context, out output, key *candidate, same []int) (*Cause, error) {
	for i, in := range r.plan.Steps[out.step].Inputs {
		if !key.deps[i].Content || !r.plan.steps[in.Step].local {
			continue
		}
		others, fits, err := r.otherFiles(ctx, out, i, same)
		if err != nil {
			return nil, err
		}
		if fits || len(others) == 0 {
			continue
		}
		if cause := r.otherSource(out.step, i); cause != nil {
			return cause, nil
		}
		cause := &Cause{Kind: CauseContent, Step: in.Step, Paths: key.deps[i].Paths}
		others = slices.DeleteFunc(others, func(o other) bool { return r.claimed()[o.record] }) // those of twins
		if len(others) > 0 {
			best, err := r.nearest(ctx, out, others)
			cause.Files = best.files
			return cause, err
		}
		return cause, nil
	}
	return nil, nil
}

// otherFiles returns the records of an operation with other files of an input, newest first, or reports that one may have these files.
func (r *reasons) otherFiles(ctx context.Context, out output, input int, same []int) (all []other, fits bool, err error) {
	in := r.plan.Steps[out.step].Inputs[input]
	for _, record := range same {
		slots := r.config.Records[record].Inputs
		if len(slots) <= input {
			continue
		}
		sure, _, err := r.fitSlot(ctx, slots[input], output{in.Step, in.Output}, r.plan.current(out.step).deps[input])
		if err != nil || sure != fitsNot {
			return nil, true, err
		}
		all = append(all, other{record: record, input: input})
	}
	r.sortByAge(all)
	return all, false, nil
}
