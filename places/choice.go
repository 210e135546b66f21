package places

import (
	"context"

	"github.com/ocicache/ocicache/layout"
)

// MeansAll reports whether a reference stands for every cache in its place: a bare path without a tag does.
func MeansAll(ref layout.Reference) bool {
	return ref.Transport == layout.TransportPath && ref.Tag == ""
}

// Covers reports whether a reference stands for every cache in its place when caches are looked at or repaired one by one, so
// that none has to be chosen: a bare path without a tag does, and so does a far place, such as a repository, without tag or
// digest.
func Covers(ref layout.Reference) bool {
	return MeansAll(ref) || ref.IsFar() && ref.Tag == "" && ref.Digest == ""
}

// Entries returns what the reference names, classified: the root of its tag or digest, or else everything in the place, except
// entries that are hidden by another with the same tag. It fails with a *layout.NotFoundError if a tag or digest is not there.
func (o *Opened) Entries(ctx context.Context) ([]layout.Entry, error) {
	ref := o.Reference
	switch {
	case ref.Digest != "":
		entry, err := layout.FindDigest(ctx, o.Source, ref.Digest)
		return []layout.Entry{entry}, err
	case ref.Tag == "":
		entries, err := layout.Survey(ctx, o.Source)
		return layout.WithoutShadowed(entries), err
	}
	entry, err := layout.Find(ctx, o.Source, ref.Tag)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		_, err := layout.OneCache(ctx, o.Source, ref.Tag) // says what there is instead
		return nil, err
	}
	return []layout.Entry{*entry}, nil
}

// LenientEntries is Entries for callers that go on without what can't be read: see layout.LenientEntries.
func (o *Opened) LenientEntries(ctx context.Context) ([]layout.Entry, error) {
	if o.Reference.Tag != "" || o.Reference.Digest != "" {
		return o.Entries(ctx)
	}
	entries, err := layout.LenientSurvey(ctx, o.Source)
	return layout.WithoutShadowed(entries), err
}

// Hidden returns the caches that the reference would stand for if earlier entries with the same tags did not hide them. Only a
// place that is near can have any.
func (o *Opened) Hidden(ctx context.Context) (hidden []layout.Entry, err error) {
	if o.Reference.Tag != "" || o.Reference.Digest != "" || o.Reference.IsFar() {
		return nil, nil
	}
	entries, err := o.Source.Entries(ctx)
	if err != nil {
		return nil, err
	}
	for _, entry := range layout.Shadowed(entries) {
		if entry, err = layout.Classify(ctx, o.Source, entry); err != nil {
			return nil, err
		}
		if entry.Kind == layout.KindCache {
			hidden = append(hidden, entry)
		}
	}
	return hidden, nil
}

// Cache returns the one cache that the reference names. Without a tag or digest, that is latest or else the only one there.
// It fails as layout.OneCache and layout.FindDigest do.
func (o *Opened) Cache(ctx context.Context) (layout.Entry, error) {
	if o.Reference.Digest == "" {
		return layout.OneCache(ctx, o.Source, o.Reference.Tag)
	}
	entry, err := layout.FindDigest(ctx, o.Source, o.Reference.Digest)
	if err == nil {
		err = entry.Check(ctx, o.Source)
	}
	return entry, err
}

// Caches returns every cache that the reference stands for: all in the place if it MeansAll, else the one that Cache returns.
func (o *Opened) Caches(ctx context.Context) ([]layout.Entry, error) {
	if MeansAll(o.Reference) {
		return layout.Caches(ctx, o.Source)
	}
	entry, err := o.Cache(ctx)
	return []layout.Entry{entry}, err
}

// Covered returns every cache in the place if the reference Covers it, else the one that Cache returns.
func (o *Opened) Covered(ctx context.Context) ([]layout.Entry, error) {
	if Covers(o.Reference) {
		return layout.Caches(ctx, o.Source)
	}
	return o.Caches(ctx)
}

// Image returns the one image, or index of images, that the reference names. It fails as layout.OneImage and
// layout.FindDigest do.
func (o *Opened) Image(ctx context.Context) (layout.Entry, error) {
	if o.Reference.Digest == "" {
		return layout.OneImage(ctx, o.Source, o.Reference.Tag)
	}
	entry, err := layout.FindDigest(ctx, o.Source, o.Reference.Digest)
	if err == nil && !entry.Kind.IsImage() {
		err = &layout.NoImageError{Place: o.Source.String(), Cache: entry.Kind == layout.KindCache}
	}
	return entry, err
}
