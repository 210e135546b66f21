package convert

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// EstargzError says that a layer can't be made estargz. BuildKit extracts its files, and the other compressions hold it.
type EstargzError struct {
	Blob digest.Digest
	Err  error
}

func (e *EstargzError) Error() string { return e.Err.Error() } // whoever recompresses names the layer

// Unwrap returns what estargz can't hold.
func (e *EstargzError) Unwrap() error { return e.Err }

// EmptyTarError says that a layer of no files has not even the end of a tar, so that uncompressed it would be a blob of 0 bytes, which
// BuildKit refuses to read.
type EmptyTarError struct{ Blob digest.Digest }

func (e *EmptyTarError) Error() string {
	return fmt.Sprintf("layer %s: uncompressed it has 0 bytes, and BuildKit reads no blob of 0 bytes", e.Blob)
}

// checkEmpty fails with an *EmptyTarError if a layer can't be uncompressed.
func checkEmpty(cache *layout.Cache, o Options) error {
	if o.Compression != buildcache.Uncompressed {
		return nil
	}
	for _, layer := range cache.Root.LayersByDigest() {
		if layer.DiffID() == digest.FromBytes(nil) && layer.Size > 0 {
			return &EmptyTarError{Blob: layer.Digest}
		}
	}
	return nil
}
