package explain

import (
	"context"
	"fmt"
	"slices"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain/provenance"
)

// evidence is which of the given inputs verdicts may rest on.
type evidence struct {
	seen        *seen // nil if there is no cache that the build exported
	notContexts bool  // the directories may be those of another build
	warnings    []string
}

// weigh says whether a cache is what the build exported, and what holds if it has a step with other files than the given directories: then
// one of the two is from another build. Nothing tells which build a directory is from. For a cache there is a sign: results that were made
// while this build ran, of steps with its keys.
func (d *decider) weigh(ctx context.Context, o WhyOptions) (evidence, error) {
	if o.New == nil {
		return evidence{}, nil
	}
	if d.plan.Started.IsZero() {
		return notUsed("provenance does not say when the build began"), nil
	}
	exported, err := d.newSeen(ctx, o.New, o.Options)
	if err != nil {
		return evidence{}, err
	}
	if !exported.disagrees() {
		if step := exported.afterEnd(); step >= 0 {
			return notUsed(d.lateText(step)), nil
		}
		return evidence{seen: exported}, nil
	}
	o.Contexts = nil
	alone, err := deriveFrom(ctx, d.graph, d.plan.Build, o.Options)
	if err != nil {
		return evidence{}, err
	}
	bare, err := alone.newSeen(ctx, o.New, o.Options)
	if err != nil {
		return evidence{}, err
	}
	return d.judge(exported, bare), nil
}

// judge says what holds for a cache with other files than the given ones. bare is the same cache, matched without any directories.
func (d *decider) judge(exported, bare *seen) evidence {
	w := words{build: d.plan.Build}
	if step := bare.stranger(); step >= 0 {
		return notUsed("it has no " + w.line(step) + " of this build, so that it is not what this build exported")
	}
	late, made := bare.afterEnd(), bare.madeMeanwhile(exported)
	if late >= 0 && !made {
		return notUsed(d.lateText(late))
	}
	found := evidence{notContexts: true}
	text := "the context and the new cache disagree about the files of " + w.line(exported.disputed()) + ": one of them is not of this build; "
	switch {
	case made && late < 0:
		found.seen = bare
		text += "the new cache has what was made while this build ran, so that the context is not used"
	default:
		text += "nothing tells which, so that neither is used: leave out the one that is not"
	}
	found.warnings = []string{text}
	return found
}

func notUsed(why string) evidence {
	return evidence{warnings: []string{"the new cache is not used: " + why}}
}

func (d *decider) lateText(step int) string {
	w := words{build: d.plan.Build}
	return fmt.Sprintf("its results of %s were made after this build had ended, so that it is not what this build exported", w.line(step))
}

// disagrees reports whether the cache has a step with other files than the given ones, or with none that could be from this build.
func (s *seen) disagrees() bool { return s.disputed() >= 0 }

// disputed returns the first such step, or -1.
func (s *seen) disputed() int {
	step := s.stranger()
	if step < 0 || s.doubted >= 0 && s.doubted < step {
		return s.doubted
	}
	return step
}

// afterEnd returns a step with a result that was made after the build had ended, or -1.
func (s *seen) afterEnd() int {
	if s.plan.Finished.IsZero() {
		return -1
	}
	for step := range s.plan.steps {
		if s.plan.Steps[step].Op.Source != nil {
			continue
		}
		for _, out := range s.plan.steps[step].outputs {
			if slices.ContainsFunc(s.found[output{step, out}], func(f match) bool { return isAfter(s.plan.Build, s.newest(f.record)) }) {
				return step
			}
		}
	}
	return -1
}

// madeMeanwhile reports whether a record was made while the build ran and is not one that has the given files.
func (s *seen) madeMeanwhile(given *seen) bool {
	for out, found := range s.found {
		for _, f := range found {
			isOther := given.others[f.record] || !given.has(out, f.record)
			if isOther && s.owners[f.record] == 1 && s.isMeanwhile(f.record) {
				return true
			}
		}
	}
	return false
}

// isMeanwhile reports whether a record has a result that was made while the build ran.
func (s *seen) isMeanwhile(record int) bool {
	return slices.ContainsFunc(s.results(record), func(r result) bool { return isSince(s.plan.Build, r.made) && !isAfter(s.plan.Build, r.made) })
}

// isAfter reports whether a result was made after a build had ended, or may have been because the end is unknown.
func isAfter(b *provenance.Build, made buildcache.Time) bool {
	return b.Finished.IsZero() || made.After(b.Finished)
}
