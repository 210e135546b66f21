package archive_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/layout"
)

// A cache crosses a gap as a whole; what changed since crosses without what has arrived.
func Example() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx := context.Background()
	far, err := layout.Create(ctx, filepath.Join(dir, "far"), layout.Options{})
	if err != nil {
		log.Fatal(err)
	}

	var arrived []archive.Holder
	for day, name := range []string{"artifact-gzip", "stale-blobs"} {
		near, err := layout.Open("../testdata/caches/"+name, layout.Options{})
		if err != nil {
			log.Fatal(err)
		}
		cache, err := layout.One(ctx, near, "latest")
		if err != nil {
			log.Fatal(err)
		}
		file := filepath.Join(dir, fmt.Sprint(day, ".tar"))
		packed, err := archive.Pack(ctx, []archive.Chosen{{Source: near, Entry: cache}}, archive.Target{File: file},
			archive.PackOptions{Have: arrived})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(packed.Packed.Blobs, "blobs packed,", packed.Required.Blobs, "left out")

		opened, err := archive.Open(ctx, []string{file}, archive.OpenOptions{})
		if err != nil {
			log.Fatal(err)
		}
		unpacked, err := archive.Unpack(ctx, opened, far, archive.UnpackOptions{})
		if err != nil {
			log.Fatal(err)
		}
		if err := opened.Close(); err != nil {
			log.Fatal(err)
		}
		fmt.Println(unpacked.Written.Blobs, "blobs written,", unpacked.Present.Blobs, "there already")
		arrived = []archive.Holder{archive.HeldBy(far)}
	}
	// Output:
	// 16 blobs packed, 0 left out
	// 16 blobs written, 0 there already
	// 5 blobs packed, 12 left out
	// 5 blobs written, 12 there already
}
