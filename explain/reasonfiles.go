package explain

import (
	"cmp"
	"context"
	"slices"
)

// maxOthers is the most records with other files that a step is compared with.
const maxOthers = 8

// other is a record of an operation with other files of one input.
type other struct {
	record, input int
	files         []FileChange // nil if unknown
}

// otherContent returns the cause if the cache has a record of the step with other files of an input. Records of another step
// of this build do not count: twins have the same operation, with files of their own.
func (r *reasons) otherContent(ctx context.Context, out output, key *candidate, same []int) (*Cause, error) {
	all, err := r.others(ctx, out, key, same)
	if len(all) == 0 || err != nil {
		return nil, err
	}
	inputs := r.plan.Steps[out.step].Inputs
	own := slices.DeleteFunc(slices.Clone(all), func(o other) bool { return r.claimed()[o.record] })
	for _, o := range own {
		if r.isOlderContent(ctx, r.config.Records[o.record].Inputs[o.input], inputs[o.input], key.deps[o.input]) {
			return &Cause{Kind: CauseVersion, Step: -1, Before: "v0.26"}, nil
		}
	}
	if cause := r.otherSource(out.step, all[0].input); cause != nil {
		return cause, nil
	}
	best := all[0]
	if len(own) > 0 {
		best, err = r.nearest(ctx, out, own)
	}
	in := inputs[best.input].Step
	if r.defines(in) && r.misses(in) {
		return &Cause{Kind: CauseFollows, Step: in}, err
	}
	hits := r.steps[in].verdict == Hit
	return &Cause{Kind: CauseContent, Step: in, Paths: key.deps[best.input].Paths, Files: best.files, hits: hits}, err
}

// defines reports whether the files of a step are part of its operation, as those of a heredoc are.
func (r *reasons) defines(step int) bool {
	return r.plan.Steps[step].Op.File != nil && len(r.plan.Steps[step].Inputs) == 0
}

// others returns the records that differ from a step only in the files of one input, newest first.
func (r *reasons) others(ctx context.Context, out output, key *candidate, same []int) ([]other, error) {
	inputs := r.plan.Steps[out.step].Inputs
	var all []other
	for _, record := range same {
		slots := r.config.Records[record].Inputs
		if len(slots) != len(inputs) {
			continue
		}
		differs := -1
		for i, in := range inputs {
			sure, _, err := r.fitSlot(ctx, slots[i], output{in.Step, in.Output}, key.deps[i])
			if err != nil {
				return nil, err
			}
			if sure == fitsNot && key.deps[i].Content && differs < 0 {
				differs = i
			} else if sure == fitsNot {
				differs = len(inputs)
			}
		}
		if differs >= 0 && differs < len(inputs) {
			all = append(all, other{record: record, input: differs})
		}
	}
	r.sortByAge(all)
	return all, nil
}

// sortByAge puts the newest records first.
func (r *reasons) sortByAge(all []other) {
	slices.SortStableFunc(all, func(a, b other) int { return r.newest(b.record).Compare(r.newest(a.record).Time) })
}

// nearest returns the record that a step most likely had: the newest or, if another step of the build has the same
// operation, the one with the fewest differences, without names of files if several tie or a record's are unknown.
func (r *reasons) nearest(ctx context.Context, out output, own []other) (other, error) {
	own = own[:min(len(own), maxOthers)]
	if !r.hasTwin(out.step) {
		own = own[:1]
	}
	for i, o := range own {
		files, err := r.changedFiles(ctx, out, o.record, r.plan.Steps[out.step].Inputs[o.input].Step)
		if err != nil {
			return o, err
		}
		own[i].files = files
	}
	if len(own) == 1 {
		return own[0], nil
	}
	best := slices.MinFunc(own, func(a, b other) int { return cmp.Compare(len(a.files), len(b.files)) })
	for _, o := range own {
		if len(o.files) == 0 || o.record != best.record && len(o.files) == len(best.files) {
			best.files = nil
			break
		}
	}
	return best, nil
}

// hasTwin reports whether another step of the build has the same operation.
func (r *reasons) hasTwin(step int) bool { return len(r.newKeys()[r.plan.current(step).key.Text]) > 1 }

// noResult returns the cause of a step that runs because it has no result and one is needed.
func (r *reasons) noResult(step int) *Cause {
	by := r.neededBy(step)
	switch {
	case len(r.plan.Steps[step].Inputs) > 0:
		return &Cause{Kind: CausePruned, Step: by}
	case by >= 0 && r.misses(by):
		return &Cause{Kind: CauseFollows, Step: by}
	default:
		return &Cause{Kind: CauseNoResult, Step: by}
	}
}
