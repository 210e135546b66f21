package convert

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// sourceOf returns where to read a blob: in the place, or where it would come from.
func (r *repairer) sourceOf(blob digest.Digest) layout.Source {
	if base := r.based[blob]; base != nil {
		return base
	}
	return r.place
}

// rootFromBase returns an entry's root as a base has it, and copies it from there; nil if none has it. The size that the place states
// may be as wrong as the bytes.
func (r *repairer) rootFromBase(ctx context.Context, entry layout.Entry) (*layout.Entry, error) {
	if entry.Descriptor.Digest == "" {
		return nil, nil
	}
	for _, base := range r.o.Base {
		root, err := layout.FindDigest(ctx, base, entry.Descriptor.Digest)
		var none *layout.NotFoundError
		if errors.As(err, &none) || isBroken(err) || err == nil && root.Kind != layout.KindCache {
			continue
		}
		if err != nil {
			return nil, err
		}
		root.Tag = entry.Tag
		return &root, r.copy(ctx, base, root.Descriptor)
	}
	return nil, nil
}

// fromBase reports whether a base has a blob, and copies it from there.
func (r *repairer) fromBase(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	base, err := r.baseOf(ctx, blob)
	if err != nil || base == nil {
		return false, err
	}
	for range readTries {
		if err = r.copy(ctx, base, blob); !isBroken(err) {
			return err == nil, err
		}
	}
	return false, nil // the base's is no better
}

// copy copies a blob from a base, or notes that it would come from there.
func (r *repairer) copy(ctx context.Context, base layout.Source, blob buildcache.Descriptor) error {
	if !r.o.Write {
		r.based[blob.Digest] = base
		return nil
	}
	return r.o.OnEvent.Track("copy", blob.Digest, blob.Size, func(done func(int64)) error {
		return r.place.Put(ctx, blob, layout.Counted(ctx, func() (io.ReadCloser, error) { return base.Open(ctx, blob) }, done))
	})
}

func (r *repairer) baseOf(ctx context.Context, blob buildcache.Descriptor) (layout.Source, error) {
	for _, base := range r.o.Base {
		if has, err := base.Has(ctx, blob); err != nil || has {
			return base, err
		}
	}
	return nil, nil
}

// configFromBase returns the config as a base has it, and copies it from there. It returns nil if that does not help: if no base has it,
// or if a registry keeps a damaged one.
func (r *repairer) configFromBase(ctx context.Context, config buildcache.Descriptor, kind buildcache.Kind) ([]byte, error) {
	base, err := r.baseOf(ctx, config)
	if err != nil {
		return nil, err
	}
	if _, near := r.place.(layout.RandomAccess); base != nil && !near && kind == buildcache.ConfigDamaged {
		r.leave(kind, "config", config.Digest, "a base has the cache config, but the damaged blob there won't be replaced until an administrator deletes it")
		return nil, nil
	}
	found, err := r.fromBase(ctx, config)
	if err != nil {
		return nil, err
	}
	if !found {
		r.leave(kind, "config", config.Digest, "no base has the cache config, and nothing can replace it")
		return nil, nil
	}
	raw, err := layout.ReadBlob(ctx, base, config, buildcache.MaxConfig)
	if err == nil {
		r.note(kind, config.Digest, "the cache config is taken from a base")
	}
	return raw, err
}
