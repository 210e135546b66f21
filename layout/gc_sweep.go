package layout

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// forgetKept drops from the caches said to be removed those whose roots were kept.
func (c *collector) forgetKept() {
	c.result.Unnamed = slices.DeleteFunc(c.result.Unnamed, func(u UnnamedCache) bool { return !slices.Contains(c.result.Blobs, u.Digest) })
}

// sweepAll removes the blobs that are not reached. It fails with errIndexChanged if index.json has changed since it was read.
func (c *collector) sweepAll(ctx context.Context, reached map[digest.Digest]bool) error {
	spared, err := c.spare(ctx, reached)
	if err != nil {
		return err
	}
	for _, s := range c.stores {
		if err := c.sweep(ctx, s, reached, spared); err != nil {
			return err
		}
	}
	return c.checkIndex()
}

// sweep removes the blobs of one algorithm that are neither reached nor spared.
func (c *collector) sweep(ctx context.Context, s *store, reached, spared map[digest.Digest]bool) error {
	var gone []digest.Digest
	for blob, item := range s.blobs {
		switch {
		case reached[blob]:
			c.result.Kept.add(item.Size)
		case item.Type != 0:
			c.result.Strange = append(c.result.Strange, strings.Join([]string{blobsName, s.algorithm.String(), item.Name}, "/"))
		case spared[blob]:
			c.result.Young.add(item.Size)
		default:
			gone = append(gone, blob)
		}
	}
	slices.Sort(gone)
	slices.Sort(c.result.Strange)
	if err := c.noteCaches(ctx, s, gone); err != nil {
		return err
	}
	err := c.remove(ctx, s, gone)
	if c.o.DryRun || len(gone) == 0 {
		return err
	}
	return errors.Join(err, s.dir.Sync())
}

// remove removes blobs, each only if index.json hasn't changed.
func (c *collector) remove(ctx context.Context, s *store, blobs []digest.Digest) error {
	for _, blob := range blobs {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := c.checkIndex(); err != nil {
			return err
		}
		bytes := s.blobs[blob].Size
		if !c.o.DryRun {
			if err := s.dir.Remove(blob.Encoded()); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return c.dir.blobError(buildcache.Descriptor{Digest: blob}, err)
			}
			delete(s.blobs, blob)
		}
		c.result.Removed.add(bytes)
		c.result.Blobs = append(c.result.Blobs, blob)
	}
	return nil
}

// noteCaches notes the whole caches whose roots are about to be removed.
func (c *collector) noteCaches(ctx context.Context, s *store, gone []digest.Digest) error {
	blobs := make([]buildcache.Descriptor, len(gone))
	for i, blob := range gone {
		blobs[i] = buildcache.Descriptor{Digest: blob, Size: s.blobs[blob].Size}
	}
	caches, err := c.dir.cachesAmong(ctx, blobs)
	if errors.Is(err, fs.ErrPermission) {
		return nil // unreadable blobs can't be described, but may still be removed
	}
	for _, cache := range caches {
		if cache.Whole {
			c.result.Unnamed = append(c.result.Unnamed, cache)
		}
	}
	return err
}
