package archive

import (
	"context"
	"fmt"
	"time"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// noteMovedBack adds a note if a tag is about to move to an older cache, as happens when archives are unpacked in a different order
// than they were packed.
func (w *unpacker) noteMovedBack(ctx context.Context, root layout.Entry, was buildcache.Descriptor) {
	if root.Kind != layout.KindCache || root.Descriptor.Digest == was.Digest {
		return
	}
	old, oldErr := layout.Load(ctx, w.dst, layout.Entry{Descriptor: was})
	now, nowErr := layout.Load(ctx, w, root)
	if oldErr != nil || nowErr != nil {
		return // broken caches are reported elsewhere
	}
	before, after := newestResult(old.Config), newestResult(now.Config)
	if after.IsZero() || !before.After(after) {
		return
	}
	w.result.Notes = append(w.result.Notes, fmt.Sprintf("the tag %s moves back to an older cache: its newest result is from %s, that of the cache before it from %s",
		root.Tag, after.UTC().Format(time.RFC3339), before.UTC().Format(time.RFC3339)))
}

// newestResult returns when the newest result of a cache was made, or the zero time if no result says it.
func newestResult(config *buildcache.Config) (newest time.Time) {
	for _, record := range config.Records {
		for _, result := range record.Results {
			if result.CreatedAt.After(newest) {
				newest = result.CreatedAt.Time
			}
		}
		for _, chain := range record.Chains {
			if chain.CreatedAt.After(newest) {
				newest = chain.CreatedAt.Time
			}
		}
	}
	return newest
}
