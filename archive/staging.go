package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// staging shows the blobs of a source and those of a spool as one place.
type staging struct {
	src   layout.Source
	spool *layout.Dir

	mu      sync.Mutex
	entries []layout.Entry
	made    map[layout.Recipe]buildcache.Blob
}

// stagingAt is staging over a source with random access.
type stagingAt struct{ *staging }

// newStaging returns a place that has the blobs of src and of spool, and writes only to spool: what src has is not copied,
// right or wrong, since Pack verifies it. Its entries are those that were tagged in it, and they live as long as it does.
// It remembers the recompressions that src remembers, and has random access if src has.
func newStaging(src layout.Source, spool *layout.Dir) layout.Place {
	s := &staging{src: src, spool: spool, made: map[layout.Recipe]buildcache.Blob{}}
	if _, ok := src.(layout.RandomAccess); ok {
		return stagingAt{s}
	}
	return s
}

// String returns the name of the source: whatever is wrong comes from there.
func (s *staging) String() string { return s.src.String() }

// Entries returns what was tagged here, in the order of tagging.
func (s *staging) Entries(ctx context.Context) ([]layout.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.entries), context.Cause(ctx)
}

// Open returns a blob's bytes, unverified.
func (s *staging) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	raw, err := s.spool.Open(ctx, blob)
	if errors.Is(err, layout.ErrBlobMissing) {
		return s.src.Open(ctx, blob)
	}
	return raw, err
}

// OpenAt returns a blob for random access, unverified.
func (s stagingAt) OpenAt(ctx context.Context, blob buildcache.Descriptor) (*layout.Section, error) {
	section, err := s.spool.OpenAt(ctx, blob)
	if src, ok := s.src.(layout.RandomAccess); ok && errors.Is(err, layout.ErrBlobMissing) {
		return src.OpenAt(ctx, blob)
	}
	return section, err
}

// Has reports whether a blob is there with its size.
func (s *staging) Has(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	if has, err := s.spool.Has(ctx, blob); err != nil || has {
		return has, err
	}
	return s.src.Has(ctx, blob)
}

// Put stores a blob that the source does not have.
func (s *staging) Put(ctx context.Context, blob buildcache.Descriptor, open layout.OpenFunc) error {
	if has, err := s.src.Has(ctx, blob); err != nil || has {
		return err
	}
	return s.spool.Put(ctx, blob, open)
}

// Ingest stores what write writes.
func (s *staging) Ingest(ctx context.Context, write func(io.Writer) error) (buildcache.Descriptor, error) {
	return s.spool.Ingest(ctx, write)
}

// Tag adds an entry, or changes the one that was there.
func (s *staging) Tag(ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if tag == "" && was == "" { // a root without a tag in the source has none in the archive either
		s.entries = append(s.entries, layout.Entry{Descriptor: root})
		return nil
	}
	entries, err := layout.Retag(s.String(), s.entries, tag, root, was)
	if err == nil {
		s.entries = entries
	}
	return err
}

// Recall returns what is known of recompressions.
func (s *staging) Recall(ctx context.Context) (map[layout.Recipe]buildcache.Blob, error) {
	known := map[layout.Recipe]buildcache.Blob{}
	if journal, ok := s.src.(layout.Journal); ok {
		recalled, err := journal.Recall(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: read journal: %w", s, err)
		}
		maps.Copy(known, recalled)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(known, s.made)
	return known, nil
}

// Remember notes an outcome, for as long as the spool is there.
func (s *staging) Remember(_ context.Context, recipe layout.Recipe, outcome buildcache.Blob) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made[recipe] = outcome
	return nil
}
