package convert

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// assemble makes root and config of the result. What doesn't change keeps its bytes.
func assemble(cache *layout.Cache, p *plan) (*layout.Cache, error) {
	out := &layout.Cache{Root: cache.Root, Config: cache.Config, RawRoot: cache.RawRoot, RawConfig: cache.RawConfig}
	if blobs := p.blobs(); len(blobs) > 0 {
		out.Root, out.Config = buildcache.ReplaceLayers(out.Root, out.Config, blobs)
		raw, err := out.Config.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("write cache config: %w", err)
		}
		if !sameConfig(cache.Config, out.Config) {
			out.RawConfig = raw
			out.Root.SetConfig(raw)
		}
	}
	if p.changed(cache.Root) {
		out.Root = out.Root.WithForm(p.form)
		raw, err := out.Root.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("write root: %w", err)
		}
		out.RawRoot = raw
	}
	out.Entry.Descriptor = buildcache.Descriptor{
		MediaType: out.Root.Form.MediaType(), Digest: digest.FromBytes(out.RawRoot), Size: int64(len(out.RawRoot)),
	}
	return out, nil
}

// sameConfig reports whether all layers kept their blobs, so that the config can keep its bytes.
func sameConfig(a, b *buildcache.Config) bool {
	for i := range a.Layers {
		if a.Layers[i].Blob != b.Layers[i].Blob {
			return false
		}
	}
	return true
}

// store stores config and root, and reports whether one of them was not there before.
func (j *job) store(ctx context.Context, converted *layout.Cache) (written bool, err error) {
	for _, part := range []struct {
		what string
		blob buildcache.Descriptor
		raw  []byte
	}{
		{"cache config", converted.Root.Config, converted.RawConfig},
		{"root", converted.Entry.Descriptor, converted.RawRoot},
	} {
		open := func() (io.ReadCloser, error) {
			// A place that has the config doesn't open it. Opening a root says nothing: a root is there if the tag names it.
			written = written || !buildcache.IsManifestType(part.blob.MediaType)
			return layout.OpenBytes(part.raw)()
		}
		if err := j.dst.Put(ctx, part.blob, open); err != nil {
			return false, fmt.Errorf("write %s: %w", part.what, err)
		}
	}
	if teller, ok := j.dst.(layout.Teller); ok { // a layout may have a tag whose root is gone
		written = written || teller.Wrote(converted.Entry.Descriptor.Digest)
	}
	return written, nil
}

// publish stores config and root, proves the result and moves the tag.
func (j *job) publish(ctx context.Context, converted *layout.Cache) (*Result, error) {
	written, err := j.store(ctx, converted)
	if err != nil {
		return nil, err
	}
	if err := prove(ctx, j.dst, converted, j.o); err != nil {
		return nil, err
	}
	if err := j.proveStored(ctx, converted); err != nil {
		return nil, err
	}
	if j.o.before != nil {
		if err := j.o.before(ctx); err != nil {
			return nil, err
		}
	}
	if j.was != converted.Entry.Descriptor.Digest {
		if err := j.dst.Tag(ctx, j.tag, converted.Entry.Descriptor, j.was); err != nil {
			return nil, fmt.Errorf("move the tag %q: %w", j.tag, err)
		}
	}
	result := newResult(j)
	result.Tag, result.To = j.tag, describe(converted)
	result.noteWas(j, written)
	result.note(converted, j.o)
	if j.inPlace && j.was != "" && j.was != result.To.Digest && j.was == result.From.Digest {
		result.Unnamed = unnamed(ctx, j.dst, j.cache)
	}
	return result, nil
}
