package convert

import (
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// fact is what was found out about a layer.
type fact struct {
	buildcache.Descriptor       // as it should be
	there                 bool  // in the place, or in a base
	damaged               bool  // the bytes in the place are wrong
	based                 bool  // it comes from a base
	held                  bool  // a base has it, but the place won't replace its damaged copy
	err                   error // why it can't be unpacked
}

// measureAll finds out the facts about every layer that a root lists.
func (r *repairer) measureAll(ctx context.Context, root *buildcache.Root) (map[digest.Digest]*fact, error) {
	facts := map[digest.Digest]*fact{}
	group, ctx := parallel.New(ctx, Options{}.jobs())
	for blob, layer := range root.LayersByDigest() {
		if layer.MediaType == buildcache.MediaTypeConfig {
			continue
		}
		f := &fact{Descriptor: layer.Clone()}
		facts[blob] = f
		group.Go(func() error { return r.measure(ctx, root.Form, f) })
	}
	return facts, group.Wait()
}

// measure finds out about a layer: whether the place or a base has it, and what its descriptor should say.
func (r *repairer) measure(ctx context.Context, form buildcache.Form, f *fact) error {
	if buildcache.CheckDigest(f.Digest) != nil {
		return nil //nolint:nilerr // then it is nowhere
	}
	src := layout.Source(r.place)
	size, err := r.weigh(ctx, src, f.Descriptor)
	if f.damaged = errors.Is(err, layout.ErrBlobDamaged); err != nil && !f.damaged && !errors.Is(err, layout.ErrBlobMissing) {
		return err
	}
	if err != nil {
		base, err := r.baseOf(ctx, f.Descriptor)
		if err != nil || base == nil {
			return err
		}
		size, err = r.weigh(ctx, base, f.Descriptor)
		switch {
		case isBroken(err):
			return nil // it is no better there
		case err != nil:
			return err
		}
		src, f.based = base, true
		if err := r.bring(ctx, f, size); err != nil || !f.based {
			return err
		}
	}
	f.there, f.Size = true, size
	return r.look(ctx, src, form, f)
}

// bring copies a layer from a base. Registries accept no other bytes for a blob that they have, damaged or not.
func (r *repairer) bring(ctx context.Context, f *fact, size int64) (err error) {
	layer := f.Descriptor
	layer.Size = size
	if _, ok := r.place.(layout.RandomAccess); !ok && f.damaged {
		f.based, f.held = false, true
		return nil
	}
	f.based, err = r.fromBase(ctx, layer)
	return err
}

// weigh reads a layer and returns its size. It fails if the layer is missing, or its bytes don't match its digest. Without Deep, a
// registry is trusted if it has the layer with the expected size.
func (r *repairer) weigh(ctx context.Context, src layout.Source, layer buildcache.Descriptor) (size int64, err error) {
	if _, ok := src.(layout.RandomAccess); !ok && !r.o.Deep {
		if has, err := src.Has(ctx, layer); err != nil || has {
			return layer.Size, err
		}
	}
	for range readTries {
		if size, err = r.read(ctx, src, layer); !errors.Is(err, layout.ErrBlobDamaged) {
			break
		}
	}
	return size, err
}

// read reads a layer to its end, and returns its size.
func (r *repairer) read(ctx context.Context, src layout.Source, layer buildcache.Descriptor) (size int64, err error) {
	err = r.o.OnEvent.Track("verify", layer.Digest, layer.Size, func(done func(int64)) (err error) {
		raw, err := layout.Counted(ctx, func() (io.ReadCloser, error) { return src.Open(ctx, layer) }, done)()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, raw.Close()) }()
		verifier := layer.Digest.Verifier()
		if size, err = io.Copy(verifier, raw); err != nil || verifier.Verified() {
			return err
		}
		return layout.Settled(raw, layout.ErrBlobDamaged)
	})
	var blob *layout.BlobError
	if err != nil && !errors.As(err, &blob) && context.Cause(ctx) == nil {
		err = &layout.BlobError{Digest: layer.Digest, Place: src.String(), Err: err}
	}
	return size, err
}

// look finds out how a layer is compressed, and with Deep, or if its descriptor has no diffID, what is in it.
func (r *repairer) look(ctx context.Context, src layout.Source, form buildcache.Form, f *fact) error {
	_, near := src.(layout.RandomAccess)
	if _, said := buildcache.LayerCompression(f.MediaType); near || !said {
		if _, err := correctLabel(ctx, src, form, f); err != nil {
			return err
		}
	}
	if buildcache.CheckDigest(f.DiffID()) == nil && !r.o.Deep {
		return nil
	}
	sums, err := sumTar(ctx, src, f.Descriptor, r.o.decoder, func(int64) {})
	if isBroken(err) && !near { // where bytes are not looked at before, the media type may be to blame
		other, labelErr := correctLabel(ctx, src, form, f)
		if labelErr != nil {
			return labelErr
		}
		if other {
			sums, err = sumTar(ctx, src, f.Descriptor, r.o.decoder, func(int64) {})
		}
	}
	if isBroken(err) {
		f.there, f.err = false, err
		return nil
	}
	if err != nil {
		return err
	}
	if f.Annotations == nil {
		f.Annotations = map[string]string{}
	}
	f.Annotations[buildcache.AnnotationDiffID] = sums.full.String()
	if said, ok := buildcache.LayerCompression(f.MediaType); !ok || buildcache.LayerMediaType(form, said) != buildcache.LayerMediaType(form, sums.compression) {
		f.MediaType = buildcache.LayerMediaType(form, sums.compression)
	}
	return nil
}

// correctLabel corrects a layer's media type by its bytes, and reports whether it was another.
func correctLabel(ctx context.Context, src layout.Source, form buildcache.Form, f *fact) (bool, error) {
	packed, err := packedAs(ctx, src, f.Descriptor)
	if err != nil {
		return false, err
	}
	right := buildcache.LayerMediaType(form, packed)
	want, _ := buildcache.LayerCompression(right)
	if said, ok := buildcache.LayerCompression(f.MediaType); ok && said == want {
		return false, nil
	}
	f.MediaType = right
	return true, nil
}

// packedAs tells by its bytes how a layer is compressed. Without random access, estargz looks like gzip, whose media type it has.
func packedAs(ctx context.Context, src layout.Source, layer buildcache.Descriptor) (packed buildcache.Compression, err error) {
	if _, near := src.(layout.RandomAccess); near {
		encoding, err := detect(ctx, src, layer)
		return encoding.Compression, err
	}
	raw, err := src.Open(ctx, layer)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	return compress.DetectStream(raw)
}
