package explain

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/layout"
)

// seen is the cache that a build itself exported, with the records of its steps.
type seen struct {
	*matching
	// owners says how many steps a record may stand for: twins differ only in their files, which may be unknown.
	owners map[int]int
	// doubted is the first step with a record that seems to be from this build but has other files than the given ones, or -1;
	// others are all such records.
	doubted int
	others  map[int]bool
}

// newSeen looks up a build in the cache that it exported, comparing its files as far as they are available.
func (d *decider) newSeen(ctx context.Context, exported *layout.Cache, o Options) (*seen, error) {
	g, err := newGraph(exported)
	if err != nil {
		return nil, err
	}
	o.Layers = nil
	now := newDecider(g, d.plan.withCache(), o)
	now.contents.locals = d.contents.locals
	if err := now.find(ctx); err != nil {
		return nil, err
	}
	s := &seen{matching: newMatching(g, d.plan), doubted: -1, others: map[int]bool{}}
	s.count()
	for out := range s.found {
		s.narrow(out, now.states[out])
	}
	s.count()
	return s, nil
}

// count counts the steps that each record may stand for.
func (s *seen) count() {
	s.owners = map[int]int{}
	for _, found := range s.found {
		for _, f := range found {
			s.owners[f.record]++
		}
	}
}

// narrow drops records of an output whose files are not the build's.
func (s *seen) narrow(out output, known *state) {
	if known == nil || s.plan.Steps[out.step].Op.Source != nil || s.plan.current(out.step) == nil {
		return
	}
	records := known.sure
	if len(records) == 0 {
		records = known.all()
	}
	var kept, doubted []match
	for _, f := range s.found[out] {
		switch {
		case f.how != ByKey || f.form != llb.FormV17 || slices.Contains(records, f.record):
			kept = append(kept, f)
		case s.owners[f.record] == 1 && isSince(s.plan.Build, s.newest(f.record)):
			doubted = append(doubted, f)
			s.others[f.record] = true
		}
	}
	if len(kept) > 0 && len(doubted) > 0 { // nobody else can have made it: the given files are not those of the build
		kept = append(kept, doubted...)
		if s.doubted < 0 || out.step < s.doubted {
			s.doubted = out.step
		}
	}
	s.found[out] = kept
}

// stranger returns a step that the cache lacks, so that it is not what the build exported, or -1.
func (s *seen) stranger() int {
	for step := range s.plan.steps {
		if s.plan.Steps[step].Op.Source != nil || len(s.plan.steps[step].keys) == 0 {
			continue
		}
		for _, out := range s.plan.steps[step].outputs {
			if len(s.found[output{step, out}]) == 0 {
				return step
			}
		}
	}
	return -1
}

// ran reports whether a step has a result that was made after the build began. For twins it is not known if only one of
// them ran.
func (s *seen) ran(step int) (ran, known bool) {
	var own, older, newer bool
	for _, out := range s.plan.steps[step].outputs {
		for _, f := range s.found[output{step, out}] {
			for _, r := range s.results(f.record) {
				if r.made.IsZero() {
					continue
				}
				isNew := isSince(s.plan.Build, r.made)
				older, newer = older || !isNew, newer || isNew
				own = own || isNew && s.owners[f.record] == 1
			}
		}
	}
	return newer, own || newer != older
}

// content returns the digest of the files that an input of a step had when it ran, "" if that can't be told.
func (s *seen) content(out output, input int) digest.Digest {
	if s == nil {
		return ""
	}
	var found []digest.Digest
	in := s.plan.Steps[out.step].Inputs[input]
	for _, f := range s.found[out] {
		if s.newest(f.record).Before(s.plan.Started) || s.owners[f.record] > 1 { // imported, or perhaps a twin's
			continue
		}
		for _, a := range s.config.Records[f.record].Inputs[input] {
			d := s.config.Records[a.Link].Digest
			if s.isContent(a) && !s.has(output{in.Step, in.Output}, a.Link) && !slices.Contains(found, d) {
				found = append(found, d)
			}
		}
	}
	if len(found) != 1 {
		return ""
	}
	return found[0]
}

// unmet says which input of a step that was seen to run did not match what one of its records needs.
func (r *reasons) unmet(ctx context.Context, out output, record int) (*Cause, error) {
	slots := r.config.Records[record].Inputs
	deps, inputs := r.plan.current(out.step).deps, r.plan.Steps[out.step].Inputs
	differs := -1
	for i, in := range inputs {
		fits, _, err := r.fitSlot(ctx, slots[i], output{in.Step, in.Output}, deps[i])
		switch {
		case err != nil:
			return nil, err
		case fits == fitsSurely:
		case !deps[i].Content && r.misses(in.Step):
			return &Cause{Kind: CauseFollows, Step: in.Step}, nil
		case deps[i].Content && differs < 0 && r.mayDiffer(out, i, slots[i]):
			differs = i
		}
	}
	if differs < 0 {
		return &Cause{Kind: CauseUnknown, Step: -1}, nil
	}
	return &Cause{Kind: CauseContent, Step: inputs[differs].Step, Paths: deps[differs].Paths}, nil
}

// mayDiffer reports whether the files of an input may have differed from those of a record: it is false if they were seen
// to be the same.
func (r *reasons) mayDiffer(out output, input int, slot []alternative) bool {
	in := r.plan.Steps[out.step].Inputs[input].Step
	now := r.seen.content(out, input)
	if now == "" {
		return r.plan.steps[in].local || r.misses(in)
	}
	return !slices.ContainsFunc(slot, func(a alternative) bool {
		return r.isContent(a) && r.config.Records[a.Link].Digest == now
	})
}

// misses reports whether a step is known to miss. Local sources do not count, as they are in no cache.
func (r *reasons) misses(step int) bool { return r.steps[step].verdict == Miss && r.plan.shown(step) }
