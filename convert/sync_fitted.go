package convert

import (
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// paired returns which layer of theirs corresponds to each layer of ours, by the indexes in the configs. If ours has more, Fit may have
// dropped some after recompression: then layers are paired by the results that both have. A wrong pair leads to another root in the end.
func paired(ours, theirs *buildcache.Config) map[int]int {
	pairs := map[int]int{}
	if len(ours.Layers) == len(theirs.Layers) {
		for i := range ours.Layers {
			pairs[i] = i
		}
		return pairs
	}
	at := 0
	for _, record := range theirs.Records { // a part of ours, in the same order
		rest := slices.IndexFunc(ours.Records[at:], func(r buildcache.Record) bool { return r.Digest == record.Digest })
		if rest < 0 {
			return nil
		}
		at += rest
		pairRecord(ours, theirs, ours.Records[at], record, pairs)
		at++
	}
	return pairs
}

// pairRecord pairs the layers of the results that two versions of a record have in common.
func pairRecord(ours, theirs *buildcache.Config, our, their buildcache.Record, pairs map[int]int) {
	for _, result := range their.Results {
		at := slices.IndexFunc(our.Results, func(r buildcache.Result) bool { return r.CreatedAt.Equal(result.CreatedAt.Time) })
		if at < 0 {
			continue
		}
		i, j := our.Results[at].Layer, result.Layer
		for known := false; !known && isLayer(ours, i) && isLayer(theirs, j); i, j = ours.Layers[i].Parent, theirs.Layers[j].Parent {
			_, known = pairs[i]
			pairs[i] = j
		}
	}
	for _, chain := range their.Chains {
		at := slices.IndexFunc(our.Chains, func(c buildcache.Chain) bool {
			return c.CreatedAt.Equal(chain.CreatedAt.Time) && len(c.Layers) == len(chain.Layers)
		})
		for n := 0; at >= 0 && n < len(chain.Layers); n++ {
			if i, j := our.Chains[at].Layers[n], chain.Layers[n]; isLayer(ours, i) && isLayer(theirs, j) {
				pairs[i] = j
			}
		}
	}
}

func isLayer(config *buildcache.Config, i int) bool { return i >= 0 && i < len(config.Layers) }

// standsFor returns which blob of theirs corresponds to each blob of ours.
func standsFor(ours, theirs *layout.Cache) map[digest.Digest]buildcache.Descriptor {
	listed, blobs := theirs.Root.LayersByDigest(), map[digest.Digest]buildcache.Descriptor{}
	for i, j := range paired(ours.Config, theirs.Config) {
		blobs[ours.Config.Layers[i].Blob] = listed[theirs.Config.Layers[j].Blob]
	}
	return blobs
}

// widest is a size that no layer has, and that takes no less room in a root than any other.
const widest = 1e15

// imagined stands in for a layer's outcome while that is unknown: it is described by no fewer bytes. So what doesn't fit with the
// real outcome doesn't fit with this.
func (p *plan) imagined(layer buildcache.Descriptor) *buildcache.Blob {
	blob := &buildcache.Blob{Digest: layer.Digest, Size: widest, Compression: p.compression, DiffID: layer.DiffID()}
	if p.compression == buildcache.Estargz {
		blob.TOCDigest, blob.UncompressedSize = layer.Digest, widest
	}
	return blob
}

// mayFitLess reports whether Fit may drop more than it has once layers are recompressed.
func (o Options) mayFitLess(cache *layout.Cache, p *plan) (bool, error) {
	if !o.Prune.Fit {
		return false, nil
	}
	guess := *p
	guess.steps = slices.Clone(p.steps)
	for i := range guess.steps {
		if s := &guess.steps[i]; s.action == Recompress {
			s.to = guess.imagined(s.from)
		}
	}
	result, err := assemble(cache, &guess)
	if err != nil {
		return false, err
	}
	return len(result.RawRoot) > buildcache.MaxImport || len(result.RawConfig) > buildcache.MaxImport, nil
}

// least stands in for a layer's outcome: it is described by no more bytes than the real one, and is the same for all with its diffID.
func (p *plan) least(layer buildcache.Descriptor) *buildcache.Blob {
	blob := &buildcache.Blob{Digest: layer.Digest, Compression: p.compression, DiffID: layer.DiffID()}
	if d := blob.DiffID; buildcache.CheckDigest(d) == nil && d.Algorithm() == digest.SHA256 {
		blob.Digest = d
	}
	if p.compression == buildcache.Estargz {
		blob.TOCDigest = blob.Digest
	}
	return blob
}

// fitFirst drops the oldest results that can't fit whatever their layers become, so that these are not recompressed for nothing. What is
// left is cut down in the end to what really fits: the outcome is the same.
func (o Options) fitFirst(cache *layout.Cache, pruning *Pruning, known knowledge) (*layout.Cache, *Pruning, *plan, error) {
	p := newPlan(cache, o, known)
	recompresses := func(s step) bool { return s.action == Recompress }
	if !o.Prune.Fit || !slices.ContainsFunc(p.steps, recompresses) {
		return cache, pruning, p, nil
	}
	guess := *p
	guess.steps = slices.Clone(p.steps)
	for i := range guess.steps {
		if s := &guess.steps[i]; recompresses(*s) {
			s.to = guess.least(s.from)
		}
	}
	_, fits, err := o.assemble(cache, &guess)
	if err != nil || fits == nil {
		return cache, pruning, p, err
	}
	left, cutDown, err := cut(cache, buildcache.PruneRules{Newest: fits.Kept.Results})
	if err != nil {
		return nil, nil, nil, err
	}
	both := pruning.then(cutDown)
	return left, &both, newPlan(left, o, known), nil
}
