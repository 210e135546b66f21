package convert

import (
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
	known.held, err = held(ctx, dst, o.Compression)
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

// Detect tells how a blob of a place is packed.
func Detect(ctx context.Context, src layout.Source, blob buildcache.Descriptor) (packing compress.Packing, err error) {
	files, ok := src.(layout.RandomAccess)
	if !ok {
		return packing, fmt.Errorf("%v: no random access to blobs", src)
	}
	file, err := files.OpenFile(ctx, blob)
	if err != nil {
		return packing, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return packing, err
	}
	if info.Size() != blob.Size {
		return packing, &layout.BlobError{
			Digest: blob.Digest, Place: fmt.Sprint(src),
			Err: fmt.Errorf("%w: want %d bytes, got %d", layout.ErrBlobSize, blob.Size, info.Size()),
		}
	}
	return compress.Detect(file, blob.Size)
}

// held returns the layers that the caches of a place hold in compression c, by diffID. Caches that can't be read are
// no help, and no hindrance either.
func held(ctx context.Context, dst layout.Place, c buildcache.Compression) (map[digest.Digest]buildcache.Blob, error) {
	blobs := map[digest.Digest]buildcache.Blob{}
	if c == buildcache.Estargz {
		return blobs, nil
	}
	found, err := layout.Survey(ctx, dst)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		if f.Kind != layout.KindCache {
			continue
		}
		cache, err := layout.Load(ctx, dst, f.Entry)
		if err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			continue
		}
		for _, layer := range cache.Manifest.LayersByDigest() {
			if blob, ok := holds(ctx, dst, layer, c); ok {
				blobs[blob.DiffID] = smaller(blob, blobs)
			}
		}
	}
	return blobs, nil
}

func holds(ctx context.Context, dst layout.Place, layer buildcache.Descriptor, c buildcache.Compression) (buildcache.Blob, bool) {
	if said, ok := buildcache.LayerCompression(layer.MediaType); !ok || said != c || buildcache.CheckDigest(layer.DiffID()) != nil {
		return buildcache.Blob{}, false
	}
	// Looking at the blob also says whether it is there, with its size.
	packing, err := Detect(ctx, dst, layer)
	if err != nil || packing.Compression != c {
		return buildcache.Blob{}, false
	}
	return buildcache.Blob{Digest: layer.Digest, Size: layer.Size, Compression: c, DiffID: layer.DiffID()}, true
}

// smaller chooses between two blobs of one diffID, so that the choice does not depend on any order.
func smaller(blob buildcache.Blob, blobs map[digest.Digest]buildcache.Blob) buildcache.Blob {
	other, ok := blobs[blob.DiffID]
	if ok && (other.Size < blob.Size || other.Size == blob.Size && other.Digest < blob.Digest) {
		return other
	}
	return blob
}
