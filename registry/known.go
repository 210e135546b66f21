package registry

import (
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// maxKnown bounds how many blobs are remembered. What is not remembered is asked for.
const maxKnown = 1 << 18

// known are the blobs that a repository has, as this process has seen or written them.
type known struct {
	mu    sync.Mutex
	sizes map[digest.Digest]int64
	// misses is how many blobs were asked for in vain, one after the other.
	misses int
}

func (k *known) add(blob digest.Digest, size int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sizes == nil {
		k.sizes = map[digest.Digest]int64{}
	}
	if len(k.sizes) < maxKnown {
		k.sizes[blob] = size
	}
}

// asked notes whether a blob that was asked for is there.
func (k *known) asked(has bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.misses++; has {
		k.misses = 0
	}
}

func (k *known) size(blob digest.Digest) (int64, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	size, ok := k.sizes[blob]
	return size, ok
}

// isBare reports whether enough blobs were missing for the rest to be taken to be.
func (k *known) isBare() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.misses >= 3
}

// holders are repositories of a registry that are said to have a blob, from which it may be mounted.
type holders struct {
	mu    sync.Mutex
	paths map[digest.Digest]string
}

// addRoot notes what a root in a repository names. It may lie: the registry looks before it mounts.
func (h *holders) addRoot(path string, raw []byte) {
	blobs := buildcache.Successors(raw)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.paths == nil {
		h.paths = map[digest.Digest]string{}
	}
	for _, blob := range blobs {
		if len(h.paths) < maxKnown && !buildcache.IsManifestType(blob.MediaType) && buildcache.CheckDigest(blob.Digest) == nil {
			h.paths[blob.Digest] = path
		}
	}
}

// of returns another repository than path that may have a blob, or "".
func (h *holders) of(blob digest.Digest, path string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if holder := h.paths[blob]; holder != path {
		return holder
	}
	return ""
}

// forget is for a holder that turned out not to be one, or not to let us.
func (h *holders) forget(blob digest.Digest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.paths, blob)
}
