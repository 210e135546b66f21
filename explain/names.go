package explain

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/explain/provenance"
	"github.com/ocicache/ocicache/layout"
)

// Kind says what a record stands for.
type Kind string

// The kinds of records. KindForeign is for a record that matches no step of the builds.
const (
	KindStep    Kind = "step"
	KindSource  Kind = "source"
	KindContent Kind = "content"
	KindForeign Kind = "foreign"
)

// Name is one thing that a record stands for.
type Name struct {
	Build int // in the list of builds
	Step  int // the record's step; for a content, the step whose files they are
	// User is, for a content, the step that takes the files, else -1.
	User  int
	Paths []llb.Selection // of a content; none for all files
	How   How
	Form  llb.Form // the form of the key
}

// Record is what is known of one record of a cache.
type Record struct {
	Index  int
	Digest digest.Digest
	Kind   Kind
	Names  []Name // in the order of the steps; none for a foreign record
	// Differs says that the build's files are not those that the record stands for: it is from an older build, if it is from
	// this Dockerfile at all.
	Differs bool
	// Absent are those of the paths that the directory given as the context lacks.
	Absent  []string
	Results int
	Newest  time.Time // of the results; the zero time if there are none, or none says when
	Layers  int       // of the newest result
	Bytes   int64     // of the layers of the newest result
	Added   int64     // of the uppermost of them
	// Layer is the uppermost layer of the newest result, in the config's list, or -1.
	Layer int

	newest result
}

// Options are for naming and deciding. The zero value is usable.
type Options struct {
	// Contexts are the directories of the build, used to prove contents.
	Contexts Contexts
	// Layers are those of the cache, used to prove contents; nil to read none.
	Layers *Layers
}

// NameRecords says for every record of a cache which steps of the builds it
// stands for. It reads only the layers and directories that options give it.
func NameRecords(ctx context.Context, c *layout.Cache, builds []*provenance.Build, o Options) ([]Record, error) {
	g, err := newGraph(c)
	if err != nil {
		return nil, err
	}
	records := g.describe()
	for i, b := range builds {
		n := namer{records: records, build: i, matching: newMatching(g, newPlan(b))}
		n.nameSteps()
		if err := n.nameContents(ctx, o); err != nil {
			return nil, err
		}
	}
	for i := range records {
		slices.SortStableFunc(records[i].Names, func(a, b Name) int {
			return cmp.Or(a.Build-b.Build, a.Step-b.Step, a.User-b.User)
		})
	}
	return records, nil
}

// describe returns what the cache alone says about its records.
func (g *graph) describe() []Record {
	records := make([]Record, len(g.config.Records))
	for i, r := range g.config.Records {
		records[i] = Record{Index: i, Digest: r.Digest, Kind: KindForeign, Results: len(r.Results) + len(r.Chains), Layer: -1}
		for _, result := range g.results(i) {
			if records[i].Layer < 0 || result.made.After(records[i].Newest) {
				records[i].take(g, result)
			}
		}
	}
	return records
}

// take makes a result the record's newest one.
func (r *Record) take(g *graph, newest result) {
	r.newest, r.Newest, r.Layer = newest, newest.made.Time, newest.top
	r.Layers, r.Bytes, r.Added = g.sizeOf(newest)
}

// namer names the records that one build has.
type namer struct {
	*matching
	records []Record
	build   int
}

func (n *namer) nameSteps() {
	for step := range n.plan.steps {
		for _, out := range n.plan.steps[step].outputs {
			for _, f := range n.found[output{step, out}] {
				r := &n.records[f.record]
				r.Kind = KindStep
				if n.plan.Steps[step].Op.Source != nil {
					r.Kind = KindSource
				}
				r.Names = append(r.Names, Name{Build: n.build, Step: step, User: -1, How: f.how, Form: f.form})
			}
		}
	}
}

// nameContents names the content records that are inputs of named records.
func (n *namer) nameContents(ctx context.Context, o Options) error {
	c := newContents(n.plan, n.graph, o, func(out output) []int {
		var records []int
		for _, f := range n.found[out] {
			records = append(records, f.record)
		}
		return records
	})
	var inputs []contentInput
	for step := range n.plan.steps {
		for _, out := range n.plan.steps[step].outputs {
			for _, f := range n.found[output{step, out}] {
				inputs = append(inputs, n.contentInputs(step, f)...)
			}
		}
	}
	if err := c.readAhead(ctx, inputs); err != nil {
		return err
	}
	for _, in := range inputs {
		if err := n.nameContent(ctx, c, in); err != nil {
			return err
		}
	}
	return nil
}

// contentInput is a content record that is an input of a named record: it stands for files of an output.
type contentInput struct {
	record int
	name   Name
	out    output
	dep    llb.Dep
}

func newContents(p *plan, g *graph, o Options, records func(output) []int) *contents {
	return &contents{
		plan: p, graph: g, layers: o.Layers, records: records,
		locals: localTrees{contexts: o.Contexts, known: map[int]localTree{}},
		trees:  map[output][]knownTree{}, done: map[contentKey]contentOf{},
	}
}

// contentInputs returns those of a record that stands for a step.
func (n *namer) contentInputs(step int, f match) []contentInput {
	if f.how != ByKey || n.plan.Steps[step].Op.Source != nil {
		return nil
	}
	var all []contentInput
	deps := n.depsOf(step, f.form)
	for i, in := range n.plan.Steps[step].Inputs {
		if !deps[i].Content {
			continue
		}
		out := output{in.Step, in.Output}
		for _, a := range n.config.Records[f.record].Inputs[i] {
			if n.isContent(a) && !n.has(out, a.Link) {
				all = append(all, contentInput{a.Link, Name{Build: n.build, Step: in.Step, User: step, Paths: deps[i].Paths}, out, deps[i]})
			}
		}
	}
	return all
}

// depsOf returns how the inputs of a step enter its key in a form.
func (n *namer) depsOf(step int, form llb.Form) []llb.Dep {
	for _, key := range n.plan.steps[step].keys {
		if key.form == form {
			return key.deps
		}
	}
	return nil
}

// nameContent names one content, and proves the name if it can.
func (n *namer) nameContent(ctx context.Context, c *contents, in contentInput) error {
	r, name := &n.records[in.record], in.name
	name.How = ByPosition
	known, err := c.of(ctx, in.out, in.dep)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case isUnread(err):
		return err
	case err != nil: // the name stays as it is
		r.Absent = c.absent(in.out, in.dep.Paths)
	case slices.Contains(known.records, r.Digest), slices.Contains(known.older, r.Digest):
		name.How = known.how
	case c.matchesNothing(in.out, in.dep.Paths):
		r.Absent = c.absent(in.out, in.dep.Paths)
	case known.how == ByContent:
		r.Differs = true
	}
	if r.Kind == KindForeign {
		r.Kind = KindContent
	}
	if r.Kind == KindContent && !slices.ContainsFunc(r.Names, func(other Name) bool {
		return other.Build == name.Build && other.Step == name.Step && other.User == name.User
	}) {
		r.Names = append(r.Names, name)
	}
	return nil
}
