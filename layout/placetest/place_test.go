package placetest_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/layout/placetest"
)

// shelf is a place of somebody else's: a map, and what a place must have. Nothing else is needed.
type shelf struct {
	mu      sync.Mutex
	blobs   map[digest.Digest][]byte
	entries []layout.Entry
}

func newShelf() *shelf { return &shelf{blobs: map[digest.Digest][]byte{}} }

func (s *shelf) String() string { return "shelf" }

func (s *shelf) Entries(ctx context.Context) ([]layout.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.entries), context.Cause(ctx)
}

func (s *shelf) get(blob digest.Digest) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.blobs[blob]
	return data, ok
}

func (s *shelf) keep(data []byte) buildcache.Descriptor {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := digest.FromBytes(data)
	s.blobs[d] = data
	return buildcache.Descriptor{Digest: d, Size: int64(len(data))}
}

func (s *shelf) Has(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	data, ok := s.get(blob.Digest)
	return ok && int64(len(data)) == blob.Size, context.Cause(ctx)
}

func (s *shelf) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	data, ok := s.get(blob.Digest)
	if !ok {
		return nil, &layout.BlobError{Digest: blob.Digest, Place: s.String(), Err: layout.ErrBlobMissing}
	}
	return layout.OpenBytes(data)()
}

func (s *shelf) Put(ctx context.Context, blob buildcache.Descriptor, open layout.OpenFunc) error {
	if err := buildcache.CheckDigest(blob.Digest); err != nil {
		return &layout.BlobError{Digest: blob.Digest, Place: s.String(), Err: err}
	}
	if has, err := s.Has(ctx, blob); err != nil || has {
		return err
	}
	raw, err := open()
	if err != nil {
		return err
	}
	verified := layout.NewVerifiedReader(ctx, "", blob, raw)
	defer func() { _ = verified.Close() }() // it was read to its end, or failed before
	data, err := io.ReadAll(verified)
	if err != nil {
		return err
	}
	s.keep(data)
	return nil
}

func (s *shelf) Ingest(ctx context.Context, write func(io.Writer) error) (buildcache.Descriptor, error) {
	var data bytes.Buffer
	if err := write(&data); err != nil {
		return buildcache.Descriptor{}, err
	}
	if err := context.Cause(ctx); err != nil {
		return buildcache.Descriptor{}, err
	}
	return s.keep(data.Bytes()), nil
}

func (s *shelf) Tag(ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	entries, err := layout.Retag(s.String(), s.entries, tag, root, was)
	if err == nil {
		s.entries = entries
	}
	return err
}

// shelves are what a program says of a place of its own.
func shelves(place func() layout.Place) placetest.Subject {
	return placetest.Subject{
		New: func(*testing.T) layout.Place { return place() },
		Lacks: []placetest.Ability{
			placetest.Untagged, placetest.SharedTags, placetest.Damaging,
			placetest.RandomAccess, placetest.Resolving, placetest.Locking, placetest.UnnamedRoots,
		},
	}
}

func TestPlaceByHand(t *testing.T) {
	t.Parallel()
	placetest.Run(t, shelves(func() layout.Place { return newShelf() }))
}
