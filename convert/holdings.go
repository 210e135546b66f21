package convert

import (
	"cmp"
	"context"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// holdings are the layers that the caches of a place are claimed to hold in one compression, by diffID. nil is empty. Sync
// collects them once for all of its caches.
type holdings struct {
	compression buildcache.Compression

	mu    sync.Mutex
	blobs map[digest.Digest]buildcache.Blob
}

// collect returns the holdings that a place's entries claim. Roots that can't be read are skipped. Estargz is never held: its
// diffID is not that of the tar inside.
func collect(ctx context.Context, place layout.Source, entries []layout.Entry, c buildcache.Compression) (*holdings, error) {
	h := &holdings{compression: c, blobs: map[digest.Digest]buildcache.Blob{}}
	if c == buildcache.Estargz || c == "" {
		return h, nil
	}
	for _, entry := range entries {
		entry, err := layout.Classify(ctx, place, entry)
		if err != nil {
			return nil, err
		}
		if entry.Kind != layout.KindCache {
			continue
		}
		raw, err := layout.ReadBlob(ctx, place, entry.Descriptor, buildcache.MaxRoot)
		if ctx.Err() != nil {
			return nil, err
		}
		root, parseErr := buildcache.ParseRoot(raw)
		if err != nil || parseErr != nil {
			continue
		}
		h.addRoot(ctx, place, root)
	}
	return h, nil
}

// addRoot adds the layers of one root.
func (h *holdings) addRoot(ctx context.Context, place layout.Source, root *buildcache.Root) {
	for _, layer := range root.LayersByDigest() {
		said, ok := buildcache.LayerCompression(layer.MediaType)
		if !ok || said != h.compression || buildcache.CheckDigest(layer.DiffID()) != nil {
			continue
		}
		encoding, err := detect(ctx, place, layer)
		if err != nil || encoding.Compression != h.compression {
			continue
		}
		h.add(buildcache.Blob{Digest: layer.Digest, Size: layer.Size, Compression: h.compression, DiffID: layer.DiffID()})
	}
}

// learn adds the layers of a result, for the caches that come after it.
func (h *holdings) learn(result *Result) {
	if h.compression == "" || h.compression == buildcache.Estargz {
		return
	}
	for _, layer := range result.Layers {
		if layer.ToCompression == h.compression && layer.DiffID != "" {
			h.add(buildcache.Blob{Digest: layer.To, Size: layer.ToSize, Compression: h.compression, DiffID: layer.DiffID})
		}
	}
}

func (h *holdings) add(blob buildcache.Blob) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if other, ok := h.blobs[blob.DiffID]; !ok || better(blob, other) {
		h.blobs[blob.DiffID] = blob
	}
}

// blob returns what is held with a diffID.
func (h *holdings) blob(diffID digest.Digest) (buildcache.Blob, bool) {
	if h == nil {
		return buildcache.Blob{}, false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	blob, ok := h.blobs[diffID]
	return blob, ok
}

// better reports whether a is preferred to b, which has the same diffID, so that the order in which they come doesn't matter.
func better(a, b buildcache.Blob) bool {
	return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.Digest, b.Digest)) < 0
}
