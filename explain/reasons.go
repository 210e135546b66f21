package explain

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/explain/provenance"
)

// reasons finds the first causes of misses.
type reasons struct {
	*decider
	old  []*oldBuild
	last *provenance.Build // as in WhyOptions

	compared int // how many operations have been compared so far

	naming *matching // of the build in the cache, once needed
	claims map[int]bool
	keys   map[string][]int
	named  map[string]bool // names of the build's sources

	causes  map[int]*Cause          // by step
	roots   map[int]int             // for steps that follow others, the first step that misses
	told    map[int]map[string]bool // differences already reported, by the step with the first cause
	unnamed map[int]bool            // by the same step: an operation has changed, and it is unknown how
}

// What steps stand on when no record is under them.
const (
	onNothing = -1
	onLocal   = -2
)

// Bounds of comparisons: the most old steps that one new step is compared with, and the most for all new steps together.
// After that, each is compared with one.
const (
	maxNeighbours = 256
	maxCompared   = 1 << 16
)

func newReasons(d *decider, o WhyOptions) *reasons {
	r := &reasons{
		decider: d, last: o.last, causes: map[int]*Cause{}, roots: map[int]int{}, told: map[int]map[string]bool{}, unnamed: map[int]bool{},
	}
	for _, b := range o.Old {
		r.old = append(r.old, newOldBuild(d.graph, newPlan(b)))
	}
	return r
}

// of returns why a step misses, and what else has changed in it. It must be called in the order of the steps.
func (r *reasons) of(ctx context.Context, step int) (*Cause, error) {
	cause, err := r.first(ctx, step)
	if err != nil {
		return nil, err
	}
	r.causes[step] = cause
	if cause.Kind == CauseFollows {
		r.roots[step] = r.rootOf(cause.Step)
		cause.Own, err = r.own(ctx, step, cause)
	}
	return cause, err
}

// first returns the first cause of a miss.
func (r *reasons) first(ctx context.Context, step int) (*Cause, error) {
	s := &r.plan.Steps[step]
	switch {
	case s.IgnoreCache:
		return &Cause{Kind: CauseNoCache, Step: -1}, nil
	case s.Op.Source != nil:
		return r.base(step), nil
	case r.plan.current(step) == nil:
		return &Cause{Kind: CauseUnknown, Step: -1}, nil
	}
	for _, out := range r.plan.steps[step].outputs {
		cause, err := r.ofOutput(ctx, output{step, out})
		if cause != nil || err != nil {
			return cause, err
		}
	}
	if r.made(step) {
		return &Cause{Kind: CauseUnknown, Step: -1}, nil
	}
	return &Cause{Kind: CauseIgnored, Step: -1}, nil
}

func (r *reasons) ofOutput(ctx context.Context, out output) (*Cause, error) {
	state := r.states[out]
	switch {
	case state.usable: // it hits as far as the cache can say
		return nil, nil
	case state.may != nil: // it was seen to run, so what it depended on did not hold
		return r.unmet(ctx, out, state.may.record)
	case state.gone != "":
		return &Cause{Kind: CauseLayer, Step: -1, Layer: state.gone}, nil
	case len(state.sure)+len(state.maybe) > 0:
		return r.noResult(out.step), nil
	}
	key := r.plan.current(out.step)
	inputs := r.plan.Steps[out.step].Inputs
	for i, in := range inputs {
		if !key.deps[i].Content && r.isLost(output{in.Step, in.Output}) && r.misses(in.Step) {
			return &Cause{Kind: CauseFollows, Step: in.Step}, nil
		}
	}
	if before := r.olderVersion(out); before != "" {
		return &Cause{Kind: CauseVersion, Step: -1, Before: before}, nil
	}
	same := r.byDigest[key.key.Record(out.output)]
	if len(same) == 0 {
		return &Cause{Kind: CauseOperation, Step: -1, Diff: r.difference(out)}, nil
	}
	cause, err := r.otherContent(ctx, out, key, same)
	if cause != nil || err != nil {
		return cause, err
	}
	return &Cause{Kind: CauseMoved, Step: -1}, nil
}

// isLost reports whether an output has no records, certain or possible, to be found by.
func (r *reasons) isLost(out output) bool {
	return r.plan.Steps[out.step].IgnoreCache || len(r.states[out].all()) == 0 && !r.plan.isUnknown(out.step)
}

// olderVersion returns the version that changed the keys of an output, if the cache has it under an older key, else "".
func (r *reasons) olderVersion(out output) string {
	if r.naming == nil {
		r.naming = newMatching(r.graph, r.plan)
	}
	for _, f := range r.naming.found[out] {
		if f.how == ByKey && f.form != llb.FormV17 {
			return f.form.Before()
		}
	}
	return ""
}

// isOlderContent reports whether an input has the same files under a key that BuildKit before v0.26 made.
func (r *reasons) isOlderContent(ctx context.Context, slot []alternative, in inputOf, dep llb.Dep) bool {
	known, err := r.contents.of(ctx, output{in.Step, in.Output}, dep)
	return err == nil && slices.ContainsFunc(slot, func(a alternative) bool {
		return r.isContent(a) && slices.Contains(known.older, r.config.Records[a.Link].Digest)
	})
}

// base returns the cause of a source that is not in the cache.
func (r *reasons) base(step int) *Cause {
	cause := &Cause{Kind: CauseBase, Step: -1}
	for _, old := range r.old {
		if i := r.sourceBefore(old, step); i >= 0 {
			if diff := r.sourceDifference(old, i, step); len(diff) > 0 {
				cause.Diff = diff
				return cause
			}
		}
	}
	return cause
}

// sourceBefore returns the source of an old build that a new one replaces, or -1: one with the same name, or the only one
// that is gone.
func (r *reasons) sourceBefore(old *oldBuild, step int) int {
	source := r.plan.Steps[step].Op.Source
	named := old.sources[sourceName(source)]
	named = named[:min(len(named), r.most())]
	r.compared += len(named)
	for _, i := range named {
		if !old.plan.steps[i].local && !r.isClaimed(old, i) && len(r.sourceDifference(old, i, step)) > 0 {
			return i
		}
	}
	if gone := r.goneSources(old, source.IsImage()); len(gone) == 1 {
		return gone[0]
	}
	return -1
}

// goneSources returns the images of an old build, or its other sources, whose names the new build does not use.
func (r *reasons) goneSources(old *oldBuild, images bool) []int {
	gone, known := old.gone[images]
	if known {
		return gone
	}
	for i, s := range old.plan.Steps {
		if s.Op.Source != nil && !s.Op.Source.IsLocal() && s.Op.Source.IsImage() == images && !r.names(s.Op.Source) && !r.isClaimed(old, i) {
			gone = append(gone, i)
		}
	}
	old.gone[images] = gone
	return gone
}

// names reports whether the build has a source with the same name.
func (r *reasons) names(source *llb.SourceOp) bool {
	if r.named == nil {
		r.named = map[string]bool{}
		for _, s := range r.plan.Steps {
			if s.Op.Source != nil {
				r.named[sourceName(s.Op.Source)] = true
			}
		}
	}
	return r.named[sourceName(source)]
}

// resolvedField is the field with what a source was resolved to, if its name does not say.
const resolvedField = "resolved"

func (r *reasons) sourceDifference(old *oldBuild, i, step int) []Difference {
	was, is := maps.Clone(old.fieldsOf(i)), r.plan.Steps[step].Op.Fields(r.plan.Builder)
	before, now := old.plan.Pin(i), r.plan.Pin(step)
	if x, y := cmp.Or(before.Digest.String(), before.Commit), cmp.Or(now.Digest.String(), now.Commit); x != "" && y != "" && was["identifier"] == is["identifier"] {
		was[resolvedField], is[resolvedField] = x, y
	}
	return diffFields(was, is)
}

// sourceName returns the name of a source, without the digest that pins it.
func sourceName(s *llb.SourceOp) string {
	name, _, _ := cutPin(s.Identifier)
	return name
}

// cutPin returns the name of an image and what it is pinned to. Addresses of other sources have no pin, but may have a user
// before an @.
func cutPin(identifier string) (name, pin string, ok bool) {
	switch scheme, _, _ := strings.Cut(identifier, "://"); scheme {
	case "docker-image", "oci-layout":
		return strings.Cut(identifier, "@")
	default:
		return identifier, "", false
	}
}

// difference says how an operation differs from the one whose place it took in a build that the cache comes from.
func (r *reasons) difference(out output) []Difference {
	var best []Difference
	for _, old := range r.old {
		i, diff := r.closest(old, out.step)
		if len(diff) > 0 && (best == nil || len(diff) < len(best)) {
			best = diff
		}
		old.counterparts[out.step] = i
	}
	return best
}
