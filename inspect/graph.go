package inspect

import (
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// graph is what a config says about its records and layers, however wrong it is: links and parents that lead nowhere are left
// out, and what is in a circle has no level.
type graph struct {
	Detailed
	parents []int   // of the config's layers
	inputs  [][]int // of records, each once
	layers  levels
	records levels
}

func newGraph(d Detailed) *graph {
	g := &graph{Detailed: d, parents: make([]int, len(d.Config.Layers)), inputs: make([][]int, len(d.Config.Records))}
	for i, layer := range d.Config.Layers {
		if g.parents[i] = layer.Parent; layer.Parent < 0 || layer.Parent >= len(g.parents) {
			g.parents[i] = buildcache.NoParent
		}
	}
	for i, record := range d.Config.Records {
		for _, alternatives := range record.Inputs {
			for _, input := range alternatives {
				if input.Link >= 0 && input.Link < len(g.inputs) {
					g.inputs[i] = append(g.inputs[i], input.Link)
				}
			}
		}
		slices.Sort(g.inputs[i])
		g.inputs[i] = slices.Compact(g.inputs[i])
	}
	g.layers = newLevels(len(g.parents), func(i int) []int {
		if g.parents[i] == buildcache.NoParent {
			return nil
		}
		return g.parents[i : i+1]
	})
	g.records = newLevels(len(g.inputs), func(i int) []int { return g.inputs[i] })
	return g
}

// levels orders nodes that lie on one another.
type levels struct {
	sorted []int   // each after all those that it lies on; without nodes in a circle, or above one
	of     []int   // how far each is above those that lie on nothing, -1 if it is not in sorted
	above  [][]int // what lies on each
}

// newLevels orders n nodes, each of which lies on those that below returns. It takes linear time.
func newLevels(n int, below func(int) []int) levels {
	l := levels{of: make([]int, n), above: make([][]int, n)}
	left := make([]int, n)
	for i := range n {
		l.of[i] = -1
		left[i] = len(below(i))
		for _, b := range below(i) {
			l.above[b] = append(l.above[b], i)
		}
		if left[i] == 0 {
			l.sorted = append(l.sorted, i)
		}
	}
	for at := 0; at < len(l.sorted); at++ {
		i := l.sorted[at]
		for _, b := range below(i) {
			l.of[i] = max(l.of[i], l.of[b])
		}
		l.of[i]++
		for _, a := range l.above[i] {
			if left[a]--; left[a] == 0 {
				l.sorted = append(l.sorted, a)
			}
		}
	}
	return l
}

// stackBytes returns the bytes of each layer together with all layers below it.
func (g *graph) stackBytes() []int64 {
	bytes := make([]int64, len(g.parents))
	for i := range bytes {
		bytes[i] = addSize(0, g.Layers[i].Size)
	}
	for _, i := range g.layers.sorted {
		if p := g.parents[i]; p != buildcache.NoParent {
			bytes[i] = addSize(bytes[i], bytes[p])
		}
	}
	return bytes
}

// treeBytes returns the bytes of each layer together with all layers above it.
func (g *graph) treeBytes() []int64 {
	bytes := make([]int64, len(g.parents))
	for i := range bytes {
		bytes[i] = addSize(0, g.Layers[i].Size)
	}
	for _, i := range slices.Backward(g.layers.sorted) {
		if p := g.parents[i]; p != buildcache.NoParent {
			bytes[p] = addSize(bytes[p], bytes[i])
		}
	}
	return bytes
}

// node is a record in the graph.
type node struct {
	Index     int
	Digest    digest.Digest
	Name      RecordName
	Inputs    []int
	Users     int // how many records have it as an input
	Results   int
	Bytes     int64 // of the newest result
	CreatedAt *time.Time
	Circle    bool
}

// nodes returns the first records, up to most of them.
func (g *graph) nodes(most int) []node {
	stack := g.stackBytes()
	all := make([]node, min(most, len(g.Config.Records)))
	for i := range all {
		record := g.Config.Records[i]
		n := &all[i]
		*n = node{
			Index: i, Digest: record.Digest, Name: nameAt(g.Names, i), Inputs: g.inputs[i], Users: len(g.records.above[i]), Circle: g.records.of[i] < 0,
		}
		for _, r := range record.Results {
			var bytes int64
			if r.Layer >= 0 && r.Layer < len(stack) {
				bytes = stack[r.Layer]
			}
			n.add(known(r.CreatedAt.Time), bytes)
		}
		for _, chain := range record.Chains {
			var bytes int64
			for _, layer := range chain.Layers {
				if layer >= 0 && layer < len(stack) {
					bytes = addSize(bytes, g.Layers[layer].Size)
				}
			}
			n.add(known(chain.CreatedAt.Time), bytes)
		}
	}
	return all
}

func (n *node) add(at *time.Time, bytes int64) {
	if n.Results == 0 || at != nil && (n.CreatedAt == nil || at.After(*n.CreatedAt)) {
		n.CreatedAt, n.Bytes = at, bytes
	}
	n.Results++
}
