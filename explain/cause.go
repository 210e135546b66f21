package explain

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain/llb"
)

// CauseKind names a reason for a miss. The names are part of the interface:
// scripts match on them.
type CauseKind string

// The kinds of causes.
const (
	CauseNoCache   CauseKind = "no-cache"  // the build was told not to use the cache
	CauseFollows   CauseKind = "follows"   // it stands on an earlier step that misses
	CauseBase      CauseKind = "base"      // an image or another source is not the cache's
	CauseOperation CauseKind = "operation" // the cache has no such operation
	CauseContent   CauseKind = "content"   // the operation is there, with other files
	CauseMoved     CauseKind = "moved"     // the operation is there, on other inputs
	CauseVersion   CauseKind = "version"   // the operation is there, under a key that only older BuildKits make
	CausePruned    CauseKind = "pruned"    // the key is there, without a result
	CauseNoResult  CauseKind = "no-result" // the key is there, and a step with nothing under it never has a result
	CauseLayer     CauseKind = "layer"     // the result is there, without one of its layers
	CauseIgnored   CauseKind = "ignored"   // the cache has it, and the build ran it anyway
	CauseUnknown   CauseKind = "unknown"   // it ran, and nothing here says why
)

// Cause is the first reason for a miss.
type Cause struct {
	Kind CauseKind
	// Step is the step to blame: for CauseFollows the one that misses, for CauseContent the one whose files differ, for
	// CausePruned and CauseNoResult the one that needs the result; else -1.
	Step  int
	Paths []llb.Selection // of CauseContent, none for all files
	Diff  []Difference
	Files []FileChange
	// Before is, for CauseVersion, the first version that no longer makes the cache's keys.
	Before string
	Layer  digest.Digest // of CauseLayer
	// Own is, for CauseFollows, what has changed in the step itself, so that it would still miss if the other one hit. It is
	// nil if nothing has, or nothing that is known.
	Own *Cause

	hits bool // the step whose files are to blame hits: it is other files of it that are taken
}

// verdicts assembles what was found.
func (d *decider) verdicts(ctx context.Context, o WhyOptions) ([]StepVerdict, error) {
	why, doubles := newReasons(d, o), newDoubles(d)
	var all []StepVerdict
	for step := range d.plan.steps {
		if !d.plan.shown(step) {
			continue
		}
		s := d.steps[step]
		v := StepVerdict{Step: step, Verdict: s.verdict, Measured: s.measured}
		v.Made = v.Verdict == Hit && !v.Measured && d.made(step)
		switch s.verdict {
		case Maybe, Unknown:
			v.If = s.needs
		case Miss:
			cause, err := why.of(ctx, step)
			if err != nil {
				return nil, err
			}
			v.Cause, v.Elsewhere = cause, s.elsewhere
			double, err := doubles.of(ctx, step)
			if err != nil {
				return nil, err
			}
			if double >= 0 {
				v.Verdict, v.Measured, v.If = Maybe, false, []Condition{{Step: double, Same: true}}
			}
		case Hit, KeyOnly: // nothing more to say
		}
		all = append(all, v)
	}
	return all, nil
}
