package explain

import (
	"fmt"
	"slices"
)

// need says whether a build asks for the result of a step.
type need int

const (
	neededNot need = iota // not at all
	neededMaybe
	neededSurely
)

// walk goes backwards from the result of the build. A hit needs nothing before it. A miss needs the results of its inputs,
// and an unknown content needs the input that the files belong to. A step without a result runs if its result is needed.
func (d *decider) walk() {
	for step := range d.steps {
		s := &d.steps[step]
		s.needed, s.asked, s.by = neededNot, false, nil
		if !s.measured {
			s.verdict, s.needs = s.derived, nil
			if s.derived == Maybe || s.derived == Unknown {
				s.needs = s.lacks
			}
		}
	}
	if target := d.plan.TargetStep(); target >= 0 {
		d.steps[target].needed = neededSurely
	}
	for step := len(d.steps) - 1; step >= 0; step-- {
		d.settle(step)
		d.ask(step)
		d.spread(step)
	}
}

// derive finds each step's verdict from the cache alone.
func (d *decider) derive() {
	for step := range d.plan.steps {
		d.markLate(step)
		d.steps[step].derived, d.steps[step].lacks = d.combine(step)
	}
}

// combine returns the verdict of a step, which is the worst of its outputs' verdicts.
func (d *decider) combine(step int) (Verdict, []Condition) {
	worst, needs := Verdict(""), []Condition(nil)
	for _, out := range d.plan.steps[step].outputs {
		v, n := d.verdictOf(output{step, out})
		if worst == "" || slices.Index(worstFirst, v) < slices.Index(worstFirst, worst) {
			worst, needs = v, n
		}
	}
	return worst, needs
}

var worstFirst = []Verdict{Miss, Unknown, Maybe, KeyOnly, Hit}

func (d *decider) verdictOf(out output) (Verdict, []Condition) {
	s := d.states[out]
	source := d.plan.Steps[out.step].Op.Source != nil
	switch {
	case d.plan.isUnknown(out.step):
		return Unknown, nil
	case source && len(s.sure) > 0, s.usable:
		return Hit, nil
	case s.may != nil && slices.ContainsFunc(s.may.needs, func(n Condition) bool { return len(n.Absent) > 0 }):
		return Unknown, s.may.needs
	case s.may != nil:
		return Maybe, s.may.needs
	case len(s.sure) > 0, len(s.maybe) > 0:
		return KeyOnly, nil
	default:
		return Miss, nil
	}
}

// settle decides on a step without a result once it is known whether that result is needed.
func (d *decider) settle(step int) {
	s := &d.steps[step]
	if s.verdict != KeyOnly {
		return
	}
	switch s.needed {
	case neededSurely:
		s.verdict = Miss
	case neededMaybe:
		s.verdict = Maybe
		for _, by := range s.by {
			s.needs = append(s.needs, Condition{Step: by})
		}
	case neededNot:
	}
}

// ask notes which keys BuildKit needs to know, and so which files: to compare files it must have them, whatever the outcome.
func (d *decider) ask(step int) {
	s := &d.steps[step]
	if !s.asked && s.needed < neededSurely {
		return
	}
	for _, out := range d.plan.steps[step].outputs {
		for _, n := range d.states[output{step, out}].lacking() {
			if n.Files {
				d.raise(n.Step, neededSurely, step)
			} else {
				d.steps[n.Step].asked = true
			}
		}
	}
	d.askLate(step)
	if d.plan.Steps[step].Op.IsResult() {
		for _, in := range d.plan.Steps[step].Inputs {
			d.steps[in.Step].asked = true
		}
	}
}

// lacking returns the conditions without which nothing can be decided: those shared by all records that may stand for the output.
func (s *state) lacking() []Condition {
	if len(s.sure) > 0 || len(s.maybe) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(s.maybe[0].needs), func(n Condition) bool {
		return slices.ContainsFunc(s.maybe, func(o option) bool { return !slices.ContainsFunc(o.needs, n.same) })
	})
}

func (c Condition) same(other Condition) bool {
	return c.Step == other.Step && c.Files == other.Files && fmt.Sprint(c.Paths) == fmt.Sprint(other.Paths)
}

// spread notes what a step needs of its inputs.
func (d *decider) spread(step int) {
	s := &d.steps[step]
	level := s.needed
	switch s.verdict {
	case Hit, KeyOnly:
		return
	case Maybe, Unknown:
		level = min(level, neededMaybe)
	case Miss:
	}
	for _, in := range d.plan.Steps[step].Inputs {
		d.raise(in.Step, level, step)
	}
	for _, n := range s.needs {
		if n.Files {
			d.raise(n.Step, s.needed, step)
		}
	}
}

// raise notes that a step is needed, and by which other one.
func (d *decider) raise(step int, level need, by int) {
	s := &d.steps[step]
	if level > s.needed {
		s.needed, s.by = level, nil
	}
	if level == s.needed && level != neededNot && !slices.Contains(s.by, by) {
		s.by = append(s.by, by)
	}
}

// neededBy returns the step that makes a step without a result run, itself running for another reason, or -1.
func (d *decider) neededBy(step int) int {
	for d.steps[step].derived == KeyOnly {
		if len(d.steps[step].by) == 0 {
			return -1
		}
		step = d.steps[step].by[0]
	}
	if !d.plan.shown(step) {
		return -1
	}
	return step
}
