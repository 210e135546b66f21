package convert

import (
	"context"
	"errors"
	"fmt"

	"github.com/ocicache/ocicache/layout"
)

// Surplus are the tags that a sync leaves in a destination although its source has no such tags.
type Surplus struct {
	Entries []layout.Entry // those that are caches
	// Unread are those that can't be read as a cache, so nobody knows what they named. They are not among Entries.
	Unread []layout.Entry
	// Spared says that layout.DefaultTag, which the source lacks, is not among Entries: the source has an untagged cache, which a
	// sync may have copied under that tag.
	Spared bool
	// Before is how many of the chosen caches the destination had before the sync.
	Before int
	// All are the entries of the destination.
	All []layout.Entry
}

// FindSurplus finds the tags that match in dst and not in src, after a whole sync of src with the same match, whose result is done.
// Both places are listed again, so that tags which src got meanwhile stay. Images are not surplus.
func FindSurplus(ctx context.Context, src, dst layout.Source, done *SyncResult, match func(tag string) bool) (*Surplus, error) {
	if done.Failed > 0 || done.NotTried > 0 || done.Interrupted > 0 {
		return nil, errUndone
	}
	named, err := layout.LenientEntries(ctx, src)
	if err != nil {
		return nil, fmt.Errorf("list %s again: %w", src, err)
	}
	untagged, err := hasUntagged(ctx, src, named)
	if err != nil {
		return nil, err
	}
	wanted, before := tagsWanted(named, done)
	s := &Surplus{Before: before}
	if s.All, err = layout.LenientEntries(ctx, dst); err != nil {
		return nil, err
	}
	for _, entry := range layout.WithoutShadowed(s.All) {
		if entry.Tag == "" || wanted[entry.Tag] || match != nil && !match(entry.Tag) {
			continue
		}
		if entry, err = layout.Classify(ctx, dst, entry); err != nil {
			return nil, err
		}
		s.add(entry, untagged)
	}
	s.Before += len(s.Entries)
	return s, nil
}

// add adds an entry that the source lacks. untagged says that the source has an entry without a tag.
func (s *Surplus) add(entry layout.Entry, untagged bool) {
	switch {
	case entry.Kind == layout.KindCache && entry.Tag == layout.DefaultTag && untagged:
		s.Spared = true
		s.Before++
	case entry.Kind == layout.KindCache:
		s.Entries = append(s.Entries, entry)
	case !entry.Kind.IsImage():
		s.Unread = append(s.Unread, entry)
	}
}

// tagsWanted returns the tags that stay, and how many of the copied caches the destination had before.
func tagsWanted(named []layout.Entry, done *SyncResult) (wanted map[string]bool, before int) {
	wanted = map[string]bool{}
	for _, cache := range done.Caches {
		wanted[cache.To] = true
		if cache.Skipped || cache.Was != "" {
			before++
		}
	}
	for _, entry := range named { // whatever it is
		wanted[entry.Tag] = true
	}
	return wanted, before
}

// hasUntagged reports whether there is an untagged entry that is or was a cache.
func hasUntagged(ctx context.Context, src layout.Source, named []layout.Entry) (bool, error) {
	for _, entry := range named {
		if entry.Tag != "" {
			continue
		}
		entry, err := layout.Classify(ctx, src, entry)
		if err != nil {
			return false, fmt.Errorf("list %s again: %w", src, err)
		}
		if !entry.Kind.IsImage() {
			return true, nil
		}
	}
	return false, nil
}

// errUndone says that not everything was copied, so nobody knows whether what else is there is wanted.
var errUndone = errors.New("nothing was deleted, because not every cache was copied")

// HalfAtMost lets Check accept up to half of what was there.
const HalfAtMost = -1

// Check fails with a *SurplusError if more than most tags are to go, or for HalfAtMost more than half of those that were there.
func (s *Surplus) Check(most int) error {
	n := len(s.Entries)
	if most == HalfAtMost && 2*n > s.Before || most != HalfAtMost && n > most {
		return &SurplusError{Tags: n, Before: s.Before, Most: most}
	}
	return nil
}

// Delete deletes the tags as Untag does, never another one that names the same root. A dry run says what would be deleted.
func (s *Surplus) Delete(ctx context.Context, dst layout.Source, dryRun bool) ([]Untagged, error) {
	if dryRun {
		return PlanUntag(dst, s.Entries, s.All)
	}
	return Untag(ctx, dst, s.Entries, s.All)
}

// SurplusError says that more tags would be deleted than is allowed. None was.
type SurplusError struct {
	Tags, Before int
	Most         int // that are allowed, or HalfAtMost
}

func (e *SurplusError) Error() string {
	if e.Most == HalfAtMost {
		return fmt.Sprintf("the source lacks %d of the %d caches that the destination had, which is more than half, so nothing was deleted", e.Tags, e.Before)
	}
	return fmt.Sprintf("the source lacks %d of the %d caches that the destination had, but at most %d may be deleted, so nothing was deleted", e.Tags, e.Before, e.Most)
}
