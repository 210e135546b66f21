package explain

// counterpart returns the step of an old build whose place a new step has taken, or -1: it has the same record or the same
// key, or it stands on the counterpart of what the new one stands on and is the most similar.
func (r *reasons) counterpart(old *oldBuild, step int) int {
	if known, ok := old.counterparts[step]; ok {
		return known
	}
	old.counterparts[step] = -1
	found := r.findCounterpart(old, step)
	old.counterparts[step] = found
	return found
}

func (r *reasons) findCounterpart(old *oldBuild, step int) int {
	s := &r.plan.Steps[step]
	if s.Op.Source != nil {
		return r.sourceCounterpart(old, step)
	}
	for _, out := range r.plan.steps[step].outputs {
		for _, record := range r.states[output{step, out}].all() {
			if i, ok := old.of[record]; ok {
				return i
			}
		}
	}
	before := -1
	if len(s.Inputs) > 0 {
		before = r.counterpart(old, s.Inputs[0].Step)
	}
	if key := r.plan.current(step); key != nil {
		if same := old.byKey[key.key.Text]; len(same) > 0 {
			for _, i := range same[:min(len(same), maxNeighbours)] {
				if in := old.plan.Steps[i].Inputs; len(in) > 0 && in[0].Step == before {
					return i
				}
			}
			return same[0]
		}
	}
	best, _ := r.closest(old, step)
	return best
}

// sourceCounterpart returns the source of an old build whose place a new one has taken.
func (r *reasons) sourceCounterpart(old *oldBuild, step int) int {
	if same := old.sources[sourceName(r.plan.Steps[step].Op.Source)]; len(same) > 0 {
		return same[0]
	}
	return r.sourceBefore(old, step)
}

// closest returns the step of an old build that is most similar to a new operation, among those that it may come from, and
// how they differ.
func (r *reasons) closest(old *oldBuild, step int) (best int, diff []Difference) {
	best = -1
	fields := r.plan.Steps[step].Op.Fields(r.plan.Builder)
	for _, i := range r.neighbours(old, step) {
		d := append(diffFields(old.fieldsOf(i), fields), r.otherInputs(old, i, step)...)
		if len(d) > 0 && (best < 0 || len(d) < len(diff)) {
			best, diff = i, d
		}
	}
	return best, diff
}
