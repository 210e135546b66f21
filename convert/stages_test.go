package convert_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// oneLayer returns a layout with one gzip layer of the given size before encoding.
func oneLayer(b *testing.B, size int) (*layout.Dir, buildcache.Descriptor) {
	b.Helper()
	s := newSynthetic(b, buildcache.Artifact)
	tar := tarOf(b, 1, size)
	path := filepath.Join(b.TempDir(), "layer")
	file, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	pr, pw := io.Pipe()
	go func() { _ = pw.CloseWithError(errorOf(pw.Write(tar))) }() // always nil
	_, err = compress.Encode(file, pr, buildcache.Gzip, 6)
	if err := errors.Join(err, file.Close()); err != nil {
		b.Fatal(err)
	}
	d, packed := s.blob(readFile(b, path))
	s.layer(d, packed, buildcache.Gzip, digest.FromBytes(tar))
	return s.tag(), s.root.Layers[0]
}

// serial does to one layer what a conversion does, one step after the other for each piece of it.
func serial(ctx context.Context, src *layout.Dir, dst *layout.Dir, layer buildcache.Descriptor) error {
	_, err := dst.Ingest(ctx, func(w io.Writer) error {
		raw, err := layout.OpenVerified(ctx, src, layer)
		if err != nil {
			return err
		}
		diffID := sha256.New()
		tar, err := compress.NewDecoder().DecodeTar(ctx, raw, compress.Encoding{Compression: buildcache.Gzip}, diffID)
		if err != nil {
			return errors.Join(err, raw.Close())
		}
		_, err = compress.Encode(w, tar, buildcache.Zstd, 0)
		if err == nil && digest.NewDigest(digest.SHA256, diffID) != layer.DiffID() {
			err = errors.New("wrong diffID")
		}
		return errors.Join(err, tar.Close(), raw.Close())
	})
	return err
}

// BenchmarkOneLayer recompresses one layer, for which more jobs are no help, by stages that run side by side and without
// them.
func BenchmarkOneLayer(b *testing.B) {
	const size = 256 << 20
	src, layer := oneLayer(b, size)
	for _, bb := range []struct {
		name string
		do   func(b *testing.B, dst *layout.Dir) error
	}{
		{"serial", func(b *testing.B, dst *layout.Dir) error { b.Helper(); return serial(b.Context(), src, dst, layer) }},
		{"staged", func(b *testing.B, dst *layout.Dir) error {
			b.Helper()
			_, err := convert.Convert(b.Context(), src, layouttest.Entry(b, src, ""), dst, "latest", convert.Options{Compression: buildcache.Zstd, Jobs: 1})
			return err
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				if err := bb.do(b, layouttest.Create(b)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
