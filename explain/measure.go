package explain

// measure applies what was observed: whether the history says that a step was cached, or whether its result in the cache
// that the build exported is younger than the build. The history also calls a step cached that was first skipped but then
// had to run for another one, or that the builder already had. So it turns no miss into a hit, and neither does the
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

// setSeen notes whether a step was seen to run. A step that did not run but is not in this cache is still no hit.
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
