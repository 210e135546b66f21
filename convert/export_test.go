package convert

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// CompressionOf lets tests see how a blob is told.
func CompressionOf(ctx context.Context, src layout.Source, blob buildcache.Descriptor) (buildcache.Compression, error) {
	encoding, err := detect(ctx, src, blob)
	return encoding.Compression, err
}

// Held lets tests see what a place is said to hold, by diffID.
func Held(ctx context.Context, place layout.Source, c buildcache.Compression) (map[digest.Digest]buildcache.Blob, error) {
	entries, err := place.Entries(ctx)
	if err != nil {
		return nil, err
	}
	h, err := collect(ctx, place, entries, c)
	if err != nil {
		return nil, err
	}
	return h.blobs, nil
}
