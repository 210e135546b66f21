package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// noteListed remembers the entries that the caller of Entries knows of.
func (r *Repository) noteListed(entries []layout.Entry) {
	listed := make(map[string]digest.Digest, len(entries))
	for _, entry := range entries {
		if !entry.IsUnread() {
			listed[entry.Tag] = entry.Descriptor.Digest
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listed = listed
}

// noteSeen remembers what one tag names.
func (r *Repository) noteSeen(entry layout.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listed == nil {
		r.listed = map[string]digest.Digest{}
	}
	r.listed[entry.Tag] = entry.Descriptor.Digest
}

func (r *Repository) knew(tag string) (digest.Digest, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	root, ok := r.listed[tag]
	return root, ok
}

// errNamed says that a root can't be deleted by its digest, which is the only way at this registry.
var errNamed = errors.New("the registry deletes by digest only, and other tags need that root")

// errUnlisted says that a list of tags is not reliable.
var errUnlisted = errors.New("the registry deletes by digest only, and its list of tags lacks that one, so that others may be missing too")

// takeRoot deletes a root by its digest, with all of its tags, and reports whether the tag is gone. It does nothing if another
// tag's root names this one, as an index does, or if a tag names it that was given lately. Tags that are deleted all the same
// are written again: between the last look and the deletion there is always time for one more tag.
func (r *Repository) takeRoot(ctx context.Context, tag string, was digest.Digest, raw []byte) (gone bool, said, err error) {
	before, err := r.tags(ctx)
	if err != nil {
		return false, nil, err
	}
	if !slices.Contains(before, tag) {
		return false, nil, &layout.KeptError{Place: r.String(), Tag: tag, Root: was, Err: errUnlisted}
	}
	needed, err := r.needing(ctx, before, tag, was)
	if err != nil {
		return false, nil, err
	}
	if len(needed) > 0 {
		return false, nil, &layout.KeptError{Place: r.String(), Tag: tag, Root: was, Sharing: needed, ByHand: r.byHand(tag, true), Err: errNamed}
	}
	gone, said, err = r.take(ctx, tag, was.String())
	r.forget(was)
	if err != nil || !gone {
		return gone, said, err
	}
	return true, nil, r.afterDeletion(tag, r.putBackLate(ctx, before, tag, was, raw))
}

// afterDeletion adds to an error that the tag is gone already.
func (r *Repository) afterDeletion(tag string, err error) error {
	if err == nil {
		return nil
	}
	return &layout.DeletedError{Place: r.String(), Tag: tag, Err: err}
}

const (
	// freshTags is the number of tags up to which all are read again before each deletion. If there are more, only new ones
	// are, unless the last look at all of them was too long ago.
	freshTags = 50
	// freshFor is how long such a look counts, or ten times as long as it took, if that is longer.
	freshFor = time.Second
)

// isFresh reports whether the last look at so many tags is recent enough.
func (r *Repository) isFresh(tags int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return tags > freshTags && time.Since(r.looked) < max(freshFor, 10*r.lookTook)
}

// noteLook records when all tags were read, and how long that took.
func (r *Repository) noteLook(begun time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looked, r.lookTook = time.Now(), time.Since(begun)
}

// needing returns the tags other than tag that need root: those that name it and did not before, and those whose roots name it.
func (r *Repository) needing(ctx context.Context, tags []string, tag string, root digest.Digest) ([]string, error) {
	fresh, begun := r.isFresh(len(tags)), time.Now()
	entries, err := EntriesOf(ctx, tags, func(ctx context.Context, other string) (*layout.Entry, error) {
		if other == tag {
			return nil, nil
		}
		if knew, ok := r.knew(other); ok && fresh {
			return &layout.Entry{Tag: other, Descriptor: buildcache.Descriptor{Digest: knew}}, nil
		}
		return r.entry(ctx, other)
	})
	if err != nil {
		return nil, err
	}
	if !fresh {
		r.noteLook(begun)
	}
	var needing []string
	for _, entry := range entries {
		needs, err := r.needs(ctx, entry, root)
		if err != nil {
			return nil, err
		}
		if needs {
			needing = append(needing, entry.Tag)
		}
	}
	return needing, nil
}

// needs reports whether a tag names root now and did not before, or names something that names root.
func (r *Repository) needs(ctx context.Context, entry layout.Entry, root digest.Digest) (bool, error) {
	if entry.Descriptor.Digest == root {
		knew, _ := r.knew(entry.Tag)
		return knew != root, nil
	}
	if entry.Descriptor.Digest == "" { // it names nothing
		return false, nil
	}
	r.noteSeen(entry)
	raw, err := r.manifest(ctx, entry.Descriptor)
	if errors.Is(err, layout.ErrBlobMissing) {
		return false, nil
	}
	return bytes.Contains(raw, []byte(root)), err
}

// putBackLate writes tags again that were given to a root between the last look and its deletion. A tag that named another root
// before and is gone now may have been deleted by somebody else; that is reported, and not undone.
func (r *Repository) putBackLate(ctx context.Context, before []string, tag string, root digest.Digest, raw []byte) error {
	after, err := r.tags(ctx)
	if err != nil {
		return fmt.Errorf("look after tags that named the root %s: %w", root, err)
	}
	was, is := setOf(before), setOf(after)
	var late []string // that are gone, or are listed without their manifest
	var errs []error
	for _, other := range slices.Concat(before, after) {
		knew, known := r.knew(other)
		switch {
		case other == tag, was[other] && is[other]:
		case !known:
			late = append(late, other)
		case was[other] && knew != root:
			errs = append(errs, fmt.Errorf("%s: the tag %q, which named %s, went at the same time as the root %s", r, other, knew, root))
		}
	}
	return errors.Join(append(errs, r.putBack(ctx, late, root, raw))...)
}

func setOf(tags []string) map[string]bool {
	set := make(map[string]bool, len(tags))
	for _, tag := range tags {
		set[tag] = true
	}
	return set
}
