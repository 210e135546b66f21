package convert

import (
	"context"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// made remembers what a run has recompressed so far, so that a layer that several caches share is recompressed once. It stands in for
// a journal in places without one. nil remembers nothing.
type made struct {
	mu    sync.Mutex
	blobs map[layout.Recipe]buildcache.Blob
}

func (m *made) blob(r layout.Recipe) (buildcache.Blob, bool) {
	if m == nil {
		return buildcache.Blob{}, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	blob, ok := m.blobs[r]
	return blob, ok
}

func (m *made) add(r layout.Recipe, blob buildcache.Blob) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.blobs == nil {
		m.blobs = map[layout.Recipe]buildcache.Blob{}
	}
	m.blobs[r] = blob
}

// foretell recompresses a layer, keeps only the digest, and reports whether the destination has that. It is for places that layers are
// sent to: if they hold the layer already, it is likely to be this blob, and recompressing twice costs less than sending.
func (j *job) foretell(ctx context.Context, s *step) (bool, error) {
	blob, err := recompress(ctx, sourceOf(j.src, s.from), weigher{j.dst}, *s, j.o, &spending{})
	if err != nil {
		return false, err
	}
	has, err := j.dst.Has(ctx, buildcache.Descriptor{Digest: blob.Digest, Size: blob.Size})
	if err != nil {
		return false, err
	}
	if has {
		s.action, s.to = Reuse, &blob
		j.o.made.add(j.o.recipe(s.from), blob)
		return true, nil
	}
	j.o.OnEvent.Send(layout.Event{Kind: layout.EventPlan, Verb: "convert", Count: 1, Total: s.from.Size}) // it is recompressed again
	return false, nil
}

// weigher is a sink that doesn't store what it ingests.
type weigher struct{ layout.Sink }

// Ingest returns digest and size of what is written.
func (weigher) Ingest(_ context.Context, write func(io.Writer) error) (buildcache.Descriptor, error) {
	w := &weight{hash: digest.SHA256.Digester()}
	err := write(io.MultiWriter(w.hash.Hash(), w))
	return buildcache.Descriptor{Digest: w.hash.Digest(), Size: w.size}, err
}

type weight struct {
	hash digest.Digester
	size int64
}

func (w *weight) Write(p []byte) (int, error) {
	w.size += int64(len(p))
	return len(p), nil
}
