package layout

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// Kind says what an entry turned out to be.
type Kind int

// The kinds of entries.
const (
	KindCache    Kind = iota
	KindOther         // an image, an index of images, an artifact of somebody else
	KindDangling      // its root is not there
	KindInvalid       // its root can't be read as any manifest
)

// Found is an entry and what it is.
type Found struct {
	Entry
	Kind Kind
	Err  error // why the root can't be read, for KindDangling and KindInvalid
}

// Survey looks at every entry of a place. Roots are not verified.
func Survey(ctx context.Context, src Source) ([]Found, error) {
	entries, err := src.Entries(ctx)
	if err != nil {
		return nil, err
	}
	found := make([]Found, len(entries))
	for i, entry := range entries {
		if found[i], err = classify(ctx, src, entry); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// classify looks at one entry.
func classify(ctx context.Context, src Source, entry Entry) (Found, error) {
	found := Found{Entry: entry}
	raw, err := ReadUnverified(ctx, src, entry.Root, buildcache.MaxRoot)
	if err == nil {
		_, err = buildcache.ParseRoot(raw)
	}
	var size *buildcache.SizeError
	var blob *BlobError
	switch {
	case err == nil:
	case errors.Is(err, ErrBlobMissing):
		found.Kind, found.Err = KindDangling, err
	case errors.Is(err, buildcache.ErrNotCache):
		found.Kind = KindOther
	case errors.As(err, &size) && !buildcache.IsManifestType(entry.Root.MediaType):
		found.Kind = KindOther
	case ctx.Err() != nil, raw == nil && !errors.As(err, &blob) && !errors.As(err, &size):
		return found, err // the place can't be read, whatever the entry is
	default:
		found.Kind, found.Err = KindInvalid, err
	}
	return found, nil
}

// Resolver is a Source that can look up one tag without listing them all.
type Resolver interface {
	// Resolve returns the entry of a tag, or nil where there is none.
	Resolve(ctx context.Context, tag string) (*Entry, error)
}

// Find returns what has a tag in a place, or nil.
func Find(ctx context.Context, src Source, tag string) (*Found, error) {
	if r, ok := src.(Resolver); ok {
		entry, err := r.Resolve(ctx, tag)
		if err != nil || entry == nil {
			return nil, err
		}
		found, err := classify(ctx, src, *entry)
		return &found, err
	}
	found, err := Survey(ctx, src)
	if err != nil {
		return nil, err
	}
	if at := Pick(found, tag); at >= 0 {
		return &found[at], nil
	}
	return nil, nil
}

// unnamer is a Source that can tell which roots of caches lie in it without a name.
type unnamer interface {
	UnnamedRoots(ctx context.Context) ([]digest.Digest, error)
}

// All returns every cache of a place. It fails with a *NotFoundError where there is none, and with a *DanglingError
// where a tag names nothing.
func All(ctx context.Context, src Source) ([]Entry, error) {
	found, err := Survey(ctx, src)
	if err != nil {
		return nil, err
	}
	var caches []Entry
	for _, f := range found {
		switch f.Kind {
		case KindCache:
			caches = append(caches, f.Entry)
		case KindDangling:
			return nil, dangling(ctx, src, f)
		case KindInvalid:
			return nil, invalid(src, f)
		case KindOther:
		}
	}
	if len(caches) == 0 {
		return nil, notFound(ctx, src, found, "")
	}
	return caches, nil
}

// One returns the cache with the tag. With tag "" it is the one that BuildKit takes by default, latest, else the only
// one there. It fails with a *NotFoundError, an *AmbiguousError or a *DanglingError.
func One(ctx context.Context, src Source, tag string) (Entry, error) {
	if _, ok := src.(Resolver); ok && tag == "" { // without listing everything, if latest is there
		found, err := Find(ctx, src, "latest")
		if err != nil {
			return Entry{}, err
		}
		if found != nil && found.Kind == KindCache {
			return found.Entry, nil
		}
	}
	found, err := Survey(ctx, src)
	if err != nil {
		return Entry{}, err
	}
	at, err := choose(src, found, tag)
	if err != nil {
		return Entry{}, err
	}
	if at < 0 {
		return Entry{}, notFound(ctx, src, found, tag)
	}
	switch f := found[at]; f.Kind {
	case KindCache:
		return f.Entry, nil
	case KindDangling:
		return Entry{}, dangling(ctx, src, f)
	case KindInvalid:
		return Entry{}, invalid(src, f)
	default:
		return Entry{}, notFound(ctx, src, found, tag)
	}
}

// choose returns the place of the entry that One takes, or -1.
func choose(src Source, found []Found, tag string) (int, error) {
	if tag != "" {
		return Pick(found, tag), nil
	}
	if at := Pick(found, "latest"); at >= 0 {
		return at, nil
	}
	if caches := tagsOf(found); len(caches) > 1 {
		return -1, &AmbiguousError{Place: placeName(src), Tags: caches}
	}
	return only(found), nil
}

// Pick returns the place of the entry that BuildKit takes for a tag, or -1.
func Pick(found []Found, tag string) int {
	if tag == "" {
		return -1
	}
	index := buildcache.Index{Entries: make([]buildcache.Descriptor, len(found))}
	for i, f := range found {
		index.Entries[i] = f.Root
	}
	return index.Find(tag)
}

// only returns the place of the single entry that is no image, or -1.
func only(found []Found) int {
	at := -1
	for i, f := range found {
		if f.Kind == KindOther {
			continue
		}
		if at >= 0 {
			return -1
		}
		at = i
	}
	return at
}

// tagsOf lists the caches for a message: by tag, or by digest where they have none.
func tagsOf(found []Found) []string {
	var tags []string
	for _, f := range found {
		switch {
		case f.Kind != KindCache:
		case f.Tag == "":
			tags = append(tags, "untagged "+f.Root.Digest.String())
		default:
			tags = append(tags, f.Tag)
		}
	}
	return tags
}

func notFound(ctx context.Context, src Source, found []Found, tag string) error {
	e := &NotFoundError{Place: placeName(src), Tag: tag, Tags: tagsOf(found)}
	for _, f := range found {
		if f.Kind == KindOther {
			e.Images = true
			e.Inline = e.Inline || hasInlineCache(ctx, src, f.Root)
		}
	}
	if u, ok := src.(unnamer); ok && len(e.Tags) == 0 {
		unnamed, err := u.UnnamedRoots(ctx)
		if err != nil {
			return errors.Join(e, err)
		}
		e.Unnamed = unnamed
	}
	return e
}

func dangling(ctx context.Context, src Source, f Found) error {
	e := &DanglingError{Place: placeName(src), Tag: f.Tag, Root: f.Root.Digest, Err: f.Err}
	if u, ok := src.(unnamer); ok {
		unnamed, err := u.UnnamedRoots(ctx)
		if err != nil {
			return errors.Join(e, err)
		}
		e.Unnamed = unnamed
	}
	return e
}

func invalid(src Source, f Found) error {
	return fmt.Errorf("%s: root %s of tag %q: %w", placeName(src), f.Root.Digest, f.Tag, f.Err)
}

// Cache is a root with its config, read and verified.
type Cache struct {
	Entry
	Manifest  *buildcache.Root
	Config    *buildcache.Config
	RawRoot   []byte
	RawConfig []byte
}

// Load reads the root and the config of a cache, and verifies both.
func Load(ctx context.Context, src Source, entry Entry) (*Cache, error) {
	cache := &Cache{Entry: entry}
	var err error
	if cache.RawRoot, err = ReadBlob(ctx, src, entry.Root, buildcache.MaxRoot); err != nil {
		return nil, fmt.Errorf("read root: %w", err)
	}
	if cache.Manifest, err = buildcache.ParseRoot(cache.RawRoot); err != nil {
		return nil, fmt.Errorf("root %s: %w", entry.Root.Digest, err)
	}
	config := cache.Manifest.Config
	if cache.RawConfig, err = ReadBlob(ctx, src, config, buildcache.MaxConfig); err != nil {
		return nil, fmt.Errorf("read cache config: %w", err)
	}
	if cache.Config, err = buildcache.ParseConfig(cache.RawConfig); err != nil {
		return nil, fmt.Errorf("cache config %s: %w", config.Digest, err)
	}
	return cache, nil
}
