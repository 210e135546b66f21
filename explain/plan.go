package explain

import (
	"slices"

	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/explain/provenance"
)

// plan is a build with the keys of its steps.
type plan struct {
	*provenance.Build
	steps []planned
}

// planned is a step with the keys that it may have, that of the current version first. The key of a step without any is
// unknown, unless it is a local source, which is in no cache.
type planned struct {
	keys    []candidate
	outputs []int // outputs that something needs
	local   bool
}

// candidate is one key, in one version's form.
type candidate struct {
	form llb.Form
	key  llb.Key
	deps []llb.Dep
}

func newPlan(b *provenance.Build) *plan {
	p := &plan{Build: b, steps: make([]planned, len(b.Steps))}
	for i := range b.Steps {
		s := &b.Steps[i]
		for _, in := range s.Inputs {
			outputs := &p.steps[in.Step].outputs
			if !slices.Contains(*outputs, in.Output) {
				*outputs = append(*outputs, in.Output)
			}
		}
		p.steps[i].keys, p.steps[i].local = keysOf(b, i)
	}
	if last := p.TargetStep(); last >= 0 && !b.Steps[last].Op.IsResult() && len(p.steps[last].outputs) == 0 {
		p.steps[last].outputs = []int{0}
	}
	return p
}

// withCache returns the plan of the same build with no step ignoring the cache.
func (p *plan) withCache() *plan {
	b := *p.Build
	b.Steps = slices.Clone(b.Steps)
	for i := range b.Steps {
		b.Steps[i].IgnoreCache = false
	}
	return &plan{&b, p.steps}
}

func keysOf(b *provenance.Build, step int) (keys []candidate, local bool) {
	s := &b.Steps[step]
	if source := s.Op.Source; source != nil {
		for _, key := range s.Op.Keys(b.Builder, b.Pin(step)) {
			keys = append(keys, candidate{key: key})
		}
		return keys, source.IsLocal()
	}
	for _, form := range llb.Forms() {
		m, err := s.Op.CacheMap(len(s.Inputs), b.Builder, form)
		if err != nil || len(m.Deps) != len(s.Inputs) {
			return nil, false
		}
		c := candidate{form: form, key: m.Key, deps: m.Deps}
		if !slices.ContainsFunc(keys, c.same) {
			keys = append(keys, c)
		}
	}
	return keys, false
}

// same reports whether two candidates have the same key and the same inputs, whatever their forms.
func (c candidate) same(other candidate) bool {
	return c.key.Text == other.key.Text && slices.EqualFunc(c.deps, other.deps, func(a, b llb.Dep) bool {
		return a.Selector == b.Selector && a.Content == b.Content
	})
}

// isUnknown reports whether the key of a step can't be known.
func (p *plan) isUnknown(step int) bool {
	return len(p.steps[step].keys) == 0 && !p.steps[step].local && !p.Steps[step].Op.IsResult()
}

// isImage reports whether a step is an image.
func (p *plan) isImage(step int) bool {
	source := p.Steps[step].Op.Source
	return source != nil && source.IsImage()
}

// current returns the key of a step in today's form, or nil.
func (p *plan) current(step int) *candidate {
	keys := p.steps[step].keys
	if len(keys) == 0 || keys[0].form != llb.FormV17 {
		return nil
	}
	return &keys[0]
}

// shown reports whether a step is to be reported: not a local source, and not the name of the result.
func (p *plan) shown(step int) bool {
	return !p.steps[step].local && !p.Steps[step].Op.IsResult()
}
