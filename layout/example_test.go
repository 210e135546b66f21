package layout_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ocicache/ocicache/layout"
)

// A cache is copied to another layout: layers first, then config and root, and the tag as the last thing.
func Example() {
	ctx := context.Background()
	parent, err := os.MkdirTemp("", "layout-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(parent)

	src, err := layout.Open("../testdata/caches/artifact-gzip", layout.Options{})
	if err != nil {
		panic(err)
	}
	entry, err := layout.One(ctx, src, "") // "latest", or the only one
	if err != nil {
		panic(err)
	}
	cache, err := layout.Load(ctx, src, entry)
	if err != nil {
		panic(err)
	}

	dst, err := layout.Create(ctx, filepath.Join(parent, "copy"), layout.Options{})
	if err != nil {
		panic(err)
	}
	unlock, err := dst.Lock(ctx) // nobody deletes what is not tagged yet
	if err != nil {
		panic(err)
	}
	for _, blob := range append(cache.Manifest.Layers, cache.Manifest.Config, cache.Root) {
		err := dst.Put(ctx, blob, func() (io.ReadCloser, error) { return src.Open(ctx, blob) })
		if err != nil {
			panic(err) // among others, where the bytes are not those of the digest
		}
	}
	fmt.Println(dst.Tag(ctx, "copy", cache.Root, ""))
	fmt.Println(unlock())

	copied, err := layout.One(ctx, dst, "copy")
	fmt.Println(copied.Root.Digest == entry.Root.Digest, err)

	_, err = layout.One(ctx, dst, "main")
	var notFound *layout.NotFoundError
	fmt.Println(errors.As(err, &notFound), notFound.Tags)
	// Output:
	// <nil>
	// <nil>
	// true <nil>
	// true [copy]
}

func ExampleParseReference() {
	for _, text := range []string{"./cache:v1", "oci:./cache:v1", "docker://registry.example.com/team/cache:v1"} {
		ref, err := layout.ParseReference(text)
		fmt.Printf("%-4s %s %q %v\n", ref.Transport, ref.Path, ref.Tag, err)
	}
	// Output:
	// path ./cache:v1 "" <nil>
	// oci  ./cache "v1" <nil>
	// docker registry.example.com/team/cache:v1 "" <nil>
}
