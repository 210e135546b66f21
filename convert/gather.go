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

// gather finds out what a plan needs to know: nothing, if the compression stays.
func gather(ctx context.Context, src layout.Source, dst layout.Place, cache *layout.Cache, o Options) (knowledge, error) {
	var known knowledge
	if o.Compression == "" {
		return known, nil
	}
	var err error
	if known.encoding, err = encodings(ctx, src, cache.Root); err != nil {
		return known, err
	}
	if dst == nil {
		return known, nil
	}
	if journal, ok := dst.(layout.Journal); ok {
		if known.recalled, known.forgotten = journal.Recall(ctx); known.forgotten != nil && ctx.Err() != nil {
			return known, context.Cause(ctx)
		}
	}
	if known.held = o.held; known.held == nil {
		entries, err := layout.LenientEntries(ctx, dst)
		if err != nil {
			return known, err
		}
		known.held, err = collect(ctx, dst, entries, o.Compression)
		return known, err
	}
	return known, nil
}

// encodings looks at the bytes of each layer blob: media types don't tell estargz from gzip, and may be wrong.
func encodings(ctx context.Context, src layout.Source, root *buildcache.Root) (map[digest.Digest]compress.Encoding, error) {
	found := map[digest.Digest]compress.Encoding{}
	for _, layer := range root.LayersByDigest() {
		if layer.MediaType == buildcache.MediaTypeConfig {
			continue
		}
		encoding, err := detect(ctx, sourceOf(src, layer), layer)
		if err != nil {
			return nil, err
		}
		found[layer.Digest] = encoding
	}
	return found, nil
}

// detect tells how a blob is encoded. Without random access it goes by the descriptor, for estargz by the annotation; the bytes
// are checked when they are read.
func detect(ctx context.Context, src layout.Source, blob buildcache.Descriptor) (encoding compress.Encoding, err error) {
	files, ok := src.(layout.RandomAccess)
	if !ok {
		return assume(blob), nil
	}
	file, err := files.OpenAt(ctx, blob)
	if err != nil {
		return encoding, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if file.Size() != blob.Size {
		return encoding, &layout.BlobError{
			Digest: blob.Digest, Place: src.String(),
			Err: fmt.Errorf("%w: want %d bytes, got %d", layout.ErrBlobSize, blob.Size, file.Size()),
		}
	}
	return compress.Detect(file, blob.Size)
}

// assume tells from its descriptor how a blob is encoded.
func assume(blob buildcache.Descriptor) compress.Encoding {
	if _, ok := blob.Annotations[buildcache.AnnotationTOCDigest]; ok {
		return compress.Encoding{Compression: buildcache.Estargz}
	}
	said, _ := buildcache.LayerCompression(blob.MediaType)
	return compress.Encoding{Compression: said}
}
