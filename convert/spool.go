package convert

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// spooled is one blob in a temporary file: estargz can only be unpacked by one who sees its end first.
type spooled struct{ path string }

// spool reads a blob, verified, into a temporary file.
func spool(ctx context.Context, src layout.Source, blob buildcache.Descriptor) (s *spooled, err error) {
	raw, err := layout.OpenVerified(ctx, src, blob)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	file, err := os.CreateTemp("", "ocicache-")
	if err != nil {
		return nil, fmt.Errorf("spool layer: %w", err)
	}
	s = &spooled{path: file.Name()}
	if _, err := io.Copy(file, raw); err != nil {
		return nil, errors.Join(fmt.Errorf("spool layer: %w", err), file.Close(), s.remove())
	}
	if err := file.Close(); err != nil {
		return nil, errors.Join(fmt.Errorf("spool layer: %w", err), s.remove())
	}
	return s, nil
}

func (s *spooled) remove() error { return os.Remove(s.path) }

// String names the place in errors.
func (s *spooled) String() string { return s.path }

// Entries is there to make a Source of it; there are none.
func (s *spooled) Entries(context.Context) ([]layout.Entry, error) { return nil, nil }

// Open returns the blob's bytes.
func (s *spooled) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	return s.OpenAt(ctx, blob)
}

// OpenAt returns the blob for reading it anywhere.
func (s *spooled) OpenAt(context.Context, buildcache.Descriptor) (*layout.Section, error) {
	file, err := os.Open(s.path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &layout.Section{SectionReader: io.NewSectionReader(file, 0, info.Size()), Closer: file}, nil
}
