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

// maxKnown bounds how many blobs are remembered. The registry is asked about the rest.
const maxKnown = 1 << 18

// sum is a digest in little memory, because there are many.
type sum [sha256.Size]byte

// sumOf returns the sum of a digest. Digests of an algorithm other than BuildKit's have none: they are not remembered.
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
	blobs map[sum]knownBlob
	// passing are the newest roots and configs, oldest first. Nearly all belong to one cache only, and are wanted soon after
	// they were written, or never: with many caches, they would take most of the room.
	passing []sum
	// misses is how many blobs in a row were not there.
	misses int
}

// knownBlob is a blob that a repository has with a size.
type knownBlob struct {
	size  int64
	taken bool // the registry was not asked about it: it only said that it took it
}

// maxPassing is how many roots and configs are remembered at most.
const maxPassing = 1 << 10

// add remembers a blob that the registry has.
func (k *known) add(blob buildcache.Descriptor) { k.note(blob, false) }

// take remembers a blob that was sent, and that the registry says it took.
func (k *known) take(blob buildcache.Descriptor) { k.note(blob, true) }

func (k *known) note(blob buildcache.Descriptor, taken bool) {
	s, ok := sumOf(blob.Digest)
	if !ok {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.blobs == nil {
		k.blobs = map[sum]knownBlob{}
	}
	_, again := k.blobs[s]
	if !again && len(k.blobs) >= maxKnown {
		return
	}
	k.blobs[s] = knownBlob{blob.Size, taken}
	if again {
		return
	}
	if blob.MediaType != buildcache.MediaTypeConfig && !buildcache.IsManifestType(blob.MediaType) {
		return
	}
	if len(k.passing) == maxPassing {
		delete(k.blobs, k.passing[0])
		k.passing = append(k.passing[:0], k.passing[1:]...)
	}
	k.passing = append(k.passing, s)
}

// asked records whether a blob that was asked for is there.
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
	b, ok := k.blobs[s]
	return b.size, ok
}

// seen reports whether the registry was asked about a blob, and has it with its size.
func (k *known) seen(blob buildcache.Descriptor) bool {
	s, ok := sumOf(blob.Digest)
	k.mu.Lock()
	defer k.mu.Unlock()
	b, known := k.blobs[s]
	return ok && known && b.size == blob.Size && !b.taken
}

// forget drops a blob that is no longer there, or not as it should be.
func (k *known) forget(blob digest.Digest) {
	if s, ok := sumOf(blob); ok {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.blobs, s)
	}
}

// isBare reports whether enough blobs were missing in a row to assume that the rest are missing too.
func (k *known) isBare() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.misses >= 3
}

// holders are repositories of a registry that seem to have a blob, from which it may be mounted. They may be wrong: the
// registry checks before it mounts.
type holders struct {
	mu    sync.Mutex
	seed  maphash.Seed
	names []string          // of the repositories
	held  map[uint64]uint32 // which of them has a blob, by a hash of its digest, as there are many
}

// key returns the hash that stands for a blob. The caller holds the lock.
func (h *holders) key(blob []byte) uint64 {
	if h.held == nil {
		h.seed, h.held = maphash.MakeSeed(), map[uint64]uint32{}
	}
	return maphash.Bytes(h.seed, blob)
}

// number returns the number of a repository. The caller holds the lock.
func (h *holders) number(path string) uint32 {
	at := slices.Index(h.names, path)
	if at < 0 {
		at, h.names = len(h.names), append(h.names, path)
	}
	return uint32(at) //nolint:gosec // nobody has as many repositories
}

// addRoot records what a root in a repository names. It does not parse the root: a blob that it overlooks is sent, and a digest
// that is not a blob's is never asked for.
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

// of returns a repository other than path that may have a blob, or "".
func (h *holders) of(blob digest.Digest, path string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	number, ok := h.held[h.key([]byte(blob))]
	if !ok || h.names[number] == path {
		return ""
	}
	return h.names[number]
}

// forget drops a holder that turned out not to have a blob, or not to let us mount it.
func (h *holders) forget(blob digest.Digest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.held, h.key([]byte(blob)))
}
