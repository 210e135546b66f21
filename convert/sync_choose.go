package convert

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/ocicache/ocicache/layout"
)

// choose returns the caches to sync, including those that can't be read.
func (s *syncer) choose(ctx context.Context, result *SyncResult) ([]layout.Entry, error) {
	all := s.o.Entries
	if all == nil {
		var err error
		if all, err = layout.LenientSurvey(ctx, s.src); err != nil {
			return nil, err
		}
	}
	var entries []layout.Entry
	for _, entry := range layout.WithoutShadowed(all) {
		entry, err := layout.Classify(ctx, s.src, entry)
		switch {
		case err != nil:
			return nil, err
		case s.o.Match != nil && !s.o.Match(entry.Tag):
		case entry.Kind.IsImage():
			result.Others++
		default:
			entries = append(entries, entry)
		}
	}
	if s.o.Tag != "" && len(entries) > 1 {
		return nil, s.ambiguous(entries)
	}
	if s.o.Tag == "" {
		return s.nameUntagged(all, entries, result)
	}
	return entries, nil
}

func (s *syncer) ambiguous(entries []layout.Entry) error {
	return &layout.AmbiguousError{Place: s.src.String(), Tags: layout.TagsOf(entries, func(layout.Kind) bool { return true })}
}

// nameUntagged keeps an untagged cache, which will be called latest, if it is the only one and no other cache of the source
// is latest. Otherwise no tag can tell untagged caches apart, and they are skipped; if there are no others, it fails with a
// *layout.AmbiguousError.
func (s *syncer) nameUntagged(all, entries []layout.Entry, result *SyncResult) ([]layout.Entry, error) {
	isUntagged := func(e layout.Entry) bool { return e.Tag == "" }
	tagged := slices.DeleteFunc(slices.Clone(entries), isUntagged)
	isLatest := func(e layout.Entry) bool { return e.Tag == layout.DefaultTag && !e.Kind.IsImage() }
	switch untagged := len(entries) - len(tagged); {
	case untagged == 0, untagged == 1 && !slices.ContainsFunc(all, isLatest):
		return entries, nil
	case len(tagged) == 0:
		return nil, s.ambiguous(entries)
	}
	for _, entry := range entries {
		if isUntagged(entry) {
			result.Notes = append(result.Notes, fmt.Sprintf("skipped because it has no tag: %s", entry.Descriptor.Digest))
		}
	}
	return tagged, nil
}

// tagFor returns the tag of a cache in the destination.
func (s *syncer) tagFor(entry layout.Entry) string {
	if s.o.Tag == "" && s.o.Rename != nil {
		return s.o.Rename(entry.Tag)
	}
	return cmp.Or(s.o.Tag, entry.Tag, layout.DefaultTag)
}
