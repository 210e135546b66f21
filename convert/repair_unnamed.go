package convert

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// WholeUnnamed returns the caches of a directory that no tag names after caches were repaired, or would be, and that are whole,
// including the bytes of their layers. Caches that were replaced by a repaired one are left out.
func WholeUnnamed(ctx context.Context, dir *layout.Dir, repaired []*RepairResult, o RepairOptions) ([]layout.UnnamedCache, error) {
	caches, err := dir.UnnamedCaches(ctx)
	if err != nil {
		return nil, err
	}
	mended, known := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	for _, result := range repaired {
		mended[result.From] = mended[result.From] || result.To != result.From
		maps.Copy(known, result.sound)
	}
	caches = slices.DeleteFunc(caches, func(c layout.UnnamedCache) bool { return !c.Whole || mended[c.Digest] })
	sound, err := soundLayers(ctx, dir, caches, known, o)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(caches, func(c layout.UnnamedCache) bool {
		return slices.ContainsFunc(c.Layers(), func(layer buildcache.Descriptor) bool { return !sound[layer.Digest] })
	}), nil
}

// soundIn says which layers match their digests in the place.
func soundIn(facts map[digest.Digest]*fact) map[digest.Digest]bool {
	sound := map[digest.Digest]bool{}
	for blob, f := range facts {
		sound[blob] = f.there && !f.based
	}
	return sound
}

// soundLayers reads those layers of caches that are not in known, and says of all whether they match their digests.
func soundLayers(
	ctx context.Context, dir *layout.Dir, caches []layout.UnnamedCache, known map[digest.Digest]bool, o RepairOptions,
) (map[digest.Digest]bool, error) {
	o.decoder = compress.NewDecoder()
	r := &repairer{place: dir, o: o}
	var mu sync.Mutex
	sound, begun := maps.Clone(known), map[digest.Digest]bool{}
	group, ctx := parallel.New(ctx, Options{}.jobs())
	for _, cache := range caches {
		for _, layer := range cache.Layers() {
			if _, ok := known[layer.Digest]; ok || begun[layer.Digest] {
				continue
			}
			begun[layer.Digest] = true
			group.Go(func() error {
				_, err := r.weigh(ctx, dir, layer)
				mu.Lock()
				defer mu.Unlock()
				sound[layer.Digest] = err == nil
				if isBroken(err) {
					return nil
				}
				return err
			})
		}
	}
	err := group.Wait()
	return sound, err
}
