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
	// Entries lists what is tagged, caches and others, in the place's own order; but of several with one tag, the one that
	// the tag names comes first. It does not look at what the roots are; Survey does. Sizes are those of the roots that are there, where the place knows them.
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
	// *BlobError whose place is ""; see BlameSource. For a blob that is there already, open is not called; for a
	// manifest it may be.
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

// RandomAccess is a Source that lies near: any part of a blob can be read, and looking at one costs no request, so that
// callers look first where they would otherwise leave it to the reading.
type RandomAccess interface {
	// OpenAt returns what the place has for the blob, unverified. It fails as Open does.
	OpenAt(ctx context.Context, blob buildcache.Descriptor) (*Section, error)
}

// Section is a blob that can be read at any offset. Its Size is the one in the place, in bytes.
type Section struct {
	*io.SectionReader
	io.Closer
}

// Lister is a Source that can list its tags without a look at what they name, where that is cheaper than Entries.
type Lister interface {
	// Tags returns the tags, sorted. There are none where there is no such place yet.
	Tags(ctx context.Context) ([]string, error)
}

// Lenient is a Source that may be unable to read the root of one entry, and reads those of the others all the same.
type Lenient interface {
	// LenientEntries is Entries, but what can't be read is of KindInvalid, with its error and without a digest (Entry.IsUnread). It fails
	// where that says more of the place than of an entry: where it is down, and where nothing can be read. What is not known must not be
	// replaced or deleted.
	LenientEntries(ctx context.Context) ([]Entry, error)
	// LenientEntry looks up one tag and treats a root that can't be read as LenientEntries does. The entry is classified, and nil
	// where there is no such tag.
	LenientEntry(ctx context.Context, tag string) (*Entry, error)
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

// TagChecker is a Sink that can tell, before anything is written, which tags it takes.
type TagChecker interface {
	// CheckTag fails with an error around ErrReference for text that can be no tag there.
	CheckTag(tag string) error
}

// Teller is a Sink that tells what it wrote from what it had already.
type Teller interface {
	// Wrote reports whether the bytes of a blob were written since the place was opened.
	Wrote(blob digest.Digest) bool
}

// Unnamer is a Source that can tell which roots of caches lie in it without an entry.
type Unnamer interface {
	UnnamedRoots(ctx context.Context) ([]digest.Digest, error)
}

// Presence is a Source that can be opened where nothing is: a repository, which is only asked for later, or a directory that is
// about to become a layout. Entries of such a place are none, as they are of one that is there and empty.
type Presence interface {
	// Missing says what there is none of, such as "repository of that name", or "" for a place that is there.
	Missing(ctx context.Context) (string, error)
}

// Same reports whether a and b are one and the same opened place.
func Same(a, b Source) bool {
	if a == nil || b == nil {
		return false
	}
	v, w := reflect.ValueOf(a), reflect.ValueOf(b)
	return v.Type() == w.Type() && v.Comparable() && w.Comparable() && a == b
}
