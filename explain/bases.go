package explain

import "github.com/ocicache/ocicache/buildcache"

// Total is the layers of all steps together, each counted once.
type Total struct {
	Layers int   `json:"layers"`
	Bytes  int64 `json:"bytes"`
}

// addBases fills in images, whose records have no results, from what lies below the results of the steps on them. A step
// makes one layer.
func (g *graph) addBases(steps []StepReport, p *plan) {
	at := map[int]int{}
	for i := range steps {
		at[steps[i].step] = i
	}
	for i := range steps {
		s := &steps[i]
		op := p.Steps[s.step].Op
		if len(p.Steps[s.step].Inputs) == 0 || s.Layer == nil || op.Exec == nil && op.File == nil {
			continue
		}
		in := p.Steps[s.step].Inputs[0].Step
		base, ok := at[in]
		if !ok || !p.isImage(in) || steps[base].Layer != nil {
			continue
		}
		under := g.without(s.newest)
		if under.top == buildcache.NoParent {
			continue
		}
		b := &steps[base]
		b.newest, b.Layer = under, new(under.top)
		b.Layers, b.Bytes, _ = g.sizeOf(under)
		b.Added = b.Bytes
	}
}

// total adds up the layers of all steps.
func (g *graph) total(steps []StepReport) Total {
	var t Total
	seen := map[int]bool{}
	for _, s := range steps {
		if s.Layer == nil {
			continue
		}
		for _, l := range g.layersOf(s.newest) {
			if !seen[l] {
				seen[l] = true
				t.Layers, t.Bytes = t.Layers+1, t.Bytes+g.stacks[l].added
			}
		}
	}
	return t
}
