package convert

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
)

// unnamed returns how many bytes of a cache no entry of its place reaches any more, now that its tag names another. It is 0 if
// that can't be told cheaply, or at all.
func unnamed(ctx context.Context, place layout.Source, old *layout.Cache) int64 {
	if _, ok := place.(layout.RandomAccess); !ok {
		return 0
	}
	reached, err := layout.Reach(ctx, place)
	if err != nil {
		return 0
	}
	sizes := map[digest.Digest]int64{
		old.Entry.Descriptor.Digest: int64(len(old.RawRoot)),
		old.Root.Config.Digest:      int64(len(old.RawConfig)),
	}
	for blob, layer := range old.Root.LayersByDigest() {
		sizes[blob] = layer.Size
	}
	var bytes int64
	for blob, size := range sizes {
		if !reached[blob] {
			bytes += size
		}
	}
	return bytes
}
