package buildcache

import "github.com/opencontainers/go-digest"

// chainOutcome says how following a layer's parents to the lowest one ends.
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
	inUse    []bool
	used     map[digest.Digest]bool // blobs of layers in use
}

func newChainWalker(layers []Layer, listed map[digest.Digest]Descriptor) *chainWalker {
	return &chainWalker{
		layers: layers, listed: listed,
		outcomes: make([]chainOutcome, len(layers)), onPath: make([]bool, len(layers)), inUse: make([]bool, len(layers)),
		used: map[digest.Digest]bool{},
	}
}

// follow walks from every result to its layers, and tells found the outcome. Like BuildKit, it includes random records, which
// are dropped later and use no layers.
func (w *chainWalker) follow(records []Record, found func(record, layer int, outcome chainOutcome)) {
	for i, record := range records {
		random := record.isRandom()
		for _, result := range record.Results {
			outcome := w.walk(result.Layer)
			if outcome == chainWhole && !random {
				w.use(result.Layer)
			}
			found(i, result.Layer, outcome)
		}
		for _, chain := range record.Chains {
			last, outcome := w.each(chain.Layers)
			if outcome == chainWhole && !random {
				for _, layer := range chain.Layers {
					w.used[w.layers[layer].Blob] = true
				}
			}
			found(i, last, outcome)
		}
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
	}
	return outcome
}

// step returns how the walk ends at layer i, or chainUnknown if it has to go on to the parent.
func (w *chainWalker) step(i int) chainOutcome {
	if _, ok := w.listed[w.layers[i].Blob]; !ok {
		return chainUnlisted
	}
	if w.layers[i].Parent == NoParent {
		return chainWhole
	}
	return chainUnknown
}

// use marks layer i and its parents, which are whole, as needed.
func (w *chainWalker) use(i int) {
	for ; i != NoParent && !w.inUse[i]; i = w.layers[i].Parent {
		w.inUse[i] = true
		w.used[w.layers[i].Blob] = true
	}
}

// each checks layers one by one, up to the first with something wrong. It is for chains, which name every layer themselves.
func (w *chainWalker) each(layers []int) (last int, outcome chainOutcome) {
	for _, i := range layers {
		last = i
		if i < 0 || i >= len(w.layers) {
			return last, chainOutOfRange
		}
		if _, ok := w.listed[w.layers[i].Blob]; !ok {
			return last, chainUnlisted
		}
	}
	return last, chainWhole
}

// UsedBlobs returns those of the layer blobs listed in root that some result of the config needs.
func UsedBlobs(root *Root, config *Config) map[digest.Digest]bool {
	w := newChainWalker(config.Layers, root.LayersByDigest())
	w.follow(config.Records, func(int, int, chainOutcome) {})
	return w.used
}
