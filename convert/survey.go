package convert

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// survey finds out what a plan needs to know. Where compression stays nothing is looked at.
func survey(ctx context.Context, src layout.Source, dst layout.Place, cache *layout.Cache, o Options) (knowledge, error) {
	var known knowledge
	if o.Compression == "" {
		return known, nil
	}
	var err error
	if known.packing, err = packings(ctx, src, cache.Manifest); err != nil {
		return known, err
	}
	if dst == nil {
		return known, nil
	}
	if memory, ok := dst.(layout.Memory); ok {
		if known.recalled, err = memory.Recall(ctx); err != nil {
			return known, fmt.Errorf("%v: read journal: %w", dst, err)
		}
	}
	if known.held = o.Holdings; known.held == nil {
		known.held, err = Collect(ctx, dst, o.Compression)
	}
	return known, err
}

// packings looks at the bytes of each layer blob: media types do not tell estargz from gzip, and may be wrong.
func packings(ctx context.Context, src layout.Source, root *buildcache.Root) (map[digest.Digest]compress.Packing, error) {
	found := map[digest.Digest]compress.Packing{}
	for _, layer := range root.LayersByDigest() {
		if layer.MediaType == buildcache.MediaTypeConfig {
			continue
		}
		packing, err := Detect(ctx, src, layer)
		if err != nil {
			return nil, err
		}
		found[layer.Digest] = packing
	}
	return found, nil
}

// Detect tells how a blob of a place is packed. Where a place has no random access it goes by the descriptor, and the
// bytes are looked at when they are read: estargz is told by its annotation then.
func Detect(ctx context.Context, src layout.Source, blob buildcache.Descriptor) (packing compress.Packing, err error) {
	files, ok := src.(layout.RandomAccess)
	if !ok {
		return assume(blob), nil
	}
	file, err := files.OpenAt(ctx, blob)
	if err != nil {
		return packing, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if file.Size() != blob.Size {
		return packing, &layout.BlobError{
			Digest: blob.Digest, Place: fmt.Sprint(src),
			Err: fmt.Errorf("%w: want %d bytes, got %d", layout.ErrBlobSize, blob.Size, file.Size()),
		}
	}
	return compress.Detect(file, blob.Size)
}

// assume tells how a blob is packed by what its descriptor says.
func assume(blob buildcache.Descriptor) compress.Packing {
	if _, ok := blob.Annotations[buildcache.AnnotationTOCDigest]; ok {
		return compress.Packing{Compression: buildcache.Estargz}
	}
	said, _ := buildcache.LayerCompression(blob.MediaType)
	return compress.Packing{Compression: said}
}

// Holdings are the layers that the caches of a place hold in one compression, by diffID. Whoever converts several
// caches to one place collects them once.
type Holdings map[digest.Digest]buildcache.Blob

// Collect returns what the tagged roots of a place hold in compression c. Roots that can't be read are no help, and no
// hindrance either. Estargz is never held: its diffID is not that of the tar inside.
func Collect(ctx context.Context, place layout.Source, c buildcache.Compression) (Holdings, error) {
	held := Holdings{}
	if c == buildcache.Estargz || c == "" {
		return held, nil
	}
	found, err := layout.Survey(ctx, place)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		if f.Kind != layout.KindCache {
			continue
		}
		raw, err := layout.ReadBlob(ctx, place, f.Root, buildcache.MaxRoot)
		if ctx.Err() != nil {
			return nil, err
		}
		root, parseErr := buildcache.ParseRoot(raw)
		if err != nil || parseErr != nil {
			continue
		}
		held.add(ctx, place, root, c)
	}
	return held, nil
}

// add adds the layers of one root.
func (h Holdings) add(ctx context.Context, place layout.Source, root *buildcache.Root, c buildcache.Compression) {
	for _, layer := range root.LayersByDigest() {
		said, ok := buildcache.LayerCompression(layer.MediaType)
		if !ok || said != c || buildcache.CheckDigest(layer.DiffID()) != nil {
			continue
		}
		packing, err := Detect(ctx, place, layer)
		if err != nil || packing.Compression != c {
			continue
		}
		blob := buildcache.Blob{Digest: layer.Digest, Size: layer.Size, Compression: c, DiffID: layer.DiffID()}
		if other, ok := h[blob.DiffID]; !ok || better(blob, other) {
			h[blob.DiffID] = blob
		}
	}
}

// learn adds the layers of a result, for the caches that come after it.
func (h Holdings) learn(result *Result, c buildcache.Compression) {
	if c == "" || c == buildcache.Estargz {
		return
	}
	for _, layer := range result.Layers {
		if layer.ToCompression != c || layer.DiffID == "" {
			continue
		}
		if _, ok := h[layer.DiffID]; !ok {
			h[layer.DiffID] = buildcache.Blob{Digest: layer.To, Size: layer.ToSize, Compression: c, DiffID: layer.DiffID}
		}
	}
}

// better chooses between two blobs of one diffID, so that the choice does not depend on any order.
func better(a, b buildcache.Blob) bool {
	return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.Digest, b.Digest)) < 0
}
