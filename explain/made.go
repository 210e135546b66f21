package explain

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain/provenance"
)

// made reports whether all results of a step were made after the build began, so that it can't have found them.
func (d *decider) made(step int) bool {
	found := false
	for _, out := range d.plan.steps[step].outputs {
		for _, record := range d.states[output{step, out}].sure {
			for _, result := range d.results(record) {
				if !isSince(d.plan.Build, result.made) {
					return false
				}
				found = true
			}
		}
	}
	return found
}

// isSince reports whether a result was made after a build began.
func isSince(b *provenance.Build, made buildcache.Time) bool {
	return !b.Started.IsZero() && !made.IsZero() && !made.Before(b.Started)
}

// next returns the builds that the question is about. If it is unknown what would be left out of the build context, that context is no
// longer used, and notes say so.
func (o *ReportOptions) next(builds []*provenance.Build) (next []*provenance.Build, notes []string, err error) {
	if !o.Next {
		return builds, nil, nil
	}
	if next, err = again(builds, o.Contexts); err != nil {
		return nil, nil, err
	}
	if lost := unplaced(builds, o.Contexts); len(lost) > 0 {
		notes = unplacedNotes(lost, o.Contexts, o.Redact)
		o.Contexts = maps.Clone(o.Contexts)
		delete(o.Contexts, mainContext)
	}
	return next, notes, nil
}

// again returns the builds as if they were still to begin: everything in the cache is there before them, and what is left out of their
// contexts is what is to be left out now.
func again(builds []*provenance.Build, contexts Contexts) ([]*provenance.Build, error) {
	all := make([]*provenance.Build, len(builds))
	for i, b := range builds {
		next := *b
		next.Started = time.Time{}
		next.Steps = slices.Clone(b.Steps)
		for i, step := range next.Steps {
			op, err := ignoringNow(b, step.Op, contexts)
			if err != nil {
				return nil, err
			}
			next.Steps[i].Op = op
		}
		all[i] = &next
	}
	return all, nil
}

// madeWarning warns of a cache that the builds themselves exported.
func (g *graph) madeWarning(records []Record, builds []*provenance.Build) []string {
	n := 0
	for _, r := range records {
		if r.Kind != KindStep {
			continue
		}
		for _, result := range g.results(r.Index) {
			if isSince(builds[r.Names[0].Build], result.made) {
				n++
			}
		}
	}
	if n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d of this cache's results were made since this build began, mostly by the build itself: "+
		"to know what it found, give the cache from before it; --next asks what another build of these steps will find", n)}
}
