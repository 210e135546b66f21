package layout

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// Retag returns entries with tag pointing to root, if it pointed to was in them, as Sink.Tag says. place is used in errors.
// It is meant for places that hold their entries as a list.
func Retag(place string, entries []Entry, tag string, root buildcache.Descriptor, was digest.Digest) ([]Entry, error) {
	at := slices.IndexFunc(entries, func(e Entry) bool { return e.Tag == tag && (tag != "" || e.Descriptor.Digest == was) })
	now := digest.Digest("")
	if at >= 0 {
		now = entries[at].Descriptor.Digest
	}
	if now != was {
		return nil, &TagMovedError{Place: place, Tag: tag, Was: was, Now: now}
	}
	if err := buildcache.CheckDigest(root.Digest); err != nil {
		return nil, &BlobError{Digest: root.Digest, Place: place, Err: err}
	}
	entries = slices.Clone(entries)
	switch {
	case at >= 0:
		entries[at] = Entry{Tag: tag, Descriptor: root}
	case tag == "":
		return nil, fmt.Errorf("%s: %w: a new entry needs a tag", place, ErrReference)
	default:
		if err := CheckTag(tag); err != nil {
			return nil, err
		}
		entries = append(entries, Entry{Tag: tag, Descriptor: root})
	}
	return entries, nil
}
