package convert_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// A registry that refuses BuildKit's cache lists takes the same cache as an artifact.
func Example() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	ctx := context.Background()
	src, err := layout.Open("../testdata/caches/docker-list-gzip", layout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	dst, err := layout.Create(ctx, filepath.Join(dir, "cache"), layout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := layout.One(ctx, src, "latest")
	if err != nil {
		log.Fatal(err)
	}
	result, err := convert.Convert(ctx, src, cache, dst, cache.Tag, convert.Options{
		Form: buildcache.Artifact, Compression: buildcache.Zstd,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.From.Form, "to", result.To.Form)
	fmt.Println(len(result.Layers), "layers,", result.Layers[0].FromCompression, "to", result.Layers[0].ToCompression)
	fmt.Println(result.Tag, "is", result.To.MediaType)
	// Output:
	// docker-list to artifact
	// 14 layers, gzip to zstd
	// latest is application/vnd.oci.image.manifest.v1+json
}
