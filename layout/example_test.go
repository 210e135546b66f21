package layout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
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
	entry, err := layout.OneCache(ctx, src, "") // "latest", or the only one
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
	for _, blob := range append(cache.Root.Layers, cache.Root.Config, cache.Descriptor) {
		err := dst.Put(ctx, blob, func() (io.ReadCloser, error) { return src.Open(ctx, blob) })
		if err != nil {
			panic(err) // among others, where the bytes are not those of the digest
		}
	}
	fmt.Println(dst.Tag(ctx, "copy", cache.Descriptor, ""))
	fmt.Println(unlock())

	copied, err := layout.OneCache(ctx, dst, "copy")
	fmt.Println(copied.Descriptor.Digest == entry.Descriptor.Digest, err)

	_, err = layout.OneCache(ctx, dst, "main")
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
	// docker registry.example.com/team/cache "v1" <nil>
}

// shelf is a place of one's own: blobs in a map. It has no tags; what is a cache is found by its content.
type shelf map[digest.Digest][]byte

func (s shelf) String() string { return "shelf" }

func (s shelf) Entries(ctx context.Context) ([]layout.Entry, error) {
	var entries []layout.Entry
	for blob, raw := range s {
		if root, err := buildcache.ParseRoot(raw); err == nil {
			d := buildcache.Descriptor{MediaType: root.MediaType, Digest: blob, Size: int64(len(raw))}
			entries = append(entries, layout.Entry{Descriptor: d})
		}
	}
	return entries, context.Cause(ctx)
}

func (s shelf) Has(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	raw, ok := s[blob.Digest]
	return ok && int64(len(raw)) == blob.Size, context.Cause(ctx)
}

func (s shelf) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	raw, ok := s[blob.Digest]
	if !ok {
		return nil, &layout.BlobError{Digest: blob.Digest, Place: s.String(), Err: layout.ErrBlobMissing}
	}
	return io.NopCloser(bytes.NewReader(raw)), context.Cause(ctx)
}

// A place of one's own needs four methods to be read by everything that reads caches. Nobody trusts it: whatever comes from
// it is compared with its digest.
func ExampleSource() {
	ctx := context.Background()
	dir, err := layout.Open("../testdata/caches/artifact-gzip", layout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	blobs, err := dir.Blobs(ctx)
	if err != nil {
		log.Fatal(err)
	}
	src := shelf{}
	for _, blob := range blobs {
		if src[blob.Digest], err = layout.ReadBlob(ctx, dir, blob, 1<<20); err != nil {
			log.Fatal(err)
		}
	}

	cache, err := layout.OneCache(ctx, src, "")
	if err != nil {
		log.Fatal(err)
	}
	result, err := convert.Convert(ctx, src, cache, layout.NewMemory("memory"), "main", convert.Options{Form: buildcache.OCIIndex})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.From.Form, "to", result.To.Form, "with", len(result.Layers), "layers")
	// Output: artifact to oci-index with 14 layers
}

// A place in memory takes what any place takes, and holds it to the same rules.
func ExampleNewMemory() {
	ctx := context.Background()
	memory := layout.NewMemory("memory")
	blob := buildcache.Descriptor{Digest: digest.FromString("layer"), Size: int64(len("layer"))}
	err := memory.Put(ctx, blob, layout.OpenBytes([]byte("other")))
	fmt.Println(errors.Is(err, layout.ErrBlobDamaged))
	fmt.Println(memory.Put(ctx, blob, layout.OpenBytes([]byte("layer"))))
	fmt.Println(memory.Has(ctx, blob))

	root := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: blob.Digest, Size: blob.Size}
	fmt.Println(memory.Tag(ctx, "main", root, ""))
	var moved *layout.TagMovedError
	fmt.Println(errors.As(memory.Tag(ctx, "main", root, ""), &moved)) // it is there by now
	// Output:
	// true
	// <nil>
	// true <nil>
	// <nil>
	// true
}
