package layout

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// Untagger is a place that can delete tags.
type Untagger interface {
	// Untag deletes tag if it still points to was, else it fails with a *TagMovedError. A tag that doesn't exist is no error.
	// If tag is "", it deletes an untagged entry with the digest was. Blobs stay. sharing are other tags that name was and must stay:
	// if the place can't delete one tag without them, or can't delete tags at all, it fails with a *KeptError.
	Untag(ctx context.Context, tag string, was digest.Digest, sharing []string) error
}

// KeptError says that a place won't delete a tag.
type KeptError struct {
	Place, Tag string
	Root       digest.Digest
	Sharing    []string // tags that would be deleted with it; nil if the place deletes none
	// ByHand is a command that does it, for a host with an interface of its own for this, else "".
	ByHand string
	Err    error // what the place said
}

func (e *KeptError) Error() string {
	if len(e.Sharing) > 0 {
		return fmt.Sprintf("%s: can't delete the tag %q without also deleting what points to the same root: %s: %v", e.Place, e.Tag, strings.Join(e.Sharing, ", "), e.Err)
	}
	return fmt.Sprintf("%s: the tag %q was not deleted: %v", e.Place, e.Tag, e.Err)
}

// Unwrap returns what the place said.
func (e *KeptError) Unwrap() error { return e.Err }

// SharedUnreadError says that a tag is not deleted because other tags could not be read: a registry may delete all tags of a root
// together, and nobody could restore what those point to.
type SharedUnreadError struct{ Tags []string }

func (e *SharedUnreadError) Error() string {
	return "other tags can't be read, and may point to the same root: " + cutAll(e.Tags)
}

// Untag removes the entries of the root that a tag names, or just the tag from an entry that has two. Another entry
// with the same tag stays: it was hidden before, and now the tag names it.
func (d *Dir) Untag(ctx context.Context, tag string, was digest.Digest, _ []string) error {
	return d.changeIndex(ctx, func(index *buildcache.Index) error {
		if tag == "" {
			index.Entries = slices.DeleteFunc(index.Entries, func(e buildcache.Descriptor) bool { return e.Tag() == "" && e.Digest == was })
			return nil
		}
		at := index.Find(tag)
		if at >= 0 && index.Entries[at].Digest != was {
			return &TagMovedError{Place: d.path, Tag: tag, Was: was, Now: index.Entries[at].Digest}
		}
		index.Untag(tag, was)
		return nil
	})
}

// Untag removes a tag.
func (m *Memory) Untag(ctx context.Context, tag string, was digest.Digest, _ []string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	at := slices.IndexFunc(m.entries, func(e Entry) bool { return e.Tag == tag && (tag != "" || e.Descriptor.Digest == was) })
	if at < 0 {
		return nil
	}
	if now := m.entries[at].Descriptor.Digest; now != was {
		return &TagMovedError{Place: m.name, Tag: tag, Was: was, Now: now}
	}
	m.entries = slices.Delete(slices.Clone(m.entries), at, at+1)
	return nil
}
