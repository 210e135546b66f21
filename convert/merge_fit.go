package convert

import (
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// alike is the size that every layer is assumed to have when it is decided, before recompression, what fits. It takes no less room in a
// root than the sizes of all but the largest layers. So the same results fit whether layers are to be recompressed or already were.
const alike = 9_999_999_999

// fitBefore drops the oldest results of the united cache until what the plan makes of it is sure to fit, so that no layer is recompressed
// only to be dropped. It reports whether any were dropped. The real layers take a little less room, but older results don't get it:
// they would go in one run and come back in the next.
func (m *merger) fitBefore(u *united, p *plan) (dropped bool, err error) {
	if m.o.Compression == "" || !m.o.Prune.Fit {
		return false, nil
	}
	guess, err := buildcache.Merge([]buildcache.Cache{u.value}, buildcache.MergeOptions{Blobs: p.guesses()})
	if err := unlessSize(err); err != nil {
		return false, err
	}
	fits, err := buildcache.Prune(buildcache.Cache{Root: guess.Root.WithForm(p.form), Config: guess.Config}, buildcache.PruneRules{Fit: true})
	if err != nil {
		return false, err
	}
	if !frees(fits.Freed) || fits.Kept.Results == 0 {
		return false, nil
	}
	left, err := buildcache.Prune(u.value, buildcache.PruneRules{Newest: fits.Kept.Results})
	if err != nil {
		return false, err
	}
	u.value, u.freed = left.Cache, buildcache.AddFreed(u.freed, left.Freed)
	return true, nil
}

// guesses returns a stand-in for each layer's outcome while that is unknown. Layers with the same diffID become one.
func (p *plan) guesses() map[digest.Digest]buildcache.Blob {
	blobs := map[digest.Digest]buildcache.Blob{}
	for _, s := range p.steps {
		if s.from.MediaType == buildcache.MediaTypeConfig {
			continue
		}
		is := buildcache.BlobOf(s.from, p.compression)
		if s.to != nil {
			is = *s.to
		}
		blob := buildcache.Blob{Digest: is.Digest, Size: max(alike, s.from.Size), Compression: p.compression, DiffID: is.DiffID}
		if buildcache.CheckDigest(is.DiffID) == nil {
			blob.Digest = is.DiffID
		}
		if p.compression == buildcache.Estargz {
			blob.TOCDigest, blob.UncompressedSize = blob.Digest, blob.Size
		}
		blobs[s.from.Digest] = blob
	}
	return blobs
}

// planOf makes the plan for the united cache, which has been sealed.
func (m *merger) planOf(cache *layout.Cache, known knowledge) *plan {
	p := newPlan(cache, m.o.Options, known)
	p.fold(m.o.Options)
	return p
}
