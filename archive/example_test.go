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
		cache, err := layout.OneCache(ctx, near, "latest")
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

// A receipt lists what a place has been seen to hold. It goes back over the gap, and the next archive leaves that out.
func ExampleNewReceipt() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx := context.Background()

	far, err := layout.Open("../testdata/caches/artifact-gzip", layout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	receipt, notes, err := archive.NewReceipt(ctx, far, nil, 0) // with nothing unpacked before, everything is read
	if err != nil {
		log.Fatal(err)
	}
	file := filepath.Join(dir, "far.receipt")
	if err := archive.WriteReceipt(ctx, file, receipt, layout.Options{}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(receipt.Blobs), "blobs,", len(notes), "notes")

	near, err := layout.Open("../testdata/caches/stale-blobs", layout.Options{})
	if err != nil {
		log.Fatal(err)
	}
	cache, err := layout.OneCache(ctx, near, "latest")
	if err != nil {
		log.Fatal(err)
	}
	back, err := archive.ReadReceipt(file) // which notices if it was changed
	if err != nil {
		log.Fatal(err)
	}
	packed, err := archive.Pack(ctx, []archive.Chosen{{Source: near, Entry: cache}}, archive.Target{File: filepath.Join(dir, "next.tar")},
		archive.PackOptions{Have: []archive.Holder{archive.HeldList(back.Blobs)}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(packed.Packed.Blobs, "blobs packed,", packed.Required.Blobs, "left out")
	// Output:
	// 16 blobs, 0 notes
	// 5 blobs packed, 12 left out
}
