package layout

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// Entry is a root and the tag that names it. The tag is "" where none does.
type Entry struct {
	Tag  string
	Root buildcache.Descriptor
}

// Source is a place that caches are read from.
type Source interface {
	// Entries lists what is tagged, caches and others, in the place's own order.
	Entries(ctx context.Context) ([]Entry, error)
	// Open returns the bytes that the place has for a blob, unverified. It fails with a *BlobError around
	// ErrBlobMissing where there are none.
	Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error)
}

// RandomAccess is a Source that can read any part of a blob.
type RandomAccess interface {
	// OpenAt returns what the place has for the blob, unverified. It fails as Open does.
	OpenAt(ctx context.Context, blob buildcache.Descriptor) (*Section, error)
}

// Section is a blob that can be read anywhere. Its Size is the one in the place, in bytes.
type Section struct {
	*io.SectionReader
	io.Closer
}

// OpenFunc returns a blob's bytes, the same each time, so that whoever takes it may try again.
type OpenFunc func() (io.ReadCloser, error)

// Sink is a place that caches are written to. Nothing is visible in it before it is whole, and the tag comes last.
type Sink interface {
	// Has says whether the blob is there, with its size.
	Has(ctx context.Context, blob buildcache.Descriptor) (bool, error)
	// Put stores a blob whose digest and size are known. It fails with a *BlobError, and stores nothing, where
	// the bytes are others.
	Put(ctx context.Context, blob buildcache.Descriptor, open OpenFunc) error
	// Ingest stores a blob whose digest is known only at its end. It returns digest and size.
	Ingest(ctx context.Context, write func(io.Writer) error) (buildcache.Descriptor, error)
	// Tag points tag to root, if it still points to the digest was ("" for a tag that was not there), else it
	// fails with a *TagMovedError. With tag "" it replaces the untagged entry of the digest was.
	Tag(ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error
}

// Locker is a Sink that others write to as well, and delete from. What is written between Lock and the unlocking is
// safe from them.
type Locker interface {
	Lock(ctx context.Context) (unlock func() error, err error)
}

// Place is both.
type Place interface {
	Source
	Sink
}
