package explain

// measure takes what was seen: whether the history says that a step was cached, or whether its result in the cache that the
// build exported is younger than the build. The history says so of a step as well that was passed over first and had to run
// after all, for another one; and of one that the builder had by itself. So it makes no hit of a miss, and neither does the
// exported cache.
func (d *decider) measure(seen *seen) {
	for step, s := range d.plan.Steps {
		if s.Cached == nil || s.Op.Source != nil || *s.Cached && d.steps[step].verdict == Miss {
			continue
		}
		d.setMeasured(step, *s.Cached)
	}
	if d.seen = seen; seen == nil {
		return
	}
	for step := range d.plan.steps {
		if d.plan.Steps[step].Op.Source != nil {
			continue
		}
		if ran, known := seen.ran(step); known {
			d.setSeen(step, ran)
		}
	}
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
