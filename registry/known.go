package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// maxKnown bounds how many blobs are remembered. What is not remembered is asked for.
const maxKnown = 1 << 18

// sum is a digest in little memory, as there are many of them.
type sum [sha256.Size]byte

// sumOf returns the sum of a digest. Digests of another algorithm than BuildKit's have none: they are not remembered.
func sumOf(blob digest.Digest) (s sum, ok bool) {
	if blob.Validate() != nil || blob.Algorithm() != digest.SHA256 {
		return s, false
	}
	_, err := hex.Decode(s[:], []byte(blob.Encoded()))
	return s, err == nil
}

// known are the blobs that a repository has, as this process has seen or written them.
type known struct {
	mu    sync.Mutex
	sizes map[sum]int64
	// passing are the newest roots and configs, the oldest first. Nearly each is one cache's own, and wanted soon after it was written, or
	// never: of many caches they would take most of the room.
	passing []sum
	// misses is how many blobs were asked for in vain, one after the other.
	misses int
}

// maxPassing is how many roots and configs are remembered.
const maxPassing = 1 << 10

func (k *known) add(blob buildcache.Descriptor) {
	s, ok := sumOf(blob.Digest)
	if !ok {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sizes == nil {
		k.sizes = map[sum]int64{}
	}
	_, again := k.sizes[s]
	if !again && len(k.sizes) >= maxKnown {
		return
	}
	k.sizes[s] = blob.Size
	if again {
		return
	}
	if blob.MediaType != buildcache.MediaTypeConfig && !buildcache.IsManifestType(blob.MediaType) {
		return
	}
	if len(k.passing) == maxPassing {
		delete(k.sizes, k.passing[0])
		k.passing = append(k.passing[:0], k.passing[1:]...)
	}
	k.passing = append(k.passing, s)
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
	s, ok := sumOf(blob)
	if !ok {
		return 0, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	size, ok := k.sizes[s]
	return size, ok
}

// isBare reports whether enough blobs were missing for the rest to be taken to be.
func (k *known) isBare() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.misses >= 3
}

// holders are repositories of a registry that are said to have a blob, from which it may be mounted. They may be wrong: the registry looks
// before it mounts.
type holders struct {
	mu    sync.Mutex
	seed  maphash.Seed
	names []string          // of the repositories
	held  map[uint64]uint32 // which of them has a blob, by a hash of its digest, as there are many
}

// key stands for a blob. The lock is held.
func (h *holders) key(blob []byte) uint64 {
	if h.held == nil {
		h.seed, h.held = maphash.MakeSeed(), map[uint64]uint32{}
	}
	return maphash.Bytes(h.seed, blob)
}

// number returns the number of a repository. The lock is held.
func (h *holders) number(path string) uint32 {
	at := slices.Index(h.names, path)
	if at < 0 {
		at, h.names = len(h.names), append(h.names, path)
	}
	return uint32(at) //nolint:gosec // nobody has as many repositories
}

// addRoot notes what a root in a repository names. It is not parsed for that: what is overlooked is sent, and what is no blob is never
// asked for.
func (h *holders) addRoot(path string, raw []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	number := h.number(path)
	for len(h.held) < maxKnown {
		at := bytes.Index(raw, wordDigest)
		if at < 0 {
			return
		}
		raw = bytes.TrimLeft(raw[at+len(wordDigest):], ": \t\r\n\"")
		if end := bytes.IndexByte(raw, '"'); end > 0 {
			h.held[h.key(raw[:end])] = number
		}
	}
}

// wordDigest is the name of the member of a descriptor that has the digest.
var wordDigest = []byte(`"digest"`)

// of returns another repository than path that may have a blob, or "".
func (h *holders) of(blob digest.Digest, path string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	number, ok := h.held[h.key([]byte(blob))]
	if !ok || h.names[number] == path {
		return ""
	}
	return h.names[number]
}

// forget is for a holder that turned out not to be one, or not to let us.
func (h *holders) forget(blob digest.Digest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.held, h.key([]byte(blob)))
}
