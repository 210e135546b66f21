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

// Store is a Source that can be asked for a blob without opening it.
type Store interface {
	layout.Source
	// Has says whether the blob is there, with its size.
	Has(ctx context.Context, blob buildcache.Descriptor) (bool, error)
}

// staging shows the blobs of a source and those of a spool as one place.
type staging struct {
	src   Store
	spool *layout.Dir

	mu      sync.Mutex
	entries []layout.Entry
	made    map[layout.Recipe]buildcache.Blob
}

// stagingAt is staging over a source that can be read anywhere.
type stagingAt struct{ *staging }

// NewStaging returns a place whose blobs are those of src and of spool, and that writes to spool alone: what src has
// is not copied, be it right or not, for Pack verifies it. Its entries are those that were tagged in it, and they live as
// long as it does. It remembers what src remembers of recompressions. Where src can be read anywhere, so can it.
func NewStaging(src Store, spool *layout.Dir) layout.Place {
	s := &staging{src: src, spool: spool, made: map[layout.Recipe]buildcache.Blob{}}
	if _, ok := src.(layout.RandomAccess); ok {
		return stagingAt{s}
	}
	return s
}

// String returns the name of the source, for that is where what is wrong is from.
func (s *staging) String() string { return sourceName(s.src) }

// Entries returns what was tagged here, in that order.
func (s *staging) Entries(context.Context) ([]layout.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.entries), nil
}

// Open returns a blob's bytes, unverified.
func (s *staging) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	raw, err := s.spool.Open(ctx, blob)
	if errors.Is(err, layout.ErrBlobMissing) {
		return s.src.Open(ctx, blob)
	}
	return raw, err
}

// OpenAt returns a blob for reading it anywhere, unverified.
func (s stagingAt) OpenAt(ctx context.Context, blob buildcache.Descriptor) (*layout.Section, error) {
	section, err := s.spool.OpenAt(ctx, blob)
	if src, ok := s.src.(layout.RandomAccess); ok && errors.Is(err, layout.ErrBlobMissing) {
		return src.OpenAt(ctx, blob)
	}
	return section, err
}

// Has says whether a blob is there with its size.
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

// Tag adds an entry, or changes the one that was.
func (s *staging) Tag(_ context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.entries, func(e layout.Entry) bool {
		return e.Tag == tag && (tag != "" || e.Root.Digest == was)
	})
	entry, now := layout.Entry{Tag: tag, Root: root}, digest.Digest("")
	if at >= 0 {
		now = s.entries[at].Root.Digest
	}
	switch {
	case now != was:
		return &layout.TagMovedError{Place: s.String(), Tag: tag, Was: was, Now: now}
	case at >= 0:
		s.entries[at] = entry
	default:
		s.entries = append(s.entries, entry)
	}
	return nil
}

// Recall returns what is known of recompressions.
func (s *staging) Recall(ctx context.Context) (map[layout.Recipe]buildcache.Blob, error) {
	known := map[layout.Recipe]buildcache.Blob{}
	if memory, ok := s.src.(layout.Memory); ok {
		recalled, err := memory.Recall(ctx)
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

// Remember notes an outcome. It is of use for as long as the spool is there.
func (s *staging) Remember(_ context.Context, recipe layout.Recipe, outcome buildcache.Blob) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made[recipe] = outcome
	return nil
}
