package compress_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"strings"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
)

// A layer is packed, recognised by its bytes, and unpacked again.
func Example() {
	var packed bytes.Buffer
	if _, err := compress.Pack(&packed, strings.NewReader("a tar, in truth"), buildcache.Zstd, 19); err != nil {
		log.Fatal(err)
	}
	packing, err := compress.Detect(bytes.NewReader(packed.Bytes()), int64(packed.Len()))
	if err != nil {
		log.Fatal(err)
	}
	var full bytes.Buffer // for estargz it gets more than the tar
	r, err := compress.UnpackTar(&packed, packing, &full)
	if err != nil {
		log.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		log.Fatal(err)
	}
	if err := r.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(packing.Compression, string(data), bytes.Equal(data, full.Bytes()))
	// Output: zstd a tar, in truth true
}
