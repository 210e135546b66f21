package buildcache

import (
	"math"
	"slices"

	"github.com/opencontainers/go-digest"
)

// needs is what a set of results needs. It grows with each result that is added; all additions together take linear time.
type needs struct {
	*pruner
	results  map[resultAt]bool
	met      []bool // families
	records  []bool
	layers   []bool
	followed []bool // layers whose parents are needed too
	blobs    map[digest.Digest]bool
	extent   Extent
}

func (p *pruner) needs(results []dated) *needs {
	n := &needs{
		pruner: p, results: make(map[resultAt]bool, len(results)), met: make([]bool, len(p.families.members)), records: make([]bool, len(p.Config.Records)),
		layers: make([]bool, len(p.Config.Layers)), followed: make([]bool, len(p.Config.Layers)), blobs: map[digest.Digest]bool{},
	}
	for _, r := range results {
		n.add(r)
	}
	return n
}

func (n *needs) add(r dated) {
	n.results[r.resultAt] = true
	n.extent.Results++
	n.addRecord(r.record)
	if record := n.Config.Records[r.record]; r.chain {
		for _, layer := range record.Chains[r.result].Layers {
			n.addLayer(layer)
		}
	} else {
		for i := record.Results[r.result].Layer; i != NoParent && !n.followed[i]; i = n.Config.Layers[i].Parent {
			n.followed[i] = true
			n.addLayer(i)
		}
	}
}

// addRecord adds a record, its siblings, and all that they depend on.
func (n *needs) addRecord(record int) {
	var open []int
	need := func(i int) {
		if !n.records[i] {
			n.records[i] = true
			n.extent.Records++
			open = append(open, i)
		}
	}
	need(record)
	for len(open) > 0 {
		i := open[len(open)-1]
		open = open[:len(open)-1]
		if family := n.families.of[i]; !n.met[family] {
			n.met[family] = true
			for _, sibling := range n.families.members[family] {
				need(sibling)
			}
		}
		for _, alternatives := range n.inputs(i) {
			for _, input := range alternatives {
				need(input.Link)
			}
		}
	}
}

func (n *needs) addLayer(i int) {
	if n.layers[i] {
		return
	}
	n.layers[i] = true
	n.extent.Layers++
	if blob := n.Config.Layers[i].Blob; !n.blobs[blob] {
		n.blobs[blob] = true
		n.extent.Blobs++
		n.extent.Bytes = addSizes(n.extent.Bytes, n.listed[blob].Size)
	}
}

// addSizes adds a size that may be anything, as somebody else wrote it. The sum neither falls nor overflows.
func addSizes(sum, size int64) int64 {
	if size > math.MaxInt64-sum {
		return math.MaxInt64
	}
	return sum + max(size, 0)
}

// all returns how much there is in the cache before anything is dropped.
func (v *imported) all() Extent {
	e := Extent{Records: len(v.Config.Records), Layers: len(v.Config.Layers), Blobs: len(v.listed)}
	for _, record := range v.Config.Records {
		e.Results += len(record.Results) + len(record.Chains)
	}
	for _, layer := range v.listed {
		e.Bytes = addSizes(e.Bytes, layer.Size)
	}
	return e
}

// left returns how many results each record has left, less than 0 for a record that is not needed.
func (n *needs) left() []int {
	left := make([]int, len(n.records))
	for i, needed := range n.records {
		if !needed {
			left[i] = -1
		}
	}
	for r := range n.results {
		left[r.record]++
	}
	return left
}

// config returns the part of the config that is needed.
func (n *needs) config() *Config {
	records, layers := newIndexes(n.records), newIndexes(n.layers)
	config := &Config{Extra: n.Config.Extra}
	for i, layer := range n.Config.Layers {
		if !n.layers[i] {
			continue
		}
		// Chains need no parents: a layer whose parent is gone is there for chains only, and gets none.
		if layer.Parent != NoParent {
			layer.Parent = layers.of(layer.Parent)
		}
		config.Layers = append(config.Layers, layer)
	}
	for i, record := range n.Config.Records {
		if n.records[i] {
			config.Records = append(config.Records, n.record(i, record, records, layers))
		}
	}
	return config
}

func (n *needs) record(i int, record Record, records, layers indexes) Record {
	var results []Result
	for j, r := range record.Results {
		if n.results[resultAt{i, j, false}] {
			r.Layer = layers.of(r.Layer)
			results = append(results, r)
		}
	}
	var chains []Chain
	for j, c := range record.Chains {
		if n.results[resultAt{i, j, true}] {
			c.Layers = slices.Clone(c.Layers)
			for k, layer := range c.Layers {
				c.Layers[k] = layers.of(layer)
			}
			chains = append(chains, c)
		}
	}
	record.Results, record.Chains, record.Inputs = results, chains, n.inputs(i)
	for slot, alternatives := range record.Inputs {
		record.Inputs[slot] = slices.Clone(alternatives)
		for j, input := range alternatives {
			record.Inputs[slot][j].Link = records.of(input.Link)
		}
	}
	return record
}

// rootLayers returns the root's descriptors of the needed blobs: for each blob, at most as many as the config has layers with
// it. If there are more, the last are kept, because BuildKit uses the last.
func (n *needs) rootLayers(config *Config) []Descriptor {
	left := map[digest.Digest]int{}
	for _, layer := range config.Layers {
		left[layer.Blob]++
	}
	var layers []Descriptor
	for _, layer := range slices.Backward(n.Root.Layers) {
		if left[layer.Digest]--; left[layer.Digest] >= 0 {
			layers = append(layers, layer)
		}
	}
	slices.Reverse(layers)
	return layers
}

// indexes maps old indexes to new ones.
type indexes []int

func newIndexes(kept []bool) indexes {
	x := make(indexes, len(kept))
	next := 0
	for i, k := range kept {
		if x[i] = -1; k {
			x[i] = next
			next++
		}
	}
	return x
}

// of returns the new index, or -1 for one that is gone or never was.
func (x indexes) of(old int) int {
	if old < 0 || old >= len(x) {
		return -1
	}
	return x[old]
}
