package layout

import (
	"context"
	"fmt"
	"io"
	"reflect"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// Source is a place that caches are read from. It is safe for concurrent use. Once a context is done, methods that take it
// fail with the context's cause. Package placetest tests what is promised here.
type Source interface {
	// String names the place in messages: a path, or a reference.
	fmt.Stringer
	// Entries lists what is tagged, caches and others, in the place's own order. It does not look at what the roots are;
	// Survey does. Sizes are those of the roots that are there, where the place knows them.
	Entries(ctx context.Context) ([]Entry, error)
	// Has reports whether the blob is there with its size. Its bytes are not looked at. A manifest needs its media
	// type, as registries keep manifests apart.
	Has(ctx context.Context, blob buildcache.Descriptor) (bool, error)
	// Open returns the bytes that the place has for a blob, unverified. It fails with a *BlobError around
	// ErrBlobMissing where there are none. A manifest needs its media type.
	Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error)
}

// OpenFunc returns a blob's bytes, the same each time, so that whoever takes it may try again.
type OpenFunc func() (io.ReadCloser, error)

// Sink is a place that caches are written to. Nothing is visible in it before it is whole, and the tag comes last.
// It is safe for concurrent use, and once a context is done it fails with the context's cause, with nothing stored.
type Sink interface {
	// Put stores a blob whose digest and size are known. Where the bytes differ it stores nothing, and fails with a
	// *BlobError whose place is ""; see BlameSource. For a blob that is there already, open is not called.
	Put(ctx context.Context, blob buildcache.Descriptor, open OpenFunc) error
	// Ingest stores a blob whose digest is known only at its end, and returns digest and size. write may be called
	// again after a transfer broke off.
	Ingest(ctx context.Context, write func(io.Writer) error) (buildcache.Descriptor, error)
	// Tag points tag to root, if it still points to the digest was ("" for a tag that was not there), else it
	// fails with a *TagMovedError. With tag "" it replaces the untagged entry of the digest was.
	Tag(ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error
}

// Place is a Source and a Sink.
type Place interface {
	Source
	Sink
}

// The interfaces below are powers that only some places have. Whoever can use one asks for it by a type assertion.

// RandomAccess is a Source that can read any part of a blob.
type RandomAccess interface {
	// OpenAt returns what the place has for the blob, unverified. It fails as Open does.
	OpenAt(ctx context.Context, blob buildcache.Descriptor) (*Section, error)
}

// Section is a blob that can be read at any offset. Its Size is the one in the place, in bytes.
type Section struct {
	*io.SectionReader
	io.Closer
}

// Resolver is a Source that looks up one tag without listing them all, or by other rules than taking the first entry
// with the tag.
type Resolver interface {
	// Resolve returns the entry of a tag, or nil where there is none.
	Resolve(ctx context.Context, tag string) (*Entry, error)
}

// Locker is a Sink that others write to and delete from as well. What is written between Lock and unlock is safe from
// them.
type Locker interface {
	Lock(ctx context.Context) (unlock func() error, err error)
}

// Unnamer is a Source that can tell which roots of caches lie in it without an entry.
type Unnamer interface {
	UnnamedRoots(ctx context.Context) ([]digest.Digest, error)
}

// Same reports whether a and b are one and the same opened place.
func Same(a, b Source) bool {
	if a == nil || b == nil {
		return false
	}
	v, w := reflect.ValueOf(a), reflect.ValueOf(b)
	return v.Type() == w.Type() && v.Comparable() && w.Comparable() && a == b
}
