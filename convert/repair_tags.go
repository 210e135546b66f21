package convert

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// restorer is a place whose list of entries may be torn.
type restorer interface {
	SalvageIndex(ctx context.Context) (*layout.Salvaged, error)
	RestoreIndex(ctx context.Context, salvaged *layout.Salvaged, index *buildcache.Index) error
	ReplaceIndex(ctx context.Context, was, now *buildcache.Index) error
	Index(ctx context.Context) (*buildcache.Index, error)
	Assume(index *buildcache.Index) *layout.Dir
	IsAssumed() bool
}

// indexTries is how often a change of index.json is worked out again because somebody else has changed the file.
const indexTries = 100

// lock locks a place if it is to be written to.
func (o RepairOptions) lock(ctx context.Context, place layout.Place) (unlock func() error, err error) {
	if locker, ok := place.(layout.Locker); ok && o.Write {
		return locker.Lock(ctx)
	}
	return func() error { return nil }, nil
}

// RepairIndex repairs the list of a layout's entries if it can't be read, is missing, or names nothing although there are caches.
// Intact entries stay, and so do others that can be made out and whose roots are there. If no cache is left in the list, the newest
// unnamed one, or Root, gets the tag latest. If Tag is another one, only Root gets it, and without Root nothing is changed
// unless the tag is found. If the list can be read, a cache that can't be repaired gets no tag: that is a *HopelessError. All of that is one change, and the
// bytes of a list that can't be read are kept beside it. Other places have no such list.
//
// It returns the place to continue with: without Write, a view of what there would be.
func RepairIndex(ctx context.Context, place layout.Place, o RepairOptions) (_ layout.Place, repairs []Repair, err error) {
	dir, ok := place.(restorer)
	if !ok {
		return place, nil, nil
	}
	unlock, err := o.lock(ctx, place)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	for range indexTries {
		view, repairs, err := repairIndex(ctx, place, dir, o)
		if errors.Is(err, layout.ErrIndexChanged) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		if o.Write {
			view = place
		}
		return view, repairs, nil
	}
	return nil, nil, fmt.Errorf("%s: %w", place, layout.ErrIndexChanged)
}

// repairIndex does what RepairIndex says, once. It returns a view of the outcome.
func repairIndex(ctx context.Context, place layout.Place, dir restorer, o RepairOptions) (_ layout.Place, repairs []Repair, err error) {
	salvaged, err := dir.SalvageIndex(ctx)
	if errors.Is(err, layout.ErrIndexReadable) {
		view, err := viewOf(ctx, place, dir)
		return view, nil, err
	}
	if err != nil {
		return nil, nil, err
	}
	if salvaged.Fault == layout.IndexUnreadable {
		if repairs, err = fillIn(ctx, place, salvaged); err != nil {
			return nil, nil, err
		}
	}
	view, done, err := nameInView(ctx, dir, salvaged, o)
	if err != nil {
		return nil, nil, err
	}
	if done != nil && salvaged.Fault != layout.IndexUnreadable {
		repairs = append(repairs, Repair{Kind: buildcache.IndexInvalid, What: string(salvaged.Fault) + ", but there are caches"})
	}
	if done != nil {
		repairs = append(repairs, *done)
	}
	if len(repairs) == 0 || !o.Write {
		return view, repairs, nil
	}
	index, err := view.Index(ctx)
	if err == nil {
		err = dir.RestoreIndex(ctx, salvaged, index)
	}
	return view, repairs, err
}

// nameInView does what nameWanted does in a view of what was salvaged, which it returns.
func nameInView(ctx context.Context, dir restorer, salvaged *layout.Salvaged, o RepairOptions) (view *layout.Dir, done *Repair, err error) {
	view = dir.Assume(salvaged.Index)
	if done, err = nameWanted(ctx, view, o); err != nil || done == nil {
		return view, nil, err
	}
	if salvaged.Fault == layout.IndexUnreadable { // then it is written anew in any case
		return view, done, nil
	}
	err = o.checkFinished(ctx, dir.Assume(salvaged.Index), done.Digest)
	if err == nil && o.Write {
		err = o.checkHope(ctx, view, done.Digest)
	}
	return view, done, err
}

// viewOf returns a view of a layout as it is, or the layout itself if it is one.
func viewOf(ctx context.Context, place layout.Place, dir restorer) (layout.Place, error) {
	if dir.IsAssumed() {
		return place, nil
	}
	index, err := dir.Index(ctx)
	if err != nil {
		return nil, err
	}
	return dir.Assume(index), nil
}

// fillIn adds to the intact entries of an index what can be made out of the rest, and says what can't.
func fillIn(ctx context.Context, place layout.Source, salvaged *layout.Salvaged) (repairs []Repair, err error) {
	note := func(blob digest.Digest, what string) {
		repairs = append(repairs, Repair{Kind: buildcache.IndexInvalid, Digest: blob, What: what})
	}
	note("", fmt.Sprintf("%s; %d of its entries can be read and stay; its old bytes are kept as %s", salvaged.Fault, len(salvaged.Index.Entries), salvaged.Aside))
	for _, what := range salvaged.Changed {
		note("", what)
	}
	for _, torn := range salvaged.Torn {
		what, err := giveBack(ctx, place, salvaged.Index, torn)
		if err != nil {
			return nil, err
		}
		note(torn.Digest, what)
	}
	return repairs, nil
}

// giveBack adds a torn entry to an index if its root is there and its tag is readable and free, and says what became of it. An
// image is kept without a tag, so that it isn't lost; a cache without one remains in the place for whoever wants it.
func giveBack(ctx context.Context, place layout.Source, index *buildcache.Index, torn buildcache.Descriptor) (what string, err error) {
	root, err := layout.FindDigest(ctx, place, torn.Digest)
	var none *layout.NotFoundError
	var size *buildcache.SizeError
	switch {
	case errors.As(err, &none):
		return fmt.Sprintf("a damaged entry is left out: %s is missing", nameOf(torn)), nil
	case errors.As(err, &size) || isBroken(err) || err == nil && root.Kind == layout.KindInvalid:
		return fmt.Sprintf("a damaged entry is left out: %s can't be read", nameOf(torn)), nil
	case err != nil:
		return "", err
	}
	entry := torn.Clone()
	entry.MediaType, entry.Digest, entry.Size = root.Descriptor.MediaType, root.Descriptor.Digest, root.Descriptor.Size
	named := slices.ContainsFunc(index.Entries, func(d buildcache.Descriptor) bool { return d.Digest == torn.Digest })
	switch tag := torn.Tag(); {
	case tag != "" && index.Find(tag) < 0:
		what = fmt.Sprintf("a damaged entry stays, as its tag %s and its digest can be read", tag)
	case root.Kind.IsImage() && !named:
		delete(entry.Annotations, ocispec.AnnotationRefName)
		what = "a damaged entry of an image stays without a tag, as its digest can be read"
	case tag != "":
		return fmt.Sprintf("a damaged entry is left out: another one has its tag: %s", nameOf(torn)), nil
	case named:
		return fmt.Sprintf("a damaged entry is left out: another one points to %s", nameOf(torn)), nil
	default:
		return fmt.Sprintf("a damaged entry is left out: its tag can't be read, so %s is untagged", nameOf(torn)), nil
	}
	index.Entries = append(index.Entries, entry)
	return what, nil
}

// nameOf names a root, with its tag if it has one.
func nameOf(root buildcache.Descriptor) string {
	if tag := root.Tag(); tag != "" {
		return fmt.Sprintf("tag %s, %s", tag, root.Digest)
	}
	return root.Digest.String()
}

// RepairTags repairs cache entries that no tag finds: of several with one tag the first readable one stays, and one without a tag
// gets one. Images are not touched. In a layout this is one change. It returns the entries as they are then, or would be.
func RepairTags(ctx context.Context, place layout.Place, o RepairOptions) (repairs []Repair, are []layout.Entry, err error) {
	unlock, err := o.lock(ctx, place)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	dir, ok := place.(restorer)
	if !ok {
		return repairTags(ctx, place, o.Write)
	}
	if dir.IsAssumed() {
		return repairTags(ctx, place, true)
	}
	for range indexTries {
		was, err := dir.Index(ctx)
		if err != nil {
			return nil, nil, err
		}
		view := dir.Assume(was)
		repairs, are, err := repairTags(ctx, view, true)
		if err != nil || !o.Write {
			return repairs, are, err
		}
		now, err := view.Index(ctx)
		if err != nil {
			return nil, nil, err
		}
		err = dir.ReplaceIndex(ctx, was, now)
		switch {
		case errors.Is(err, layout.ErrIndexChanged):
		case err != nil:
			return nil, nil, err
		default:
			return repairs, are, nil
		}
	}
	return nil, nil, fmt.Errorf("%s: %w", place, layout.ErrIndexChanged)
}

// repairTags does what RepairTags says, if writes is set, one change after the other.
func repairTags(ctx context.Context, place layout.Place, writes bool) (repairs []Repair, are []layout.Entry, err error) {
	entries, err := layout.Survey(ctx, place)
	if err != nil {
		return nil, nil, err
	}
	for _, entry := range entries {
		if err := notRead(entry); err != nil {
			return nil, nil, err
		}
	}
	tagged, named := map[string][]layout.Entry{}, map[digest.Digest]bool{}
	for _, entry := range entries {
		tagged[entry.Tag] = append(tagged[entry.Tag], entry)
		named[entry.Descriptor.Digest] = named[entry.Descriptor.Digest] || entry.Tag != ""
	}
	for _, entry := range layout.WithoutShadowed(entries) {
		var done *Repair
		switch {
		case entry.Tag != "":
			done, err = repairDoubled(ctx, place, tagged[entry.Tag], &entry, writes)
		case entry.Kind == layout.KindCache && !named[entry.Descriptor.Digest]:
			done, err = repairUntagged(ctx, place, tagged, &entry, writes)
		}
		if err != nil {
			return repairs, are, err
		}
		if done != nil {
			repairs = append(repairs, *done)
		}
		are = append(are, entry)
	}
	return repairs, are, nil
}

// notRead returns the system's error that kept an entry's root from being read, if any. Then nobody knows what it is.
func notRead(entry layout.Entry) error {
	var number syscall.Errno
	if entry.IsUnread() || entry.Kind == layout.KindInvalid && errors.As(entry.Err, &number) {
		return entry.Err
	}
	return nil
}

// repairDoubled keeps one of the entries with the same tag, and sets entry to it.
func repairDoubled(ctx context.Context, place layout.Place, same []layout.Entry, entry *layout.Entry, writes bool) (*Repair, error) {
	if len(same) < 2 {
		return nil, nil
	}
	stays := -1
	for i, other := range same {
		if other.IsForeign() {
			return nil, nil
		}
		if stays < 0 && other.Kind == layout.KindCache {
			stays = i
		}
	}
	if stays < 0 {
		return nil, nil // one of them may still be repaired
	}
	*entry = same[stays]
	root := entry.Descriptor
	done := &Repair{
		Kind: buildcache.TagShadowed, Digest: root.Digest,
		What: fmt.Sprintf("%d entries have the tag %s; it points to %s, and the others are removed", len(same), same[0].Tag, root.Digest),
	}
	if !writes {
		return done, nil
	}
	untagger, ok := place.(layout.Untagger)
	if !ok {
		return done, place.Tag(ctx, same[0].Tag, root, same[0].Descriptor.Digest)
	}
	// All are removed, and one is added again: if that were only moved, the others would stay, shadowed.
	for _, other := range same {
		if err := untagger.Untag(ctx, other.Tag, other.Descriptor.Digest, nil); err != nil {
			return nil, err
		}
	}
	return done, place.Tag(ctx, same[0].Tag, root, "")
}

// repairUntagged gives an entry a tag: latest if that is free.
func repairUntagged(
	ctx context.Context, place layout.Place, tagged map[string][]layout.Entry, entry *layout.Entry, writes bool,
) (*Repair, error) {
	const shown = 12
	tag := layout.DefaultTag
	if len(tagged[tag]) > 0 {
		tag = "untagged-" + entry.Descriptor.Digest.Encoded()[:shown]
	}
	tagged[tag] = []layout.Entry{*entry}
	done := &Repair{Kind: buildcache.Untagged, Digest: entry.Descriptor.Digest, What: "the cache has no tag; it gets the tag " + tag}
	untagger, ok := place.(layout.Untagger)
	if !writes || !ok {
		return done, nil
	}
	if _, err := Tag(ctx, place, *entry, tag); err != nil {
		return nil, err
	}
	entry.Tag = tag
	return done, untagger.Untag(ctx, "", entry.Descriptor.Digest, nil)
}
