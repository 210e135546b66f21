package explain

import (
	"context"
	"fmt"
)

// measure takes what was seen: whether the history says that a step was cached, or whether its result in the cache that the
// build exported is younger than the build. The history says so of a step as well that was passed over first and had to run
// after all, for another one; and of one that the builder had by itself. So it makes no hit of a miss, and neither does the
// exported cache. It returns warnings.
func (d *decider) measure(ctx context.Context, o WhyOptions) ([]string, error) {
	for step, s := range d.plan.Steps {
		if s.Cached == nil || s.Op.Source != nil || *s.Cached && d.steps[step].verdict == Miss {
			continue
		}
		d.setMeasured(step, *s.Cached)
	}
	if o.New == nil {
		return nil, nil
	}
	if d.plan.Started.IsZero() {
		return []string{"the new cache is not used: provenance does not say when the build began"}, nil
	}
	seen, err := d.newSeen(ctx, o.New, o.Options)
	if err != nil {
		return nil, err
	}
	if step := seen.stranger(); step >= 0 {
		return []string{d.strangerWarning(step)}, nil
	}
	d.seen = seen
	for step := range d.plan.steps {
		if d.plan.Steps[step].Op.Source != nil {
			continue
		}
		if ran, known := seen.ran(step); known {
			d.setSeen(step, ran)
		}
	}
	if seen.doubted >= 0 {
		w := words{build: d.plan.Build}
		return []string{"the new cache has " + w.line(seen.doubted) + " with other files than were given, made since the build began: " +
			"is the context that of the build?"}, nil
	}
	return nil, nil
}

func (d *decider) strangerWarning(step int) string {
	w := words{build: d.plan.Build}
	return fmt.Sprintf("the new cache is not used: it has no %s with the files that the build had there, so that it is not what this build exported",
		w.line(step))
}

// setSeen notes whether a step was seen to run. One that this cache does not have and that did not run is still no hit.
func (d *decider) setSeen(step int, ran bool) {
	s := &d.steps[step]
	if !ran && (s.derived == Miss || s.derived == KeyOnly) {
		s.elsewhere = s.derived == Miss || s.verdict == Miss
		return
	}
	d.setMeasured(step, !ran)
}

func (d *decider) setMeasured(step int, cached bool) {
	s := &d.steps[step]
	s.measured, s.needs = true, nil
	s.verdict = Miss
	if cached {
		s.verdict = Hit
	}
}
