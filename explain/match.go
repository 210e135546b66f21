package explain

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain/llb"
)

// output is one output of a step.
type output struct{ step, output int }

// matching says which records of a cache stand for the outputs of a build's steps. Any content may match, as naming
// wants; deciding compares it.
type matching struct {
	*graph
	plan  *plan
	found map[output][]match

	fits map[fit]bool // cached answers for records that may stand for steps with unknown keys
}

// match is a record that stands for an output of a step.
type match struct {
	record int
	how    How
	form   llb.Form
}

type fit struct {
	output
	record int
}

// newMatching looks up a build in a cache. It takes time linear in both, except for records that share a digest.
func newMatching(g *graph, p *plan) *matching {
	m := &matching{graph: g, plan: p, found: map[output][]match{}, fits: map[fit]bool{}}
	for step := range p.steps {
		for _, out := range p.steps[step].outputs {
			for _, key := range p.steps[step].keys {
				m.match(output{step, out}, key)
			}
		}
	}
	return m
}

// match finds the records that have a key and the step's inputs.
func (m *matching) match(out output, key candidate) {
	inputs := m.plan.Steps[out.step].Inputs
	for _, r := range m.candidates(key.key.Record(out.output), firstSelector(key), m.first(inputs, key)) {
		if m.has(out, r) || !m.inputsFit(r, inputs, key.deps) {
			continue
		}
		m.found[out] = append(m.found[out], match{record: r, how: ByKey, form: key.form})
		m.confirm(r, inputs, key.deps)
	}
}

func firstSelector(key candidate) digest.Digest {
	if len(key.deps) > 0 {
		return key.deps[0].Selector
	}
	return ""
}

// first returns the records of the first input, if a record can match only through one of them; else nil.
func (m *matching) first(inputs []inputOf, key candidate) []int {
	if len(inputs) == 0 || key.deps[0].Content || m.plan.isUnknown(inputs[0].Step) || m.plan.isImage(inputs[0].Step) {
		return nil
	}
	records := []int{}
	for _, f := range m.found[output{inputs[0].Step, inputs[0].Output}] {
		records = append(records, f.record)
	}
	return records
}

func (m *matching) has(out output, record int) bool {
	return slices.ContainsFunc(m.found[out], func(f match) bool { return f.record == record })
}

// inputsFit reports whether each input of a record has an alternative that is the step's.
func (m *matching) inputsFit(record int, inputs []inputOf, deps []llb.Dep) bool {
	slots := m.config.Records[record].Inputs
	if len(slots) != len(inputs) {
		return false
	}
	for i, in := range inputs {
		if m.link(slots[i], in, deps[i]) < 0 && m.content(slots[i], in, deps[i]) < 0 {
			return false
		}
	}
	return true
}

// link returns the record that an input links to as the output of the step, or -1.
func (m *matching) link(alternatives []alternative, in inputOf, dep llb.Dep) int {
	for _, a := range alternatives {
		if a.Selector == dep.Selector.String() && m.mayBe(a.Link, output{in.Step, in.Output}) {
			return a.Link
		}
	}
	return -1
}

// content returns the record of a content that an input links to, or -1.
func (m *matching) content(alternatives []alternative, in inputOf, dep llb.Dep) int {
	if !dep.Content {
		return -1
	}
	for _, a := range alternatives {
		if m.isContent(a) && !m.has(output{in.Step, in.Output}, a.Link) {
			return a.Link
		}
	}
	return -1
}

// isContent reports whether an alternative may be the content of an input.
func (g *graph) isContent(a alternative) bool {
	return a.Selector == "" && g.isLeaf(a.Link) && !g.hasResult(a.Link)
}

// mayBe reports whether a record stands for an output, or may because nothing is known of the step's key.
func (m *matching) mayBe(record int, out output) bool {
	switch {
	case m.has(out, record):
		return true
	case m.plan.isUnknown(out.step):
		return m.unknownFits(record, out)
	default:
		return m.plan.isImage(out.step) && m.chains[m.config.Records[record].Digest]
	}
}

// unknownFits reports whether a record has the inputs of a step whose key is unknown.
func (m *matching) unknownFits(record int, out output) bool {
	key := fit{out, record}
	if known, ok := m.fits[key]; ok {
		return known
	}
	m.fits[key] = false
	slots, inputs := m.config.Records[record].Inputs, m.plan.Steps[out.step].Inputs
	ok := len(slots) == len(inputs)
	for i := 0; ok && i < len(inputs); i++ {
		ok = m.anyLink(slots[i], inputs[i]) >= 0 || m.plan.steps[inputs[i].Step].local
	}
	m.fits[key] = ok
	return ok
}

// anyLink is link for any selector.
func (m *matching) anyLink(alternatives []alternative, in inputOf) int {
	for _, a := range alternatives {
		if m.mayBe(a.Link, output{in.Step, in.Output}) {
			return a.Link
		}
	}
	return -1
}

// confirm notes what the inputs of a record found by its key stand for: steps whose own keys are unknown get their
// records by position.
func (m *matching) confirm(record int, inputs []inputOf, deps []llb.Dep) {
	for i, in := range inputs {
		out := output{in.Step, in.Output}
		for _, a := range m.config.Records[record].Inputs[i] {
			if deps != nil && a.Selector != deps[i].Selector.String() || m.has(out, a.Link) || !m.mayBe(a.Link, out) {
				continue
			}
			how := ByPosition
			if m.plan.isImage(in.Step) {
				how = ByLayers
			}
			m.found[out] = append(m.found[out], match{record: a.Link, how: how})
			m.confirm(a.Link, m.plan.Steps[in.Step].Inputs, nil)
		}
	}
}
