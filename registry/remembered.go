package registry

import (
	"bytes"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
)

// How many bytes of manifests are remembered. If all entries of a repository were listed, its manifests are probably wanted
// again one by one; else each is wanted again soon after it was read, or never.
const (
	maxRemembered    = 1 << 20
	maxRememberedAll = 8 << 20
)

// remembered are the newest manifests that were read from a repository.
type remembered struct {
	all   bool // the repository's entries were listed
	bytes int
	raw   map[digest.Digest][]byte
	order []digest.Digest // the oldest first; what was forgotten may still be in it
}

func (m *remembered) add(d digest.Digest, raw []byte) {
	most := maxRemembered
	if m.all {
		most = maxRememberedAll
	}
	if _, ok := m.raw[d]; ok || len(raw) > most {
		return
	}
	if m.raw == nil {
		m.raw = map[digest.Digest][]byte{}
	}
	m.raw[d], m.order = bytes.Clone(raw), append(m.order, d) // what it was read into may be much larger
	for m.bytes += len(raw); m.bytes > most; m.order = m.order[1:] {
		m.forget(m.order[0])
	}
}

func (m *remembered) forget(d digest.Digest) {
	m.bytes -= len(m.raw[d])
	delete(m.raw, d)
}

// maxSights is how many roots of caches sights holds.
const maxSights = 512

// sights are what the newest roots of caches turned out to be. Two repositories mostly have the same ones, and parsing one
// takes longer than asking a registry for it.
type sights struct {
	mu    sync.Mutex
	seen  map[digest.Digest]layout.Entry // without tags
	order []digest.Digest                // the oldest first
}

func (l *sights) of(root digest.Digest) (layout.Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry, ok := l.seen[root]
	return entry, ok
}

func (l *sights) add(entry layout.Entry) {
	root := entry.Descriptor.Digest
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.seen[root]; ok || entry.Kind != layout.KindCache {
		return
	}
	if l.seen == nil {
		l.seen = map[digest.Digest]layout.Entry{}
	}
	if entry.Tag = ""; len(l.order) == maxSights {
		delete(l.seen, l.order[0])
		l.order = append(l.order[:0], l.order[1:]...)
	}
	l.seen[root], l.order = entry, append(l.order, root)
}
