package compress_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"strings"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
)

// A layer is encoded, recognised by its bytes, and decoded again.
func Example() {
	var encoded bytes.Buffer
	if _, err := compress.Encode(&encoded, strings.NewReader("a tar, in truth"), buildcache.Zstd, 19); err != nil {
		log.Fatal(err)
	}
	encoding, err := compress.Detect(bytes.NewReader(encoded.Bytes()), int64(encoded.Len()))
	if err != nil {
		log.Fatal(err)
	}
	var full bytes.Buffer // for estargz it gets more than the tar
	r, err := compress.NewDecoder().DecodeTar(context.Background(), &encoded, encoding, &full)
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
	fmt.Println(encoding.Compression, string(data), bytes.Equal(data, full.Bytes()))
	// Output: zstd a tar, in truth true
}
