package explain

import "fmt"

// shapes are classes of outputs: two that may have the same key have the same shape. A shape covers the operation and what it
// stands on, but not files, which may be unknown. So steps are told apart without comparing each pair.
type shapes map[output]int

// newShapes finds the shapes of a plan. Steps come after their inputs.
func newShapes(p *plan) shapes {
	all, known := shapes{}, map[string]int{}
	for step := range p.steps {
		for _, n := range p.steps[step].outputs {
			out := output{step, n}
			text := all.describe(p, out)
			if _, ok := known[text]; !ok {
				known[text] = len(known) + 1
			}
			all[out] = known[text]
		}
	}
	return all
}

// describe returns a text that identifies a shape.
func (s shapes) describe(p *plan, out output) string {
	key := p.current(out.step)
	if key == nil { // it is the same as no other
		return fmt.Sprint(out)
	}
	text := key.key.Record(out.output).String()
	for i, in := range p.Steps[out.step].Inputs {
		if key.deps[i].Content {
			text += " files"
			continue
		}
		text += fmt.Sprintf(" %d%s", s[output{in.Step, in.Output}], key.deps[i].Selector)
	}
	return text
}
