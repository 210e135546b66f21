package explain

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/ocicache/ocicache/explain/llb"
)

// reasons finds the first causes of misses.
type reasons struct {
	*decider
	old []*oldBuild

	compared int // how many operations were compared so far

	naming *matching // of the build in the cache, when somebody has asked for it
	claims map[int]bool
	keys   map[string][]int
	named  map[string]bool // names of the build's sources

	causes  map[int]*Cause          // by step
	roots   map[int]int             // of steps that follow others: the first that misses
	told    map[int]map[string]bool // differences that are told, by the step with the first cause
	unnamed map[int]bool            // by the same: an operation is changed, and nobody knows in what
}

// oldBuild is a build that the cache is from.
type oldBuild struct {
	plan     *plan
	matching *matching
	on       map[int][]int    // steps by the records of their first input
	after    map[int][]int    // steps by the step of their first input
	of       map[int]int      // steps by their records
	byKey    map[string][]int // steps by their keys
	sources  map[string][]int // by their names

	// What was asked for once: steps in a place that are no steps of the new build, sources that it does not name, images and
	// others, fields, and, by steps of the new build, what was in their place.
	free         map[place][]int
	gone         map[bool][]int
	fields       map[int]map[string]string
	counterparts map[int]int
}

// place is what operations of one kind stand on: a record, or a step.
type place struct {
	on     int
	isStep bool
	kind   string
}

// What steps are on that have no record under them.
const (
	onNothing = -1
	onLocal   = -2
)

// Bounds of comparisons: the most old steps that one new step is compared with, and all new ones together. From then on each
// is compared with one.
const (
	maxNeighbours = 256
	maxCompared   = 1 << 16
)

func newOldBuild(g *graph, p *plan) *oldBuild {
	old := &oldBuild{
		plan: p, matching: newMatching(g, p), on: map[int][]int{}, after: map[int][]int{}, of: map[int]int{}, byKey: map[string][]int{},
		sources: map[string][]int{}, free: map[place][]int{}, gone: map[bool][]int{}, fields: map[int]map[string]string{},
		counterparts: map[int]int{},
	}
	for i := range p.Steps {
		old.add(i)
	}
	return old
}

func (old *oldBuild) add(i int) {
	s := &old.plan.Steps[i]
	for _, n := range old.plan.steps[i].outputs {
		for _, f := range old.matching.found[output{i, n}] {
			old.of[f.record] = i
		}
	}
	if key := old.plan.current(i); key != nil {
		old.byKey[key.key.Text] = append(old.byKey[key.key.Text], i)
	}
	switch {
	case s.Op.Source != nil:
		name := sourceName(s.Op.Source)
		old.sources[name] = append(old.sources[name], i)
	case s.Op.IsResult():
	case len(s.Inputs) == 0:
		old.on[onNothing] = append(old.on[onNothing], i)
	case old.plan.steps[s.Inputs[0].Step].local:
		old.on[onLocal] = append(old.on[onLocal], i)
	default:
		old.after[s.Inputs[0].Step] = append(old.after[s.Inputs[0].Step], i)
		for _, f := range old.matching.found[output{s.Inputs[0].Step, s.Inputs[0].Output}] {
			old.on[f.record] = append(old.on[f.record], i)
		}
	}
}

func newReasons(d *decider, o WhyOptions) *reasons {
	r := &reasons{
		decider: d, causes: map[int]*Cause{}, roots: map[int]int{}, told: map[int]map[string]bool{}, unnamed: map[int]bool{},
	}
	for _, b := range o.Old {
		r.old = append(r.old, newOldBuild(d.graph, newPlan(b)))
	}
	return r
}

// of returns why a step misses, and what is changed of it beside that. It has to be asked in the order of the steps.
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
	case state.may != nil: // it was seen to run, so that what it depended on was not so
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

// isLost reports whether no record is found by an output, or may be.
func (r *reasons) isLost(out output) bool {
	return r.plan.Steps[out.step].IgnoreCache || len(r.states[out].all()) == 0 && !r.plan.isUnknown(out.step)
}

// olderVersion returns the version since which the keys of an output are others, if the cache has it under an older key.
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

// isOlderContent reports whether an input has the same files, under a key that BuildKit made of them before v0.26.
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

// sourceBefore returns the source of an old build that a new one is in the place of, or -1: one of the same name, or the only
// one that is gone.
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

// goneSources returns the images of an old build, or its other sources, that the new one has none of the name of.
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

// names reports whether the build has a source of the same name.
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

// resolvedField is the field of what a source was resolved to, where its name does not say that.
const resolvedField = "resolved"

func (r *reasons) sourceDifference(old *oldBuild, i, step int) []Difference {
	was, is := maps.Clone(old.fieldsOf(i)), r.plan.Steps[step].Op.Fields(r.plan.Builder)
	before, now := old.plan.Pin(i), r.plan.Pin(step)
	if x, y := cmp.Or(before.Digest.String(), before.Commit), cmp.Or(now.Digest.String(), now.Commit); x != "" && y != "" && was["identifier"] == is["identifier"] {
		was[resolvedField], is[resolvedField] = x, y
	}
	return diffFields(was, is)
}

// sourceName returns what a source is called, without the digest that it is pinned to.
func sourceName(s *llb.SourceOp) string {
	name, _, _ := cutPin(s.Identifier)
	return name
}

// cutPin returns what an image is called and what it is pinned to. Addresses of other sources have no such thing, but may have
// a user before an @.
func cutPin(identifier string) (name, pin string, ok bool) {
	switch scheme, _, _ := strings.Cut(identifier, "://"); scheme {
	case "docker-image", "oci-layout":
		return strings.Cut(identifier, "@")
	default:
		return identifier, "", false
	}
}

// difference says how an operation differs from the one that was in its place in a build that the cache is from.
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

// fieldsOf returns the fields of a step.
func (old *oldBuild) fieldsOf(i int) map[string]string {
	if old.fields[i] == nil {
		old.fields[i] = old.plan.Steps[i].Op.Fields(old.plan.Builder)
	}
	return old.fields[i]
}

// neighbours returns the steps of an old build that may be what an operation was: they are of the same kind, stood on the
// same records, or on what was in their place, and are no steps of the new build.
func (r *reasons) neighbours(old *oldBuild, step int) []int {
	most := r.most()
	kind := r.plan.Steps[step].Op.Kind()
	var all []int
	for _, on := range r.standsOn(step) {
		for _, i := range r.freeOf(old, place{on: on, kind: kind}, old.on[on]) {
			if len(all) == most {
				break
			}
			if !slices.Contains(all, i) {
				all = append(all, i)
			}
		}
	}
	if inputs := r.plan.Steps[step].Inputs; len(all) == 0 && len(inputs) > 0 {
		if before := r.counterpart(old, inputs[0].Step); before >= 0 {
			all = r.freeOf(old, place{on: before, isStep: true, kind: kind}, old.after[before])
			all = all[:min(len(all), most)]
		}
	}
	r.compared += len(all)
	return all
}

// most returns how many old steps one new step is compared with.
func (r *reasons) most() int {
	if r.compared >= maxCompared {
		return 1
	}
	return maxNeighbours
}

// freeOf returns those of the steps of an old build in a place that are no steps of the new build.
func (r *reasons) freeOf(old *oldBuild, at place, steps []int) []int {
	all, known := old.free[at]
	if !known {
		twins := old.countKeys(steps)
		for _, i := range steps {
			if old.plan.Steps[i].Op.Kind() == at.kind && (r.isFewer(old, i, twins) || !r.isClaimed(old, i) && !r.isElsewhere(old, i)) {
				all = append(all, i)
			}
		}
		old.free[at] = all
	}
	return all
}

// countKeys returns how many of some steps have each key.
func (old *oldBuild) countKeys(steps []int) map[string]int {
	count := map[string]int{}
	for _, i := range steps {
		if key := old.plan.current(i); key != nil {
			count[key.key.Text]++
		}
	}
	return count
}

// isFewer reports whether an old step is one of twins, of which the new build has some, but not as many: one of them is changed.
func (r *reasons) isFewer(old *oldBuild, i int, twins map[string]int) bool {
	key := old.plan.current(i)
	if key == nil {
		return false
	}
	now := len(r.newKeys()[key.key.Text])
	return now > 0 && now < twins[key.key.Text]
}

// standsOn returns the records of the first input of a step.
func (r *reasons) standsOn(step int) []int {
	inputs := r.plan.Steps[step].Inputs
	if len(inputs) == 0 {
		return []int{onNothing}
	}
	if r.plan.steps[inputs[0].Step].local {
		return []int{onLocal}
	}
	return r.states[output{inputs[0].Step, inputs[0].Output}].all()
}

// sameRecord reports whether two inputs are the same record, or both a local source.
func (r *reasons) sameRecord(old *oldBuild, was, is inputOf) bool {
	if old.plan.steps[was.Step].local || r.plan.steps[is.Step].local {
		return old.plan.steps[was.Step].local == r.plan.steps[is.Step].local
	}
	records := r.states[output{is.Step, is.Output}].all()
	return slices.ContainsFunc(old.matching.found[output{was.Step, was.Output}], func(f match) bool {
		return slices.Contains(records, f.record)
	})
}

// isClaimed reports whether a step of an old build is a step of the new one too.
func (r *reasons) isClaimed(old *oldBuild, i int) bool {
	for _, n := range old.plan.steps[i].outputs {
		for _, f := range old.matching.found[output{i, n}] {
			if r.claimed()[f.record] {
				return true
			}
		}
	}
	return false
}

// isElsewhere reports whether the new build has the operation of an old step as well, so that it was moved, and not changed.
func (r *reasons) isElsewhere(old *oldBuild, i int) bool {
	key := old.plan.current(i)
	return key != nil && len(r.newKeys()[key.key.Text]) > 0
}

// otherInputs says which further inputs of two operations are not the same.
func (r *reasons) otherInputs(old *oldBuild, i, step int) []Difference {
	was, is := old.plan.Steps[i].Inputs, r.plan.Steps[step].Inputs
	var all []Difference
	for n := 1; n < max(len(was), len(is)); n++ {
		if n < len(was) && n < len(is) && r.sameRecord(old, was[n], is[n]) {
			continue
		}
		d := Difference{Field: "input"}
		if n < len(was) {
			d.Old = new(old.plan.describe(was[n].Step))
		}
		if n < len(is) {
			d.New = new(r.plan.describe(is[n].Step))
		}
		if d.Old == nil || d.New == nil || *d.Old != *d.New {
			all = append(all, d)
		}
	}
	return all
}
