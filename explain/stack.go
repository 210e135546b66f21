package explain

import (
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/layout"
)

// stack is a layer with all layers under it.
type stack struct {
	layers int   // 0 for a layer whose parents lead nowhere or in a circle
	bytes  int64 // of all layers
	added  int64 // of the layer itself
	chain  digest.Digest
}

// stacksOf returns the stack of each layer of a cache. It takes time linear in their number.
func stacksOf(c *layout.Cache) []stack {
	listed := map[digest.Digest]buildcache.Descriptor{}
	for _, l := range c.Root.Layers {
		listed[l.Digest] = l
	}
	layers := c.Config.Layers
	stacks := make([]stack, len(layers))
	for i := range layers {
		for _, at := range upwards(layers, i, func(at int) bool { return stacks[at].layers > 0 }) {
			blob := listed[layers[at].Blob]
			s := stack{layers: 1, bytes: blob.Size, added: blob.Size, chain: blob.DiffID()}
			if parent := layers[at].Parent; parent >= 0 {
				under := stacks[parent]
				s.layers, s.bytes = under.layers+1, under.bytes+blob.Size
				if s.chain != "" && under.chain != "" {
					s.chain = llb.ChainID(under.chain, s.chain)
				} else {
					s.chain = ""
				}
			}
			stacks[at] = s
		}
	}
	return stacks
}

// upwards returns a layer and those under it, down to but without the first known one, lowest first. It is nil if that
// leads nowhere or in a circle.
func upwards(layers []buildcache.Layer, top int, known func(int) bool) []int {
	var path []int
	for at := top; at != buildcache.NoParent && (at < 0 || at >= len(layers) || !known(at)); at = layers[at].Parent {
		if at < 0 || at >= len(layers) || len(path) == len(layers) {
			return nil
		}
		path = append(path, at)
	}
	for i, j := 0, len(path)-1; i < j; i, j = i+1, j-1 {
		path[i], path[j] = path[j], path[i]
	}
	return path
}

// result is what a record can be loaded from: a layer with all layers under it, or a list of layers, lowest first.
type result struct {
	top  int
	list []int // nil for a layer with all layers under it
	made buildcache.Time
}

// results returns the results of a record whose layers are valid.
func (g *graph) results(record int) []result {
	r := &g.config.Records[record]
	var all []result
	for _, of := range r.Results {
		if of.Layer >= 0 && of.Layer < len(g.stacks) && g.stacks[of.Layer].layers > 0 {
			all = append(all, result{top: of.Layer, made: of.CreatedAt})
		}
	}
	for _, chain := range r.Chains {
		if len(chain.Layers) > 0 && g.inRange(chain.Layers) {
			all = append(all, result{top: chain.Layers[len(chain.Layers)-1], list: chain.Layers, made: chain.CreatedAt})
		}
	}
	return all
}

func (g *graph) inRange(layers []int) bool {
	for _, l := range layers {
		if l < 0 || l >= len(g.config.Layers) {
			return false
		}
	}
	return true
}

// without returns a result without its uppermost layer.
func (g *graph) without(r result) result {
	if r.list != nil {
		rest := r.list[:len(r.list)-1]
		if len(rest) == 0 {
			return result{top: buildcache.NoParent}
		}
		return result{top: rest[len(rest)-1], list: rest}
	}
	return result{top: g.config.Layers[r.top].Parent}
}

// sizeOf returns how many layers a result has, their total size, and that of the uppermost one.
func (g *graph) sizeOf(r result) (layers int, bytes, added int64) {
	if r.top == buildcache.NoParent {
		return 0, 0, 0
	}
	top := g.stacks[r.top]
	if r.list == nil {
		return top.layers, top.bytes, top.added
	}
	for _, l := range r.list {
		bytes += g.stacks[l].added
	}
	return len(r.list), bytes, top.added
}

// layersOf returns the layers of a result.
func (g *graph) layersOf(r result) []int {
	if r.list != nil {
		return r.list
	}
	return upwards(g.config.Layers, r.top, func(int) bool { return false })
}
