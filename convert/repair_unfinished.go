package convert

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// UnfinishedError says that a tag would go to a root only because it is the newest unnamed one in a place, but blobs of it are missing.
// Tags come last, so this is how an interrupted command or export leaves a cache, and what needs the blobs would be dropped.
type UnfinishedError struct {
	Place   string
	Root    digest.Digest
	Missing int // blobs that are neither there nor in a base
}

func (e *UnfinishedError) Error() string {
	return fmt.Sprintf("%s: no tag names the root %s, and blobs of it are missing (%d), as interrupted work leaves a cache: nothing was mended", e.Place, e.Root, e.Missing)
}

// checkFinished fails with an *UnfinishedError if a root that nobody asked for is really to be tagged, and blobs of it are missing.
func (o RepairOptions) checkFinished(ctx context.Context, place layout.Source, root digest.Digest) error {
	dir, ok := place.(interface {
		UnnamedCaches(ctx context.Context) ([]layout.UnnamedCache, error)
	})
	if !ok || !o.Write || o.Root != "" {
		return nil
	}
	caches, err := dir.UnnamedCaches(ctx)
	if err != nil {
		return err
	}
	e := &UnfinishedError{Place: place.String(), Root: root}
	for _, cache := range caches {
		if cache.Digest != root || cache.Missing == 0 {
			continue
		}
		for _, blob := range append(cache.Layers(), cache.Config()) {
			if buildcache.CheckDigest(blob.Digest) != nil {
				continue // nothing can supply it
			}
			has, err := hasAny(ctx, append([]layout.Source{place}, o.Base...), blob)
			if err != nil {
				return err
			}
			if !has {
				e.Missing++
			}
		}
	}
	if e.Missing == 0 {
		return nil
	}
	return e
}

// hasAny reports whether one of some places has a blob.
func hasAny(ctx context.Context, places []layout.Source, blob buildcache.Descriptor) (bool, error) {
	for _, place := range places {
		if has, err := place.Has(ctx, blob); has || err != nil {
			return has, err
		}
	}
	return false, nil
}
