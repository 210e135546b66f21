package compress_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
)

// corpus is where the caches lie that BuildKit itself exported.
const corpus = "../../testdata/caches"

// corpusLayer is a layer blob of the corpus.
type corpusLayer struct {
	Cache string
	buildcache.Descriptor
	Raw []byte
}

// corpusLayers returns every layer of every cache in the corpus, each blob once a cache.
func corpusLayers(tb testing.TB) []corpusLayer {
	tb.Helper()
	var all []corpusLayer
	blobs, err := filepath.Glob(filepath.Join(corpus, "*", "blobs", "sha256", "*"))
	if err != nil {
		tb.Fatal(err)
	}
	for _, path := range blobs {
		root, err := buildcache.ParseRoot(readFile(tb, path))
		if err != nil {
			continue
		}
		dir := filepath.Dir(path)
		for _, layer := range root.LayersByDigest() {
			cache := filepath.Base(filepath.Dir(filepath.Dir(dir)))
			all = append(all, corpusLayer{cache, layer, readFile(tb, filepath.Join(dir, layer.Digest.Encoded()))})
		}
	}
	if len(all) < 500 {
		tb.Fatalf("the corpus has %d layers, which can't be all", len(all))
	}
	return all
}

func readFile(tb testing.TB, path string) []byte {
	tb.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

// noise returns bytes that can't be compressed, always the same.
func noise(size int) []byte {
	random := rand.NewChaCha8([32]byte{1})
	data := make([]byte, size)
	_, _ = random.Read(data) // never fails
	return data
}

// makeTar returns a tar with the files, in their order: name, content, name, content.
func makeTar(tb testing.TB, files ...string) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := 0; i < len(files); i += 2 {
		header := &tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(header); err != nil {
			tb.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// smallTar is a tar that encodes into a few hundred bytes.
func smallTar(tb testing.TB) []byte {
	tb.Helper()
	return makeTar(tb, "etc/hostname", "ocicache\n", "etc/motd", strings.Repeat("hello ", 20))
}

// largeTar is a tar of some 1.5 MiB, most of which can be compressed.
func largeTar(tb testing.TB) []byte {
	tb.Helper()
	var text strings.Builder
	for i := range 25000 {
		fmt.Fprintf(&text, "line %d of a file with some sense in it\n", i*i)
	}
	return makeTar(tb, "noise", string(noise(1<<19)), "text", text.String(), "empty", "", "small", "x")
}

func encode(tb testing.TB, data []byte, c buildcache.Compression, level int) ([]byte, compress.Encoded) {
	tb.Helper()
	var out bytes.Buffer
	encoded, err := compress.Encode(&out, bytes.NewReader(data), c, level)
	if err != nil {
		tb.Fatalf("encode %s, level %d: %v", c, level, err)
	}
	return out.Bytes(), encoded
}

// decode returns everything that is encoded in raw.
func decode(raw io.Reader, c buildcache.Compression) ([]byte, error) {
	r, err := compress.NewDecoder().Decode(context.Background(), raw, c)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if closeErr := r.Close(); err == nil {
		err = closeErr
	}
	return data, err
}

// decodeTar returns the tar that is encoded in raw, and everything.
func decodeTar(raw io.Reader, p compress.Encoding) (data, full []byte, err error) {
	var all bytes.Buffer
	r, err := compress.NewDecoder().DecodeTar(context.Background(), raw, p, &all)
	if err != nil {
		return nil, nil, err
	}
	data, err = io.ReadAll(r)
	if closeErr := r.Close(); err == nil {
		err = closeErr
	}
	return data, all.Bytes(), err
}

func detect(tb testing.TB, raw []byte) compress.Encoding {
	tb.Helper()
	encoding, err := compress.Detect(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		tb.Fatal(err)
	}
	return encoding
}

func sum(data []byte) digest.Digest { return digest.FromBytes(data) }
