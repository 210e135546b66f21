package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
)

// uncovered is an entry that a tag names once another entry with the same tag is gone.
type uncovered struct {
	Tag    string        `json:"tag"`
	Digest digest.Digest `json:"digest"`
}

// uncover adds to a list the entry that a deleted tag now names, if any.
func uncover(found []uncovered, gone convert.Untagged, all []layout.Entry) []uncovered {
	at := slices.IndexFunc(all, func(e layout.Entry) bool {
		return gone.Tag != "" && e.Tag == gone.Tag && e.Descriptor.Digest != gone.Digest
	})
	if at < 0 {
		return found
	}
	if u := (uncovered{gone.Tag, all[at].Descriptor.Digest}); !slices.Contains(found, u) { // the first of them
		found = append(found, u)
	}
	return found
}

func renderUncovered(w io.Writer, found []uncovered) {
	for _, u := range found {
		say(w, "  another entry has the tag %s too, which now points to it: %s\n", u.Tag, u.Digest)
	}
}

// hiddenError says that a tag names something other than a cache and hides a cache with the same tag.
type hiddenError struct {
	place, tag  string
	named, root digest.Digest
	is          layout.Kind
}

func (e *hiddenError) Error() string {
	return fmt.Sprintf("%s: the tag %q points to the %s %s, which hides the cache %s with the same tag: nothing was deleted", e.place, e.tag, e.is, e.named, e.root)
}

// checkHidden fails with a *hiddenError if an image hides a cache.
func checkHidden(ctx context.Context, place layout.Source, image layout.Entry, all []layout.Entry) error {
	for _, other := range all {
		if other.Tag != image.Tag || other.Descriptor.Digest == image.Descriptor.Digest {
			continue
		}
		other, err := layout.Classify(ctx, place, other)
		if err != nil {
			return err
		}
		if other.Kind == layout.KindCache {
			return &hiddenError{place.String(), image.Tag, image.Descriptor.Digest, other.Descriptor.Digest, image.Kind}
		}
	}
	return nil
}

// foreignError says that a tag names something that can't be read and does not look like a cache.
type foreignError struct {
	place string
	entry layout.Entry
}

func (e *foreignError) Error() string {
	return fmt.Sprintf("%s: the tag %q points to something that does not look like a cache (%s): %s: %v", e.place, e.entry.Tag, e.entry.Descriptor.MediaType, e.entry.Kind, e.entry.Err)
}

// checkNamed fails if the one entry to delete is not a cache's.
func checkNamed(ctx context.Context, place layout.Source, entry layout.Entry, all []layout.Entry) error {
	switch {
	case entry.Kind.IsImage():
		return cmp.Or(checkHidden(ctx, place, entry, all), entry.Check(ctx, place))
	case entry.IsForeign():
		return &foreignError{place.String(), entry}
	default:
		return nil
	}
}

// noteUnread records why a root could not be read, if it may be a cache to delete: then the command has not done all that it was asked to.
func (r *rmResult) noteUnread(entry layout.Entry) {
	if entry.IsUnread() {
		r.unreachable++
		r.unread = append(r.unread, fmt.Errorf("%s: the tag %q is kept, as nobody knows what it names: %w", r.Path, entry.Tag, entry.Err))
		return
	}
	var blob *layout.BlobError
	ofPlace := errors.As(entry.Err, &blob) && !errors.Is(entry.Err, layout.ErrBlobMissing) && !errors.Is(entry.Err, layout.ErrBlobDamaged)
	if ofPlace || !entry.IsForeign() {
		err := entry.Err
		if isBlobFault(err) { // without its root the cache does not exist, and nothing can be dropped
			err = &layout.UnreadError{What: "root", Err: err}
		}
		r.unread = append(r.unread, fmt.Errorf("%s: the tag %q is kept because %s can't be read as a cache; to delete it, give rm the tag: %w",
			r.Path, entry.Tag, cmp.Or(string(entry.Descriptor.Digest), "its root"), err))
	}
}

// readable keeps the caches of a list, and counts the other matches that can't be read.
func (r *rmResult) readable(listed []inspect.Listed, match func(string) bool) []inspect.Listed {
	return slices.DeleteFunc(listed, func(l inspect.Listed) bool {
		broken := l.Kind == layout.KindInvalid || l.Kind == layout.KindDangling
		if broken && l.Tag != "" && (match == nil || match(l.Tag)) {
			r.Unreadable++
			r.noteUnread(l.Entry)
		}
		return l.Kind != layout.KindCache
	})
}
