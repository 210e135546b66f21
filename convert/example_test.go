package convert_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

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
	cache, err := layout.OneCache(ctx, src, "latest")
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

// Whoever wants to show progress gives a handler. It is called from several goroutines at once.
func ExampleConvert_progress() {
	ctx := context.Background()
	src, err := layout.Open("../testdata/caches/artifact-gzip", layout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := layout.OneCache(ctx, src, "latest")
	if err != nil {
		log.Fatal(err)
	}
	var planned, done, layers atomic.Int64
	_, err = convert.Convert(ctx, src, cache, layout.NewMemory("memory"), cache.Tag, convert.Options{
		OnEvent: func(e layout.Event) {
			switch e.Kind {
			case layout.EventPlan:
				planned.Add(e.Total)
			case layout.EventBytes:
				done.Add(e.Bytes)
			case layout.EventDone:
				layers.Add(1)
			case layout.EventStart, layout.EventRetry:
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(layers.Load(), "layers:", done.Load(), "of", planned.Load(), "bytes")
	// Output: 14 layers: 91454 of 91454 bytes
}

// Sync brings over what its filter chooses, and goes on after a cache that fails. Err says which ones did.
func ExampleSync() {
	ctx := context.Background()
	corpus, err := layout.Open("../testdata/caches/multi-tag", layout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	near, far := layout.NewMemory("near"), layout.NewMemory("far")
	if _, err := convert.Sync(ctx, corpus, near, convert.SyncOptions{}); err != nil {
		log.Fatal(err)
	}
	lost := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: digest.FromString("lost"), Size: 4}
	if err := near.Tag(ctx, "v3", lost, ""); err != nil {
		log.Fatal(err)
	}

	result, err := convert.Sync(ctx, near, far, convert.SyncOptions{
		Options: convert.Options{Form: buildcache.Artifact},
		Match:   func(tag string) bool { return tag != "v1" },
	})
	if err != nil {
		log.Fatal(err) // it could not even begin, or was interrupted
	}
	for _, cache := range result.Caches {
		fmt.Println(cache.From, "failed:", cache.Err != nil)
	}
	var failed *convert.SyncError
	var dangling *layout.DanglingError
	if err := result.Err(); errors.As(err, &failed) && errors.As(err, &dangling) {
		fmt.Println(failed.Failed, "of", failed.Of, "failed:", dangling.Tag, "names nothing")
	}
	// Output:
	// v2 failed: false
	// v3 failed: true
	// 1 of 2 failed: v3 names nothing
}
