package explain

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/explain/provenance"
	"github.com/ocicache/ocicache/layout"
)

// Verdict says what BuildKit does with a step, given a cache.
type Verdict string

// The verdicts. KeyOnly means that the step has no result in the cache but
// needs none, because a later step hits.
const (
	Hit     Verdict = "hit"
	Miss    Verdict = "miss"
	Maybe   Verdict = "maybe"
	KeyOnly Verdict = "key-only"
	Unknown Verdict = "unknown"
)

// Condition is what a verdict of Maybe depends on: that the files of a step which
// the paths select come out as before or, without files, that the step itself is
// unchanged or hits.
type Condition struct {
	Step  int
	Paths []llb.Selection
	Files bool // files are meant, all of them if there are no paths
	// Absent are those of the paths that the directory given as the context lacks: whoever built had them.
	Absent []string
	// Same says that the step is the same as this one, as far as is known: BuildKit runs one of them and shows the other as cached.
	Same bool
}

// StepVerdict is what is known of one step.
type StepVerdict struct {
	Step    int
	Verdict Verdict
	If      []Condition
	Cause   *Cause // of a Miss; of a Maybe if the same step may run instead
	// Measured says that the verdict was not derived but observed, in the cache that the build exported or in its history.
	Measured bool
	// Made says that a Hit does not come from the cache as it was before: all of its results were made after the build began,
	// as in a cache that the build exported over the one that it had imported.
	Made bool
	// Elsewhere says that a Miss did not run: the builder had its result from somewhere other than this cache.
	Elsewhere bool
}

// WhyOptions are for Decide.
type WhyOptions struct {
	Options
	// Old are builds that the cache comes from, used to say what is different.
	Old []*provenance.Build
	// New is the cache that the build itself exported, used to say what the build did; nil if unknown.
	New *layout.Cache

	last *provenance.Build // the build that ran, if the question is what it would do next; nil if unknown
}

// Decide says for every step of a build whether BuildKit v0.34 finds it in the
// cache, and if not, why. Verdicts are in the order of the steps. Local sources
// are left out, as they are in no cache.
//
// A cache in o.New that lacks steps of this build, or whose results of them were
// made after its end, is not what it exported and is ignored. If it has a step
// with other files than o.Contexts, one of the two is not from this build, and
// nothing is then based on one that is not known to be. NewReport says so.
func Decide(ctx context.Context, c *layout.Cache, b *provenance.Build, o WhyOptions) ([]StepVerdict, error) {
	verdicts, _, err := decide(ctx, c, b, o)
	return verdicts, err
}

// decide returns warnings as well.
func decide(ctx context.Context, c *layout.Cache, b *provenance.Build, o WhyOptions) ([]StepVerdict, []string, error) {
	g, err := newGraph(c)
	if err != nil {
		return nil, nil, err
	}
	d, err := deriveFrom(ctx, g, b, o.Options)
	if err != nil {
		return nil, nil, err
	}
	found, err := d.weigh(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	if found.notContexts {
		o.Contexts = nil
		if d, err = deriveFrom(ctx, g, b, o.Options); err != nil {
			return nil, nil, err
		}
	}
	d.measure(found.seen)
	d.walk() // because what was seen determines what else is needed
	verdicts, err := d.verdicts(ctx, o)
	return verdicts, found.warnings, err
}

// deriveFrom decides on a build from the cache and the given files alone.
func deriveFrom(ctx context.Context, g *graph, b *provenance.Build, o Options) (*decider, error) {
	d := newDecider(g, newPlan(b), o)
	if err := d.find(ctx); err != nil {
		return nil, err
	}
	d.derive()
	d.walk()
	return d, nil
}

func newDecider(g *graph, p *plan, o Options) *decider {
	d := &decider{graph: g, plan: p, layers: o.Layers, states: map[output]*state{}}
	d.steps, d.late = make([]stepState, len(p.Steps)), make([]bool, len(p.Steps))
	d.contents = newContents(p, g, o, d.resultsOf)
	return d
}

// find finds the records of all outputs.
func (d *decider) find(ctx context.Context) error {
	for step := range d.plan.steps {
		for _, out := range d.plan.steps[step].outputs {
			if err := d.decide(ctx, output{step, out}); err != nil {
				return err
			}
		}
	}
	return nil
}

// decider finds the records that the outputs of steps have, and compares their contents.
type decider struct {
	*graph
	plan     *plan
	layers   *Layers // nil if all layers are assumed to exist
	contents *contents
	states   map[output]*state
	steps    []stepState
	late     []bool // by step: its keys are known only once something that ignores the cache has run
	seen     *seen  // nil if the cache that the build exported is not given
}

// state is what is known of one output.
type state struct {
	sure   []int    // records that stand for it
	maybe  []option // records that stand for it under conditions
	ran    []option // records that stand for it once it has run, though it was not found by them; certain if without needs
	usable bool     // one of the sure records has a result that can be loaded
	may    *option  // the one of maybe that has such a result, if any
	gone   digest.Digest
}

// option is a record that stands for an output under conditions. They are only the step's own: those of its inputs are covered by naming
// the step.
type option struct {
	record int
	needs  []Condition
}

// stepState is what becomes of a step.
type stepState struct {
	derived Verdict     // the verdict from the cache alone
	lacks   []Condition // of a derived Maybe

	verdict  Verdict
	needs    []Condition // of a Maybe
	needed   need
	by       []int // the steps that need it
	asked    bool  // BuildKit needs to know its key
	measured bool
	// elsewhere says that the step was seen not to run, for a reason other than this cache.
	elsewhere bool
}

// resultsOf returns the records whose results hold an output's files: those that BuildKit would load.
func (d *decider) resultsOf(out output) []int {
	s := d.states[out]
	if s == nil || d.plan.Steps[out.step].IgnoreCache {
		return nil
	}
	return s.sure
}

// decide finds the records of an output. Its inputs must have been decided before.
func (d *decider) decide(ctx context.Context, out output) error {
	s := &state{}
	d.states[out] = s
	if err := d.findOutput(ctx, out, s); err != nil || !d.isLate(out, s) {
		return err
	}
	return d.findRan(ctx, out, s)
}

// findOutput finds the records by which BuildKit finds an output.
func (d *decider) findOutput(ctx context.Context, out output, s *state) error {
	if d.plan.Steps[out.step].IgnoreCache {
		return nil
	}
	if d.plan.Steps[out.step].Op.Source != nil {
		for _, key := range d.plan.steps[out.step].keys {
			s.sure = append(s.sure, d.byDigest[key.key.Record(out.output)]...)
		}
		return nil
	}
	key := d.plan.current(out.step)
	if key == nil {
		return nil
	}
	inputs := d.plan.Steps[out.step].Inputs
	for _, r := range d.candidates(key.key.Record(out.output), firstSelector(*key), d.first(inputs, key)) {
		sure, needs, err := d.fit(ctx, r, inputs, key.deps)
		switch {
		case err != nil:
			return err
		case sure == fitsSurely:
			s.sure = append(s.sure, r)
		case sure == fitsMaybe:
			s.maybe = append(s.maybe, option{r, needs})
		}
	}
	return d.findResults(ctx, s)
}

// first returns the records of the first input, if a record can match only through one of them; else nil.
func (d *decider) first(inputs []inputOf, key *candidate) []int {
	if len(inputs) == 0 || key.deps[0].Content || d.plan.isUnknown(inputs[0].Step) {
		return nil
	}
	s := d.states[output{inputs[0].Step, inputs[0].Output}]
	return append([]int{}, s.all()...)
}

// all returns all records that stand for an output, or may.
func (s *state) all() []int {
	records := slices.Clone(s.sure)
	for _, more := range [][]option{s.maybe, s.ran} {
		for _, o := range more {
			records = append(records, o.record)
		}
	}
	return records
}

// certainty says whether a record stands for something.
type certainty int

const (
	fitsNot certainty = iota
	fitsMaybe
	fitsSurely
)

// fit says whether a record has the inputs of a step, and under which conditions.
func (d *decider) fit(ctx context.Context, record int, inputs []inputOf, deps []llb.Dep) (certainty, []Condition, error) {
	return d.fitEach(record, inputs, func(i int, slot []alternative, in output) (certainty, Condition, error) {
		return d.fitSlot(ctx, slot, in, deps[i])
	})
}

// fitEach is fit, with fitOne deciding on each input.
func (d *decider) fitEach(
	record int, inputs []inputOf, fitOne func(i int, slot []alternative, in output) (certainty, Condition, error),
) (certainty, []Condition, error) {
	slots := d.config.Records[record].Inputs
	if len(slots) != len(inputs) {
		return fitsNot, nil, nil
	}
	all := fitsSurely
	var needs []Condition
	for i, in := range inputs {
		sure, need, err := fitOne(i, slots[i], output{in.Step, in.Output})
		if err != nil || sure == fitsNot {
			return fitsNot, nil, err
		}
		if sure == fitsMaybe {
			all = fitsMaybe
			needs = append(needs, need)
		}
	}
	return all, needs, nil
}

// fitSlot is fit for one input. It tries links before contents, which cost more.
func (d *decider) fitSlot(ctx context.Context, slot []alternative, in output, dep llb.Dep) (certainty, Condition, error) {
	best, need := d.fitLink(slot, in, dep.Selector.String())
	if best == fitsSurely || !dep.Content {
		return best, need, nil
	}
	for _, a := range slot {
		if !d.isContent(a) || slices.Contains(d.states[in].sure, a.Link) {
			continue
		}
		sure, err := d.fitContent(ctx, a.Link, in, dep)
		if err != nil || sure == fitsSurely {
			return sure, Condition{}, err
		}
		if sure == fitsMaybe && best == fitsNot {
			best, need = fitsMaybe, Condition{Step: in.step, Paths: dep.Paths, Files: true, Absent: d.contents.absent(in, dep.Paths)}
		}
	}
	return best, need, nil
}

// fitLink says whether an input links to a record of the step's input.
func (d *decider) fitLink(slot []alternative, in output, selector string) (certainty, Condition) {
	if d.plan.Steps[in.step].IgnoreCache {
		return fitsNot, Condition{}
	}
	best, need := fitsNot, Condition{Step: in.step}
	s := d.states[in]
	for _, a := range slot {
		if a.Selector != selector {
			continue
		}
		switch {
		case slices.Contains(s.sure, a.Link):
			return fitsSurely, Condition{}
		case slices.ContainsFunc(s.maybe, func(o option) bool { return o.record == a.Link }):
			best = fitsMaybe
		case s.hasRun(a.Link) != nil:
			ran := s.hasRun(a.Link)
			if len(ran.needs) == 0 {
				return fitsSurely, Condition{}
			}
			best, need = fitsMaybe, ran.needs[0]
		case d.plan.isUnknown(in.step) && len(d.config.Records[a.Link].Inputs) == len(d.plan.Steps[in.step].Inputs):
			best = fitsMaybe
		}
	}
	return best, need
}

// fitContent says whether a content record stands for the files of an input.
func (d *decider) fitContent(ctx context.Context, record int, in output, dep llb.Dep) (certainty, error) {
	known, err := d.contents.of(ctx, in, dep)
	switch {
	case ctx.Err() != nil:
		return fitsNot, context.Cause(ctx)
	case isUnread(err):
		return fitsNot, err
	case err != nil: // the files are missing or can't be read: what the build does with them is unknown
		return fitsMaybe, nil //nolint:nilerr // which the verdict says
	}
	same := 0
	for _, d2 := range known.records {
		if d2 == d.config.Records[record].Digest {
			same++
		}
	}
	switch same {
	case 0:
		if d.contents.matchesNothing(in, dep.Paths) {
			return fitsMaybe, nil
		}
		return fitsNot, nil
	case len(known.records):
		return fitsSurely, nil
	default:
		return fitsMaybe, nil
	}
}

// findResults finds out which records have a result whose layers all exist.
func (d *decider) findResults(ctx context.Context, s *state) error {
	for _, r := range s.sure {
		ok, err := d.canLoad(ctx, r, s)
		if err != nil {
			return err
		}
		s.usable = s.usable || ok
	}
	for i, o := range s.maybe {
		ok, err := d.canLoad(ctx, o.record, s)
		if err != nil {
			return err
		}
		if ok && (s.may == nil || len(o.needs) < len(s.may.needs)) {
			s.may = &s.maybe[i]
		}
	}
	return nil
}

// canLoad reports whether a record has a result whose layers all exist, and otherwise notes a missing layer.
func (d *decider) canLoad(ctx context.Context, record int, s *state) (bool, error) {
	for _, result := range d.results(record) {
		if d.layers == nil {
			return true, nil
		}
		missing, err := d.layers.missing(ctx, result)
		if err != nil {
			return false, err
		}
		if missing == "" {
			return true, nil
		}
		s.gone = missing
	}
	return false, nil
}
