package layout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// DefaultTag is the tag that BuildKit uses when none is given.
const DefaultTag = "latest"

// Find returns the entry with a tag, classified, or nil if there is none. If several have the tag, it is the first one, or
// the one that the place resolves the tag to.
func Find(ctx context.Context, src Source, tag string) (*Entry, error) {
	var entry *Entry
	if r, ok := src.(Resolver); ok {
		var err error
		if entry, err = r.Resolve(ctx, tag); err != nil {
			return nil, err
		}
	} else {
		entries, err := src.Entries(ctx)
		if err != nil {
			return nil, err
		}
		if at := indexOfTag(entries, tag); at >= 0 {
			entry = &entries[at]
		}
	}
	if entry == nil {
		return nil, nil
	}
	found, err := Classify(ctx, src, *entry)
	return &found, err
}

func indexOfTag(entries []Entry, tag string) int {
	if tag == "" {
		return -1
	}
	return slices.IndexFunc(entries, func(e Entry) bool { return e.Tag == tag })
}

// FindDigest returns the root with a digest, whatever its tags, as an entry without a tag. It fails with a
// *NotFoundError if the place doesn't have it, and with a *BlobError if its bytes differ.
func FindDigest(ctx context.Context, src Source, root digest.Digest) (Entry, error) {
	// Any manifest media type makes registries look among the manifests.
	entry := Entry{Descriptor: buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: root}}
	if err := buildcache.CheckDigest(root); err != nil {
		return entry, &BlobError{Digest: root, Place: src.String(), Err: err}
	}
	raw, err := ReadUnverified(ctx, src, entry.Descriptor, buildcache.MaxRoot)
	if errors.Is(err, ErrBlobMissing) {
		return entry, &NotFoundError{Place: src.String(), Digest: root}
	}
	if err != nil {
		return entry, err
	}
	if root.Algorithm().FromBytes(raw) != root {
		return entry, &BlobError{Digest: root, Place: src.String(), Err: ErrBlobDamaged}
	}
	entry.Descriptor.Size = int64(len(raw))
	entry.Look(raw)
	if mediaType, err := buildcache.DetectMediaType(raw); err == nil {
		entry.Descriptor.MediaType = mediaType
	}
	return entry, nil
}

// OneCache returns the cache with the tag. If tag is "", it is BuildKit's default, latest, else the only cache
// there. It fails with a *NotFoundError, an *AmbiguousError or a *DanglingError.
func OneCache(ctx context.Context, src Source, tag string) (Entry, error) {
	entry, entries, err := oneOf(ctx, src, tag, KindCache)
	if err != nil {
		return Entry{}, err
	}
	if entry == nil {
		return Entry{}, notFound(ctx, src, entries, tag)
	}
	return *entry, nil
}

// OneImage returns the image, or the index of images, with the tag. If tag is "", it is the one tagged latest,
// else the only one there. It fails with a *NoImageError, an *AmbiguousError or a *DanglingError.
func OneImage(ctx context.Context, src Source, tag string) (Entry, error) {
	entry, entries, err := oneOf(ctx, src, tag, KindImage)
	if err != nil {
		return Entry{}, err
	}
	if entry == nil {
		e := &NoImageError{Place: src.String(), Tag: tag, Tags: TagsOf(entries, Kind.IsImage)}
		if tag != "" {
			at := indexOfTag(entries, tag)
			e.Cache = at >= 0 && entries[at].Kind == KindCache
		} else if len(entries) == 1 {
			e.Tag, e.Cache = entries[0].Tag, entries[0].Kind == KindCache
		}
		return Entry{}, e
	}
	return *entry, nil
}

// oneOf returns the entry of one kind with the tag, or the default one if tag is "". If there is none, or it is of another kind,
// it returns nil and all entries, for the message.
func oneOf(ctx context.Context, src Source, tag string, want Kind) (*Entry, []Entry, error) {
	is := func(k Kind) bool { return k == want || want == KindImage && k.IsImage() }
	if entry, err := quickly(ctx, src, tag, is); err != nil || entry != nil {
		return entry, nil, err
	}
	entries, err := surveyFor(ctx, src, tag)
	if err != nil {
		return nil, nil, err
	}
	var entry *Entry
	if tag != "" {
		entry, err = Find(ctx, src, tag)
		if at := indexOfTag(entries, tag); err == nil && entry == nil && at >= 0 && entries[at].Kind == KindDangling {
			entry = &entries[at] // listed, but not available
		}
	} else {
		entry, err = standIn(src, entries, is)
	}
	switch {
	case err != nil:
		return nil, nil, err
	case entry == nil, is(entry.Kind):
		return entry, entries, nil
	case entry.Kind == KindDangling:
		return nil, nil, dangling(ctx, src, *entry)
	case entry.Kind == KindInvalid:
		return nil, nil, invalid(src, *entry)
	default:
		return nil, entries, nil
	}
}

// surveyFor lists the entries to find a tag in. Without a tag everything must be readable: what can't be read may be a second candidate.
func surveyFor(ctx context.Context, src Source, tag string) ([]Entry, error) {
	if tag == "" {
		return Survey(ctx, src)
	}
	return LenientSurvey(ctx, src)
}

// quickly finds the entry without listing everything, if the place can do that and the entry is of the right kind.
func quickly(ctx context.Context, src Source, tag string, is func(Kind) bool) (*Entry, error) {
	if _, ok := src.(Resolver); !ok {
		return nil, nil
	}
	if tag == "" {
		tag = DefaultTag
	}
	entry, err := Find(ctx, src, tag)
	if err != nil || entry == nil || !is(entry.Kind) {
		return nil, err
	}
	return entry, nil
}

// CheckThere fails with a *NotFoundError if the place itself is missing. Callers that accept an empty list as an answer use it to
// tell a misspelt name from an empty place.
func CheckThere(ctx context.Context, src Source) error {
	p, ok := src.(Presence)
	if !ok {
		return nil
	}
	missing, err := p.Missing(ctx)
	if err != nil || missing == "" {
		return err
	}
	e := &NotFoundError{Place: src.String(), Missing: missing}
	return errors.Join(e, e.lookAround(ctx, src))
}

// standIn returns the entry to use if no tag was given: latest, else the only one of the kind, else the only
// broken one, since its fault tells more than that there is none.
func standIn(src Source, entries []Entry, is func(Kind) bool) (*Entry, error) {
	if at := indexOfTag(entries, DefaultTag); at >= 0 && (is(entries[at].Kind) || is(KindCache)) {
		return &entries[at], nil
	}
	var right, broken []int
	for i, entry := range entries {
		switch {
		case is(entry.Kind):
			right = append(right, i)
		case entry.Kind == KindDangling, entry.Kind == KindInvalid:
			broken = append(broken, i)
		}
	}
	switch {
	case len(right) > 1:
		return nil, &AmbiguousError{Place: src.String(), Tags: TagsOf(entries, is), Images: is(KindImage)}
	case len(right) == 1:
		return &entries[right[0]], nil
	case len(broken) == 1:
		return &entries[broken[0]], nil
	default:
		return nil, nil
	}
}

// Caches returns the entries of a place that are caches, only the first of those that share a tag. It fails with a
// *NotFoundError if there is none, and with a *DanglingError if a tag names nothing.
func Caches(ctx context.Context, src Source) ([]Entry, error) {
	entries, err := Survey(ctx, src)
	if err != nil {
		return nil, err
	}
	var caches []Entry
	for _, entry := range WithoutShadowed(entries) {
		switch entry.Kind {
		case KindCache:
			caches = append(caches, entry)
		case KindDangling:
			return nil, dangling(ctx, src, entry)
		case KindInvalid:
			return nil, invalid(src, entry)
		case KindUnknown, KindImage, KindIndex:
		}
	}
	if len(caches) == 0 {
		return nil, notFound(ctx, src, entries, "")
	}
	return caches, nil
}

// WithoutShadowed drops the entries that can't be found by tag: of those that share a tag it keeps the first, as
// BuildKit does. Entries without a tag stay.
func WithoutShadowed(entries []Entry) []Entry {
	seen := map[string]bool{}
	var found []Entry
	for _, entry := range entries {
		if entry.Tag != "" && seen[entry.Tag] {
			continue
		}
		seen[entry.Tag] = true
		found = append(found, entry)
	}
	return found
}

// Shadowed returns the entries that WithoutShadowed drops, except those with the same root as the entry that hides them.
func Shadowed(entries []Entry) []Entry {
	first := map[string]digest.Digest{}
	var hidden []Entry
	for _, entry := range entries {
		switch root, seen := first[entry.Tag]; {
		case entry.Tag == "":
		case !seen:
			first[entry.Tag] = entry.Descriptor.Digest
		case root != entry.Descriptor.Digest:
			hidden = append(hidden, entry)
		}
	}
	return hidden
}

// TagsOf lists the entries of some kinds for a message: by tag, or by digest if they have none.
func TagsOf(entries []Entry, is func(Kind) bool) []string {
	var tags []string
	for _, entry := range entries {
		switch {
		case !is(entry.Kind):
		case entry.Tag == "":
			tags = append(tags, "untagged "+entry.Descriptor.Digest.String())
		default:
			tags = append(tags, entry.Tag)
		}
	}
	return tags
}

func isCache(k Kind) bool { return k == KindCache }

func notFound(ctx context.Context, src Source, entries []Entry, tag string) error {
	e := &NotFoundError{Place: src.String(), Tag: tag, Tags: TagsOf(entries, isCache)}
	for _, entry := range entries {
		if entry.Kind.IsImage() {
			e.Images = true
			e.Inline = e.Inline || hasInlineCache(ctx, src, entry.Descriptor)
		}
	}
	if p, ok := src.(Presence); ok && len(entries) == 0 {
		e.Missing, _ = p.Missing(ctx) // if it can't be told, the message is that nothing is in it
	}
	if len(e.Tags) > 0 {
		return e
	}
	err := e.lookAround(ctx, src)
	e.Begun = e.Begun && len(entries) == 0
	return errors.Join(e, err)
}

// lookAround finds out what else is in a place in which no tag names a cache.
func (e *NotFoundError) lookAround(ctx context.Context, src Source) (err error) {
	e.Unnamed, e.Partial, err = unnamed(ctx, src)
	d, ok := src.(*Dir)
	if !ok || err != nil || len(e.Unnamed) > 0 {
		return err
	}
	blobs, err := d.Blobs(ctx)
	if err != nil {
		return err
	}
	leftovers, err := d.Leftovers()
	e.Begun = len(blobs)+len(leftovers) > 0
	return err
}

func dangling(ctx context.Context, src Source, entry Entry) error {
	roots, partial, err := unnamed(ctx, src)
	e := &DanglingError{Place: src.String(), Tag: entry.Tag, Root: entry.Descriptor.Digest, Unnamed: roots, Partial: partial, Err: entry.Err}
	return errors.Join(e, err)
}

// unnamed returns the caches that no entry leads to: the whole ones, or all if none is whole. partial says that each of them lacks
// blobs.
func unnamed(ctx context.Context, src Source) (roots []digest.Digest, partial bool, err error) {
	d, ok := src.(*Dir)
	if !ok {
		if u, ok := src.(Unnamer); ok {
			roots, err = u.UnnamedRoots(ctx)
		}
		return roots, false, err
	}
	caches, err := d.UnnamedCaches(ctx)
	if len(caches) > 0 && caches[0].Whole {
		caches = slices.DeleteFunc(caches, func(c UnnamedCache) bool { return !c.Whole })
	}
	for _, cache := range caches {
		roots = append(roots, cache.Digest)
	}
	return roots, ArePartial(caches), err
}

func invalid(src Source, entry Entry) error {
	switch {
	case entry.Descriptor.Digest == "" && strings.HasPrefix(entry.Err.Error(), src.String()+": "): // the place itself said it
		return fmt.Errorf("tag %q: %w", cut(entry.Tag), entry.Err)
	case entry.Descriptor.Digest == "":
		return fmt.Errorf("%s: tag %q: %w", src, cut(entry.Tag), entry.Err)
	}
	err := entry.Err
	if errors.As(err, new(*BlobError)) {
		err = &UnreadError{"root", err}
	}
	return fmt.Errorf("%s: root %s of tag %q: %w", src, entry.Descriptor.Digest, cut(entry.Tag), err)
}

// Check returns nil for a cache, else an error that says what the entry is instead. The entry must have been classified.
func (e Entry) Check(ctx context.Context, src Source) error {
	switch e.Kind {
	case KindCache:
		return nil
	case KindDangling:
		return dangling(ctx, src, e)
	case KindInvalid:
		return invalid(src, e)
	default:
		return notFound(ctx, src, []Entry{e}, e.Tag)
	}
}

// Resolve returns the entry that BuildKit uses for a tag: the first one that containerd named so, else the first one with that tag.
func (d *Dir) Resolve(ctx context.Context, tag string) (*Entry, error) {
	index, err := d.Index(ctx)
	if err != nil {
		return nil, err
	}
	at := index.Find(tag)
	if at < 0 {
		return nil, nil
	}
	entry := d.entry(tag, index.Entries[at])
	return &entry, nil
}
