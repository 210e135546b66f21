package layout

import (
	"context"
	"fmt"
	"io"
	"reflect"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// Source is a place to read caches from. It is safe for concurrent use. Methods fail with the context's cause once their context
// is done. Package placetest tests what is promised here.
type Source interface {
	// String names the place in messages: a path, or a reference.
	fmt.Stringer
	// Entries lists what is tagged, caches and others, in the place's own order. Of entries that share a tag, the one that
	// the tag resolves to comes first. It doesn't look at the roots; Survey does. Sizes are those of the existing roots, if the place
	// knows them.
	Entries(ctx context.Context) ([]Entry, error)
	// Has reports whether the blob is there with its size. It doesn't look at the bytes. A manifest needs its media
	// type, since registries keep manifests separately.
	Has(ctx context.Context, blob buildcache.Descriptor) (bool, error)
	// Open returns the bytes that the place has for a blob, unverified. It fails with a *BlobError that wraps
	// ErrBlobMissing if there are none. A manifest needs its media type.
	Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error)
}

// OpenFunc returns a blob's bytes, the same each time, so that the caller may try again.
type OpenFunc func() (io.ReadCloser, error)

// Sink is a place to write caches to. Nothing in it is visible before it is whole, and the tag comes last.
// It is safe for concurrent use. Once a context is done, it fails with the context's cause and stores nothing.
type Sink interface {
	// Put stores a blob whose digest and size are known. If the bytes don't match, it stores nothing and fails with a
	// *BlobError whose place is ""; see BlameSource. If the blob is there already, open is not called, except perhaps for a
	// manifest.
	Put(ctx context.Context, blob buildcache.Descriptor, open OpenFunc) error
	// Ingest stores a blob whose digest is known only at its end, and returns digest and size. write may be called
	// again after a broken transfer.
	Ingest(ctx context.Context, write func(io.Writer) error) (buildcache.Descriptor, error)
	// Tag points tag to root if it still points to the digest was ("" for a tag that didn't exist). Otherwise it
	// fails with a *TagMovedError. If tag is "", it replaces the untagged entry with the digest was.
	Tag(ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error
}

// Place is a Source and a Sink.
type Place interface {
	Source
	Sink
}

// The interfaces below are powers that only some places have. Callers find them by type assertion.

// RandomAccess is a Source that is nearby: any part of a blob can be read, and checking for a blob costs no request, so
// callers check first where they would otherwise leave it to the read.
type RandomAccess interface {
	// OpenAt returns what the place has for the blob, unverified. It fails as Open does.
	OpenAt(ctx context.Context, blob buildcache.Descriptor) (*Section, error)
}

// Section is a blob that can be read at any offset. Its Size is the one in the place, in bytes.
type Section struct {
	*io.SectionReader
	io.Closer
}

// Indexed is a Source whose tags are in an index.json.
type Indexed interface {
	// Index returns what index.json says.
	Index(ctx context.Context) (*buildcache.Index, error)
}

// Lister is a Source that can list its tags without looking at what they name, if that is cheaper than Entries.
type Lister interface {
	// Tags returns the tags, sorted. There are none if the place doesn't exist yet.
	Tags(ctx context.Context) ([]string, error)
}

// Lenient is a Source that may be unable to read one entry's root and still reads those of the others.
type Lenient interface {
	// LenientEntries is Entries, except that what can't be read is an entry of KindInvalid, with its error and without a digest
	// (Entry.IsUnread). It fails if the error concerns the place rather than an entry: if the place is down, or nothing can be read.
	// What is unknown must not be replaced or deleted.
	LenientEntries(ctx context.Context) ([]Entry, error)
	// LenientEntry looks up one tag and treats an unreadable root as LenientEntries does. The entry is classified, or nil
	// if there is no such tag.
	LenientEntry(ctx context.Context, tag string) (*Entry, error)
}

// Resolver is a Source that looks up one tag without listing them all, or by a rule other than taking the first entry
// with the tag.
type Resolver interface {
	// Resolve returns the entry of a tag, or nil if there is none.
	Resolve(ctx context.Context, tag string) (*Entry, error)
}

// Locker is a Sink that others write to and delete from as well. What is written between Lock and unlock is safe from them.
type Locker interface {
	Lock(ctx context.Context) (unlock func() error, err error)
}

// TagChecker is a Sink that can tell, before anything is written, which tags it accepts.
type TagChecker interface {
	// CheckTag fails with an error that wraps ErrReference if text can't be a tag there.
	CheckTag(tag string) error
}

// Teller is a Sink that can tell what it wrote from what it already had.
type Teller interface {
	// Wrote reports whether the bytes of a blob were written since the place was opened.
	Wrote(blob digest.Digest) bool
}

// Rechecker is a Place that may take somebody's word for what it was given, so that Has proves nothing about that.
type Rechecker interface {
	// Recheck looks at what the place really has of a blob, unless it has done so since it was opened. If the size is wrong, it reads the
	// blob, and fails with a *HeldError if that is damaged; with a *BlobError if there is none.
	Recheck(ctx context.Context, blob buildcache.Descriptor) error
}

// Unnamer is a Source that can tell which cache roots it has that no entry names.
type Unnamer interface {
	UnnamedRoots(ctx context.Context) ([]digest.Digest, error)
}

// Presence is a Source that can be opened although nothing is there: a repository, which is contacted only later, or a directory that is
// about to become a layout. It has no entries, like one that is there but empty.
type Presence interface {
	// Missing says what doesn't exist, such as "repository of that name". It returns "" if the place is there.
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
