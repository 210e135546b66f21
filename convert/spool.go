package convert

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// spooled is a source with one of its blobs in a temporary file: estargz can't be taken apart without reading its end
// first.
type spooled struct {
	layout.Source
	section *layout.Section
}

// spool copies a blob, verified, to a temporary file.
func spool(ctx context.Context, src layout.Source, blob buildcache.Descriptor) (s *spooled, err error) {
	raw, err := layout.OpenVerified(ctx, src, blob)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	section, err := layout.Spool(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("spool layer: %w", err)
	}
	return &spooled{src, section}, nil
}

// Open returns the blob's bytes.
func (s *spooled) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	return s.OpenAt(ctx, blob)
}

// OpenAt returns the blob for reading at any offset. Closing it leaves the file for the next reader.
func (s *spooled) OpenAt(context.Context, buildcache.Descriptor) (*layout.Section, error) {
	return &layout.Section{
		SectionReader: io.NewSectionReader(s.section, 0, s.section.Size()), Closer: io.NopCloser(nil),
	}, nil
}
