package layouttest

import (
	"context"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// Counted is a place that counts how often each blob is opened.
type Counted struct {
	layout.Source
	Opens map[digest.Digest]int // to be read once nobody opens blobs any more

	mu sync.Mutex
}

// Count returns a place that counts how often each blob of src is opened.
func Count(src layout.Source) *Counted {
	return &Counted{Source: src, Opens: map[digest.Digest]int{}}
}

// Open returns what the place has.
func (c *Counted) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	c.mu.Lock()
	c.Opens[blob.Digest]++
	c.mu.Unlock()
	return c.Source.Open(ctx, blob)
}
