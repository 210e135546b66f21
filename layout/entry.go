package layout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ocicache/ocicache/buildcache"
)

// Kind says what the root of an entry is.
type Kind int

// The kinds of entries.
const (
	KindUnknown  Kind = iota // nobody has looked yet
	KindCache                // a cache of its own
	KindImage                // an image, or an artifact of somebody else
	KindIndex                // an index of images
	KindDangling             // the root is not there
	KindInvalid              // the root can't be read as any manifest
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
	return fmt.Errorf("%q is no kind of an entry", text)
}

// IsImage reports whether the root is whole, but no cache: an image, an index of images, or an artifact.
func (k Kind) IsImage() bool { return k == KindImage || k == KindIndex }

// Entry is a root as a place lists it.
type Entry struct {
	Tag        string // "" where none names it
	Descriptor buildcache.Descriptor
	Kind       Kind  // KindUnknown as Entries returns it
	Err        error // why the root can't be read, for KindDangling and KindInvalid
	// Layers and LayerBytes are how many distinct layers a root of KindCache names, and how large it says they are together.
	Layers     int
	LayerBytes int64
}

// Survey lists the entries of a place and says what each of them is. Roots are not verified.
func Survey(ctx context.Context, src Source) ([]Entry, error) {
	entries, err := src.Entries(ctx)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		if entries[i], err = Classify(ctx, src, entries[i]); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// Classify looks at the root of an entry, unless somebody has already, and says what it is. It fails only where the place
// can't be read.
func Classify(ctx context.Context, src Source, entry Entry) (Entry, error) {
	if entry.Kind != KindUnknown {
		return entry, nil
	}
	raw, err := ReadUnverified(ctx, src, entry.Descriptor, buildcache.MaxRoot)
	var size *buildcache.SizeError
	var blob *BlobError
	switch {
	case err == nil:
		entry.look(raw)
	case errors.Is(err, ErrBlobMissing):
		entry.Kind, entry.Err = KindDangling, err
	case errors.As(err, &size) && !buildcache.IsManifestType(entry.Descriptor.MediaType):
		entry.Kind = KindImage // nothing this large is a manifest
	case ctx.Err() == nil && (errors.As(err, &blob) || errors.As(err, &size)):
		entry.Kind, entry.Err = KindInvalid, err
	default:
		return entry, err
	}
	return entry, nil
}

// look says what the bytes of the root are.
func (e *Entry) look(raw []byte) {
	root, err := buildcache.ParseRoot(raw)
	if err != nil {
		e.Kind, e.Err = kindOfOther(raw, err)
		return
	}
	e.Kind = KindCache
	for _, layer := range root.LayersByDigest() {
		e.Layers++
		e.LayerBytes += layer.Size
	}
}

// kindOfOther says what a root is that can't be read as a cache's, for the reason err.
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
