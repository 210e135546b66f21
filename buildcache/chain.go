package buildcache

import "github.com/opencontainers/go-digest"

// chainOutcome is what comes of following a layer's parents to the lowest one.
type chainOutcome uint8

const (
	chainUnknown    chainOutcome = iota
	chainWhole                   // every layer is listed in the root
	chainUnlisted                // one is not: BuildKit drops the result
	chainOutOfRange              // an index points nowhere: BuildKit rejects the cache
	chainLoops                   // a layer is its own ancestor: BuildKit rejects the cache
)

// chainWalker follows parents, and remembers each layer's outcome so that all chains together cost linear time.
type chainWalker struct {
	layers   []Layer
	listed   map[digest.Digest]Descriptor
	outcomes []chainOutcome
	onPath   []bool
	used     map[digest.Digest]bool // blobs of whole chains
}

func newChainWalker(layers []Layer, listed map[digest.Digest]Descriptor) *chainWalker {
	return &chainWalker{
		layers: layers, listed: listed,
		outcomes: make([]chainOutcome, len(layers)), onPath: make([]bool, len(layers)),
		used: map[digest.Digest]bool{},
	}
}

// walk follows the parents of layer i. An unlisted layer ends the walk before its parents are looked at, as in
// BuildKit, so that it hides what is wrong below it.
func (w *chainWalker) walk(i int) chainOutcome {
	var path []int
	outcome := chainUnknown
	for outcome == chainUnknown {
		switch {
		case i < 0 || i >= len(w.layers):
			outcome = chainOutOfRange
		case w.onPath[i]:
			outcome = chainLoops
		case w.outcomes[i] != chainUnknown:
			outcome = w.outcomes[i]
		default:
			w.onPath[i] = true
			path = append(path, i)
			outcome = w.step(i)
			i = w.layers[i].Parent
		}
	}
	for _, p := range path {
		w.outcomes[p], w.onPath[p] = outcome, false
		if outcome == chainWhole {
			w.used[w.layers[p].Blob] = true
		}
	}
	return outcome
}

// step says how the walk ends at layer i, or chainUnknown if its parent has to be asked.
func (w *chainWalker) step(i int) chainOutcome {
	if _, ok := w.listed[w.layers[i].Blob]; !ok {
		return chainUnlisted
	}
	if w.layers[i].Parent == NoParent {
		return chainWhole
	}
	return chainUnknown
}

// one looks at layer i alone, for chains that name every layer themselves.
func (w *chainWalker) one(i int) chainOutcome {
	if i < 0 || i >= len(w.layers) {
		return chainOutOfRange
	}
	if _, ok := w.listed[w.layers[i].Blob]; !ok {
		return chainUnlisted
	}
	w.used[w.layers[i].Blob] = true
	return chainWhole
}

// UsedBlobs returns the layer blobs that some result of the config needs, out of those that root lists.
func UsedBlobs(root *Root, config *Config) map[digest.Digest]bool {
	w := newChainWalker(config.Layers, root.LayersByDigest())
	for _, record := range config.Records {
		for _, result := range record.Results {
			w.walk(result.Layer)
		}
		for _, chain := range record.Chains {
			for _, layer := range chain.Layers {
				w.one(layer)
			}
		}
	}
	return w.used
}
