package explain

import (
	"fmt"
	"slices"
)

// Hint names an option that would tell more than is known, and what it would tell.
type Hint struct {
	Option string `json:"option"` // such as --context DIR
	Tells  string `json:"tells"`
}

// hints returns the options that were not given but would help to decide or explain the remaining steps.
func (r *Report) hints(o ReportOptions) []Hint {
	var all []Hint
	for _, name := range r.Missing {
		switch {
		case !r.hangsOn(name):
		case name == mainContext:
			all = append(all, Hint{"--context DIR", "the files of the build context"})
		default:
			all = append(all, Hint{"--context " + name + "=DIR", "the files of the context " + name})
		}
	}
	if len(o.Old) == 0 && slices.ContainsFunc(r.Steps, lacksOld) {
		all = append(all, Hint{"--old-provenance FILE", "what a base, a command or a variable was before"})
	}
	if o.New == nil && slices.ContainsFunc(r.Steps, func(s StepReport) bool { return s.Verdict == Maybe && s.started && !s.IsDouble() }) {
		all = append(all, Hint{"--new-cache REF", "what the build ran, once it has run and exported"})
	}
	return all
}

// hangsOn reports whether the files of a context would decide or explain something.
func (r *Report) hangsOn(context string) bool {
	return slices.ContainsFunc(r.Steps, func(s StepReport) bool {
		return slices.ContainsFunc(s.If, func(c ConditionOf) bool { return c.Files && c.context == context }) ||
			s.Cause != nil && s.Cause.Kind == CauseContent && s.Cause.context == context
	})
}

// lacksOld reports whether it is unknown what a step was before.
func lacksOld(s StepReport) bool {
	return s.Cause != nil && (s.Cause.Kind == CauseOperation || s.Cause.Kind == CauseBase) && len(s.Cause.Diff) == 0
}

// Undecided returns how many steps can't be decided from what was given.
func (r *Report) Undecided() int { return r.Count(Maybe) + r.Count(Unknown) + r.Made() }

// String says what the option would tell.
func (h Hint) String() string { return fmt.Sprintf("%s (%s)", h.Option, h.Tells) }
