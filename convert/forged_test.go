package convert_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// TestRecompressForgedEstargz has a layer whose estargz footer points into a file. It is gzip like any other: nothing of
// it may get lost.
func TestRecompressForgedEstargz(t *testing.T) {
	t.Parallel()
	content := tarOf(t, 1, 4<<10)
	first := content[:len(content)-3<<10] // ends within the file
	inner := tarFile(t, estargz.TOCTarName, "{}")
	data := slices.Concat(first, inner, make([]byte, len(content)-len(first)-len(inner)))
	head := gzipBytes(t, first)
	raw := slices.Concat(head, gzipBytes(t, data[len(first):]), estargzFooter(len(head)))

	for _, o := range []convert.Options{toZstd, toEstargz, {Compression: buildcache.Uncompressed}} {
		s := newSynthetic(t, buildcache.Artifact)
		d, size := s.blob(raw)
		s.layer(d, size, buildcache.Gzip, digest.FromBytes(data))
		src := s.tag()
		result := run(t, src, src, o)
		wantClean(t, src, "latest")
		if o.Compression != buildcache.Uncompressed {
			continue
		}
		got, err := layout.ReadBlob(t.Context(), src, buildcache.Descriptor{Digest: result.Layers[0].To, Size: result.Layers[0].ToSize}, 1<<20)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
		}
	}
}

// tarFile returns a tar of one file.
func tarFile(tb testing.TB, name, content string) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}
	if err := errors.Join(w.WriteHeader(header), errorOf(w.Write([]byte(content))), w.Close()); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// estargzFooter returns the last member of an estargz blob.
func estargzFooter(toc int) []byte {
	return estargz.CreateGzipFooter(fmt.Appendf(nil, "SG\x16\x00%016xSTARGZ", toc))
}
