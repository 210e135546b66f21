package convert

import (
	"context"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize/english"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// LossError says that a merge would have replaced a cache that has results no source has. Nothing was written.
type LossError struct {
	Place, Tag string
	Lost, Has  int // results
}

func (e *LossError) Error() string {
	return fmt.Sprintf("%s, tag %s: the cache there is not one of the sources, and %d of its %s would be lost", e.Place, e.Tag, e.Lost, english.Plural(e.Has, "result", ""))
}

// replaced returns the cache that the tag names in the destination, nil if there is none that can be read.
func (m *merger) replaced(ctx context.Context, caches []*layout.Cache, was digest.Digest) (*layout.Cache, error) {
	if was == "" {
		return nil, nil
	}
	for i, source := range m.sources {
		if m.isTarget(source) {
			return caches[i], nil
		}
	}
	entry, err := layout.Find(ctx, m.dst, m.tag)
	if err != nil || entry == nil || entry.Kind != layout.KindCache || entry.Descriptor.Digest != was {
		return nil, err
	}
	old, err := layout.Load(ctx, m.dst, *entry)
	if err != nil && ctx.Err() == nil {
		return nil, nil // it is broken, and may be replaced
	}
	return old, err
}

// compare says what became of what the tag named before.
func (m *merger) compare(ctx context.Context, result *MergeResult, u *united, old *layout.Cache, was digest.Digest) {
	if m.dst == nil || was == "" {
		return
	}
	if was == result.To.Digest {
		result.Unchanged = result.Moved == 0
		return
	}
	result.Was = was
	if old == nil {
		return
	}
	result.Before = &MergedCache{
		Place: m.dst.String(), Tag: m.tag, Root: describe(old), ConfigSize: int64(len(old.RawConfig)), Extent: extentOf(old),
	}
	if !m.isSource(was) {
		result.NotMerged = lacking(u.merged.Cache, old) // what rules drop would not be kept from a source either
	}
	if !m.o.DryRun {
		result.Unnamed = unnamed(ctx, m.dst, old)
	}
}

// isSource reports whether a root is that of a source, wherever that is.
func (m *merger) isSource(root digest.Digest) bool {
	return slices.ContainsFunc(m.sources, func(s MergeSource) bool { return s.Entry.Descriptor.Digest == root })
}

// checkLoss refuses to replace a cache that is not a source and has results that no source has. What the rules drop is not counted as lost.
func (m *merger) checkLoss(u *united, old *layout.Cache, was digest.Digest) error {
	if m.o.Overwrite || old == nil || m.isSource(was) {
		return nil
	}
	if lost := lacking(u.merged.Cache, old); lost > 0 {
		return &LossError{Place: m.dst.String(), Tag: m.tag, Lost: lost, Has: resultsOf(old.Config)}
	}
	return nil
}

// lacking counts the results that a cache would gain if old were merged into it.
func lacking(value buildcache.Cache, old *layout.Cache) int {
	both, err := buildcache.Merge([]buildcache.Cache{value, {Root: old.Root, Config: old.Config}}, buildcache.MergeOptions{})
	if unlessSize(err) != nil {
		return resultsOf(old.Config)
	}
	return max(resultsOf(both.Config)-resultsOf(value.Config), 0)
}
