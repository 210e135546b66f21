package convert

import (
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// alike is the size that every layer is taken to have where it is decided what fits before layers are recompressed: one that takes no less
// room in a root than those of all but the largest layers. So the same results fit whether layers are to be recompressed, or were.
const alike = 9_999_999_999

// fitBefore drops the oldest results of what was united until what the plan makes of it surely fits, so that no layer is recompressed that
// goes then. It reports whether any went. What layers really become takes a little less room; none of it is given to older results, which
// would go in one run and come back in the next.
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

// guesses returns what stands for each layer before it is known what becomes of it: layers that are the same become one.
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

// planOf decides about the layers of what was united, sealed.
func (m *merger) planOf(cache *layout.Cache, known knowledge) *plan {
	p := newPlan(cache, m.o.Options, known)
	p.fold(m.o.Options)
	return p
}
