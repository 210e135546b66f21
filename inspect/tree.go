package inspect

import (
	"cmp"
	"slices"
	"unicode/utf8"
)

// branch is a layer in the tree of layers.
type branch struct {
	Layer
	Lines string // what is drawn before it
	Tree  int64  // its bytes, and those of all layers on it
	Name  RecordName
}

// maxIndent is how far to the right the tree branches, in characters. Later branches stay in that column.
const maxIndent = 48

// tree returns the first layers, up to most of them, each below the one that it lies on. Of layers on the same one, the one with the most
// bytes on it comes first. A layer that is alone on another is not indented, so that a long chain stays in its column.
func (g *graph) tree(most int) []branch {
	bytes := g.treeBytes()
	bySize := func(a, b int) int { return cmp.Or(cmp.Compare(bytes[b], bytes[a]), cmp.Compare(a, b)) }
	type open struct {
		layer      int
		own, below string // lines of its own row, and of those below
	}
	var stack []open
	push := func(layers []int, lines string) {
		layers = slices.SortedFunc(slices.Values(layers), bySize)
		fork := len(layers) > 1 && utf8.RuneCountInString(lines) < maxIndent
		for i, layer := range slices.Backward(layers) {
			switch {
			case !fork:
				stack = append(stack, open{layer, lines, lines})
			case i == len(layers)-1:
				stack = append(stack, open{layer, lines + "└─", lines + "  "})
			default:
				stack = append(stack, open{layer, lines + "├─", lines + "│ "})
			}
		}
	}
	var lowest []int
	for i, level := range g.layers.of {
		if level == 0 {
			lowest = append(lowest, i)
		}
	}
	slices.SortFunc(lowest, bySize)
	for _, layer := range slices.Backward(lowest) {
		stack = append(stack, open{layer: layer})
	}
	names := g.layerNames()
	var rows []branch
	for len(stack) > 0 && len(rows) < most {
		next := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		rows = append(rows, branch{Layer: g.Layers[next.layer], Lines: next.own, Tree: bytes[next.layer], Name: names[next.layer]})
		push(g.layers.above[next.layer], next.below)
	}
	for i, level := range g.layers.of {
		if level < 0 && len(rows) < most {
			rows = append(rows, branch{Layer: g.Layers[i], Lines: "in a loop, or depending on one ", Tree: bytes[i], Name: names[i]})
		}
	}
	return rows
}
