package explain

import (
	"context"

	"github.com/ocicache/ocicache/explain/llb"
)

// A step that BuildKit is told to run without the cache gives its followers no keys to look up: they run too, unless
// they are found by their files. But once both have run, their keys are the usual ones, so that what stands on a
// follower is found by its key again.

// isLate reports whether an output may have records that it was not found by, because its step or an input of it ignores
// the cache.
func (d *decider) isLate(out output, s *state) bool {
	if len(s.sure) > 0 || d.plan.Steps[out.step].Op.Source != nil || d.plan.current(out.step) == nil {
		return false
	}
	return d.plan.Steps[out.step].IgnoreCache || d.standsOnIgnored(out.step)
}

// standsOnIgnored reports whether an input of a step was told to ignore the cache.
func (d *decider) standsOnIgnored(step int) bool {
	for _, in := range d.plan.Steps[step].Inputs {
		if d.plan.Steps[in.Step].IgnoreCache {
			return true
		}
	}
	return false
}

// askLate notes what has to run before the keys of a step's inputs are known: followers of steps that ignore the cache, and
// those steps themselves, however far below.
func (d *decider) askLate(step int) {
	for _, in := range d.plan.Steps[step].Inputs {
		if s := d.states[output{in.Step, in.Output}]; len(s.ran) > 0 {
			d.raise(in.Step, neededSurely, step)
		} else if d.late[in.Step] {
			d.steps[in.Step].asked = true
		}
	}
}

// markLate notes whether the keys of a step are known only once something has run.
func (d *decider) markLate(step int) {
	for _, in := range d.plan.Steps[step].Inputs {
		d.late[step] = d.late[step] || d.late[in.Step] || len(d.states[output{in.Step, in.Output}].ran) > 0
	}
}

// findRan finds the records that stand for an output once it has run.
func (d *decider) findRan(ctx context.Context, out output, s *state) error {
	key, inputs := d.plan.current(out.step), d.plan.Steps[out.step].Inputs
	for _, r := range d.candidates(key.key.Record(out.output), firstSelector(*key), d.first(inputs, key)) {
		sure, needs, err := d.fitRan(ctx, r, inputs, key.deps)
		if err != nil {
			return err
		}
		if sure != fitsNot && !s.hasMaybe(r) {
			s.ran = append(s.ran, option{r, needs})
		}
	}
	if len(s.ran) > 1 { // BuildKit takes one of them, and which is unknown
		for i := range s.ran {
			s.ran[i].needs = append(s.ran[i].needs, Condition{Step: out.step, Files: true})
		}
	}
	return nil
}

func (s *state) hasMaybe(record int) bool {
	for _, o := range s.maybe {
		if o.record == record {
			return true
		}
	}
	return false
}

// hasRun returns what is known of a record that stands for an output once it has run, or nil.
func (s *state) hasRun(record int) *option {
	for i := range s.ran {
		if s.ran[i].record == record {
			return &s.ran[i]
		}
	}
	return nil
}

// fitRan says whether a record has the inputs of a step that has run. As in BuildKit's getIDFromDeps, one key of the first
// input is enough, but the other inputs need both: that of the operation and that of the files.
func (d *decider) fitRan(ctx context.Context, record int, inputs []inputOf, deps []llb.Dep) (certainty, []Condition, error) {
	return d.fitEach(record, inputs, func(i int, slot []alternative, in output) (certainty, Condition, error) {
		return d.fitRanSlot(ctx, slot, in, deps[i], i == 0)
	})
}

func (d *decider) fitRanSlot(ctx context.Context, slot []alternative, in output, dep llb.Dep, isFirst bool) (certainty, Condition, error) {
	sure, need := d.linkRan(slot, in, dep.Selector.String())
	enough := fitsNot
	if isFirst {
		enough = fitsSurely
	}
	if !dep.Content || sure == enough {
		return sure, need, nil
	}
	files, err := d.contentRan(ctx, slot, in, dep)
	if err != nil {
		return fitsNot, need, err
	}
	if isFirst && files > sure || !isFirst && files < sure {
		sure, need = files, Condition{Step: in.step, Paths: dep.Paths, Files: true, Absent: d.contents.absent(in, dep.Paths)}
	}
	return sure, need, nil
}

// linkRan says whether an input links to the record that the step's input has once it has run or been loaded.
func (d *decider) linkRan(slot []alternative, in output, selector string) (certainty, Condition) {
	s := d.states[in]
	need := Condition{Step: in.step}
	linked, sure := 0, true
	for _, record := range s.all() {
		for _, a := range slot {
			if a.Link != record || a.Selector != selector {
				continue
			}
			linked++
			if ran := s.hasRun(record); s.hasMaybe(record) || ran != nil && len(ran.needs) > 0 {
				sure = false
				if ran != nil {
					need = ran.needs[0]
				}
			}
			break
		}
	}
	switch {
	case linked > 0 && linked == len(s.all()) && sure:
		return fitsSurely, need
	case linked > 0, d.plan.isUnknown(in.step):
		return fitsMaybe, need
	default:
		return fitsNot, need
	}
}

// contentRan says whether an input has the files of one of the contents in a slot.
func (d *decider) contentRan(ctx context.Context, slot []alternative, in output, dep llb.Dep) (certainty, error) {
	best := fitsNot
	for _, a := range slot {
		if !d.isContent(a) {
			continue
		}
		sure, err := d.fitContent(ctx, a.Link, in, dep)
		if err != nil || sure == fitsSurely {
			return sure, err
		}
		best = max(best, sure)
	}
	return best, nil
}
