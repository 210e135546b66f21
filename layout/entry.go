package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// Kind says what the root of an entry is.
type Kind int

// The kinds of entries.
const (
	KindUnknown  Kind = iota // not classified yet
	KindCache                // a cache of its own
	KindImage                // an image, or another program's artifact
	KindIndex                // an index of images
	KindDangling             // the root is missing
	KindInvalid              // the root can't be read as a manifest of any kind
)

// String returns the word for the kind.
func (k Kind) String() string {
	switch k {
	case KindCache:
		return "cache"
	case KindImage:
		return "image"
	case KindIndex:
		return "image index"
	case KindDangling:
		return "dangling"
	case KindInvalid:
		return "invalid"
	default:
		return "unknown"
	}
}

// MarshalText writes the word, for JSON.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a word that MarshalText wrote.
func (k *Kind) UnmarshalText(text []byte) error {
	for kind := KindUnknown; kind <= KindInvalid; kind++ {
		if kind.String() == string(text) {
			*k = kind
			return nil
		}
	}
	return fmt.Errorf("unknown kind of entry %q", text)
}

// IsImage reports whether the root is readable, but not a cache: an image, an index of images, or an artifact.
func (k Kind) IsImage() bool { return k == KindImage || k == KindIndex }

// Entry is a root as a place lists it.
type Entry struct {
	Tag        string // "" if untagged
	Descriptor buildcache.Descriptor
	Kind       Kind  // KindUnknown as returned by Entries, unless the place reads roots to list them
	Err        error // why the root can't be read, for KindDangling and KindInvalid
	// Layers and LayerBytes are the number of distinct layers that a root of KindCache names, and their total size as it states it.
	Layers     int
	LayerBytes int64

	other bool // a root of KindInvalid shows that it isn't a cache's
}

// IsForeign reports whether an entry is something other than a cache. For a root that is missing or unreadable, it reports whether what
// is left of it points to something else: the root's bytes, or a media type, platform or image name in the entry. It is meant for
// replacing or deleting tags. The entry must have been classified.
func (e Entry) IsForeign() bool {
	switch e.Kind {
	case KindImage, KindIndex:
		return true
	case KindDangling, KindInvalid:
		return e.other || isForeignRoot(e.Descriptor)
	default:
		return false
	}
}

// isForeignRoot reports whether a descriptor has what those of caches never have.
func isForeignRoot(d buildcache.Descriptor) bool {
	isForeign := func(m buildcache.Member) bool {
		return (m.Name == "platform" || m.Name == "artifactType") && string(m.Value) != "null"
	}
	return d.MediaType != "" && !buildcache.IsManifestType(d.MediaType) || slices.ContainsFunc(d.Extra, isForeign) || d.NamesImage()
}

// IsUnread reports whether the place could not even tell what an entry names, as a Lenient place lists it. It may be anything.
func (e Entry) IsUnread() bool {
	var blob *BlobError // a BlobError is about an entry that does tell
	return e.Kind == KindInvalid && e.Descriptor.Digest == "" && !errors.As(e.Err, &blob)
}

// Survey lists the entries of a place and says what each one is. Roots are not verified.
func Survey(ctx context.Context, src Source) ([]Entry, error) {
	entries, err := src.Entries(ctx)
	if err != nil {
		return nil, err
	}
	return classifyAll(ctx, src, entries)
}

// LenientSurvey is Survey for callers that carry on without what can't be read: see LenientEntries.
func LenientSurvey(ctx context.Context, src Source) ([]Entry, error) {
	entries, err := LenientEntries(ctx, src)
	if err != nil {
		return nil, err
	}
	return classifyAll(ctx, src, entries)
}

// LenientEntries lists the entries of a place, including those that it can't read (Entry.IsUnread) if it is Lenient.
func LenientEntries(ctx context.Context, src Source) ([]Entry, error) {
	if lenient, ok := src.(Lenient); ok {
		return lenient.LenientEntries(ctx)
	}
	return src.Entries(ctx)
}

func classifyAll(ctx context.Context, src Source, entries []Entry) (_ []Entry, err error) {
	known := map[digest.Digest]Entry{} // a root can have thousands of tags
	for i, entry := range entries {
		like, ok := known[entry.Descriptor.Digest]
		if !ok || like.Descriptor.MediaType != entry.Descriptor.MediaType || entry.Descriptor.Digest == "" {
			if like, err = Classify(ctx, src, entry); err != nil {
				return nil, err
			}
			known[entry.Descriptor.Digest] = like
		}
		like.Tag, like.Descriptor = entry.Tag, entry.Descriptor
		entries[i] = like
	}
	return entries, nil
}

// Classify looks at the root of an entry, unless that was done already, and says what it is. It fails only if the place can't be
// read.
func Classify(ctx context.Context, src Source, entry Entry) (Entry, error) {
	if entry.Kind != KindUnknown {
		return entry, nil
	}
	raw, err := ReadUnverified(ctx, src, entry.Descriptor, buildcache.MaxRoot)
	var size *buildcache.SizeError
	var blob *BlobError
	switch {
	case err == nil:
		entry.Look(raw)
		// Damage can make a cache look like something else, and callers that skip images must not skip it.
		if d := entry.Descriptor.Digest; d.Algorithm().Available() && d.Algorithm().FromBytes(raw) != d {
			entry.other = false
			if entry.Kind != KindCache {
				entry.Kind, entry.Err = KindInvalid, &BlobError{Digest: d, Place: src.String(), Err: ErrBlobDamaged}
			}
		}
	case errors.Is(err, fs.ErrPermission): // which is not damage
		return entry, err
	case errors.Is(err, ErrBlobMissing):
		entry.Kind, entry.Err = KindDangling, err
	case errors.As(err, &size) && !buildcache.IsManifestType(entry.Descriptor.MediaType):
		entry.Kind = KindImage // nothing this large is a manifest
	case ctx.Err() == nil && (errors.As(err, &blob) || errors.As(err, &size)):
		entry.Kind, entry.Err = KindInvalid, err
		entry.other = size != nil && isLargeOther(ctx, src, entry.Descriptor)
	default:
		return entry, err
	}
	return entry, nil
}

// CacheIn returns the one cache in an index if nothing else is in it, else nil. BuildKit takes such an index for an image.
func CacheIn(ctx context.Context, src Source, entry Entry) (*Entry, error) {
	raw, err := ReadBlob(ctx, src, entry.Descriptor, buildcache.MaxRoot)
	if err != nil {
		return nil, err
	}
	inside := buildcache.Successors(raw)
	if len(inside) != 1 || !buildcache.IsManifestType(inside[0].MediaType) {
		return nil, nil
	}
	cache, err := Classify(ctx, src, Entry{Descriptor: inside[0]})
	if err != nil || cache.Kind != KindCache {
		return nil, err
	}
	return &cache, nil
}

// Look says what the root is, judging by its bytes. Places that read roots to list them call it, so that nobody reads them again. It
// returns the media type that a cache's root states, "" for other roots.
func (e *Entry) Look(raw []byte) (mediaType string) {
	root, err := buildcache.ParseRoot(raw)
	if err != nil {
		e.Kind, e.Err = kindOfOther(raw, err)
		e.other = e.Kind == KindInvalid && saysOther(raw)
		return ""
	}
	e.Kind = KindCache
	for _, layer := range root.LayersByDigest() {
		e.Layers++
		e.LayerBytes += layer.Size
	}
	return root.MediaType
}

// kindOfOther says what a root is that can't be parsed as a cache's because of err.
func kindOfOther(raw []byte, err error) (Kind, error) {
	if !errors.Is(err, buildcache.ErrNotCache) {
		return KindInvalid, err
	}
	var list struct {
		Manifests json.RawMessage `json:"manifests"`
	}
	if json.Unmarshal(raw, &list) == nil && list.Manifests != nil {
		return KindIndex, nil
	}
	return KindImage, nil
}

// saysOther reports whether a root of KindInvalid is a JSON object that doesn't mention a cache config.
func saysOther(raw []byte) bool {
	return startsObject(raw) && json.Valid(raw) && !bytes.Contains(raw, []byte(buildcache.MediaTypeConfig))
}

// isLargeOther reports whether a root over the size limit shows that it isn't a cache's, or is too large to be read at all.
func isLargeOther(ctx context.Context, src Source, root buildcache.Descriptor) bool {
	raw, err := ReadUnverified(ctx, src, root, buildcache.MaxConfig)
	return err != nil || saysOther(raw)
}
