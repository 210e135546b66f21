package compress_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
)

func TestDetectHead(t *testing.T) {
	t.Parallel()
	tests := []struct {
		head string
		want buildcache.Compression
	}{
		{"\x1f\x8b\x08\x00", buildcache.Gzip},
		{"\x1f\x8b\x08", buildcache.Gzip},
		{"\x1f\x8b", buildcache.Uncompressed}, // as for BuildKit
		{"\x1f\x8b\x07\x00", buildcache.Uncompressed},
		{"\x1f", buildcache.Uncompressed},
		{"\x8b\x1f\x08\x00", buildcache.Uncompressed},
		{"\x28\xb5\x2f\xfd", buildcache.Zstd},
		{"\x28\xb5\x2f", buildcache.Uncompressed},
		{"\xfd\x2f\xb5\x28", buildcache.Uncompressed},
		{"\x50\x2a\x4d\x18", buildcache.Zstd}, // skippable frames
		{"\x57\x2a\x4d\x18", buildcache.Zstd},
		{"\x5f\x2a\x4d\x18", buildcache.Zstd},
		{"\x4f\x2a\x4d\x18", buildcache.Uncompressed},
		{"\x60\x2a\x4d\x18", buildcache.Uncompressed},
		{"\x50\x2a\x4d", buildcache.Uncompressed},
		{"", buildcache.Uncompressed},
		{"etc/", buildcache.Uncompressed},
		{"\x00\x00\x00\x00", buildcache.Uncompressed},
		{"BZh9", buildcache.Uncompressed},
		{"\xfd7zX", buildcache.Uncompressed},
	}
	for _, tt := range tests {
		if got := compress.DetectHead([]byte(tt.head)); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.head, got, tt.want)
		}
	}
}

// TestDetectCorpus compares what the bytes of BuildKit's layers show with what their descriptors say.
func TestDetectCorpus(t *testing.T) {
	t.Parallel()
	seen := map[buildcache.Compression]int{}
	for _, layer := range corpusLayers(t) {
		want, ok := buildcache.LayerCompression(layer.MediaType)
		if !ok {
			t.Fatalf("%s: %s", layer.Cache, layer.MediaType)
		}
		if layer.Annotations[buildcache.AnnotationTOCDigest] != "" {
			want = buildcache.Estargz // it has no media type of its own
		}
		encoding := detect(t, layer.Raw)
		seen[encoding.Compression]++
		if encoding.Compression != want {
			t.Errorf("%s: %s is %s, want %s", layer.Cache, layer.Digest, encoding.Compression, want)
		}
		if (encoding.TOCOffset > 0) != (want == buildcache.Estargz) {
			t.Errorf("%s: %s has its table of contents at %d", layer.Cache, layer.Digest, encoding.TOCOffset)
		}
		if want != buildcache.Estargz {
			continue
		}
		toc, err := decode(bytes.NewReader(layer.Raw[encoding.TOCOffset:]), buildcache.Gzip)
		if err != nil {
			t.Fatal(err)
		}
		entries := tar.NewReader(bytes.NewReader(toc))
		header, err := entries.Next()
		if err != nil || header.Name != estargz.TOCTarName {
			t.Fatalf("%s: at the offset there is %+v, %v", layer.Digest, header, err)
		}
		content, err := io.ReadAll(entries)
		if want := layer.Annotations[buildcache.AnnotationTOCDigest]; err != nil || digest.FromBytes(content).String() != want {
			t.Errorf("%s: the table's digest is %s, want %s", layer.Digest, digest.FromBytes(content), want)
		}
	}
	for _, c := range buildcache.Compressions() {
		if seen[c] < 10 {
			t.Errorf("the corpus has %d layers of %s, too few to say anything", seen[c], c)
		}
	}
}

// member returns a gzip member with a tar of one file, without the end marker.
func member(tb testing.TB, name, content string) []byte {
	tb.Helper()
	data := makeTar(tb, name, content)
	return gzipped(tb, data[:len(data)-1024], nil)
}

// gzipped returns a gzip member with the data and the extra field.
func gzipped(tb testing.TB, data, extra []byte) []byte {
	tb.Helper()
	level := gzip.DefaultCompression
	if data == nil {
		level = gzip.NoCompression // as footers are
	}
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, level)
	if err != nil {
		tb.Fatal(err)
	}
	w.Extra = extra
	if data != nil {
		if _, err := w.Write(data); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// footer returns the last member of an estargz blob, which says where the table of contents is.
func footer(tb testing.TB, toc int) []byte {
	tb.Helper()
	text := fmt.Sprintf("%016xSTARGZ", toc)
	f := gzipped(tb, nil, append([]byte{'S', 'G', byte(len(text)), 0}, text...))
	if len(f) != estargz.FooterSize {
		tb.Fatalf("a footer has %d bytes, want %d", len(f), estargz.FooterSize)
	}
	return f
}

// legacyFooter returns a footer as stargz had it before estargz, without the name of the field.
func legacyFooter(tb testing.TB, toc int) []byte {
	tb.Helper()
	return gzipped(tb, nil, fmt.Appendf(nil, "%016xSTARGZ", toc))
}

func TestDetectEstargz(t *testing.T) {
	t.Parallel()
	file, toc := member(t, "file", "content"), member(t, estargz.TOCTarName, `{"version":1,"entries":[]}`)
	at := len(file)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	tests := []struct {
		name string
		raw  []byte
		toc  int // 0 for gzip
	}{
		{"whole", join(file, toc, footer(t, at)), at},
		{"plain gzip", file, 0},
		{"several members", join(file, file, file), 0},
		{"table without footer", join(file, toc), 0},
		{"footer without table", join(file, footer(t, at)), 0},
		{"footer alone", footer(t, 0), 0},
		{"footer that points to itself", join(file, footer(t, at)), 0},
		{"footer that points behind the end", join(file, toc, footer(t, 1<<40)), 0},
		{"footer that points to a file", join(file, toc, footer(t, 0)), 0},
		{"footer that points beside the table", join(file, toc, footer(t, at-1)), 0},
		{"something after the footer", join(file, toc, footer(t, at), []byte{0}), 0},
		{"another file after the table", join(file, toc, file, footer(t, at)), 0},
		{"table of another name", join(file, member(t, "index.json", "{}"), footer(t, at)), 0},
		{"cut footer", join(file, toc, footer(t, at)[1:]), 0},
		{"legacy footer", join(file, toc, legacyFooter(t, at)), at},
		{"legacy footer without table", join(file, legacyFooter(t, at)), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			want := compress.Encoding{Compression: buildcache.Gzip}
			if tt.toc > 0 {
				want = compress.Encoding{Compression: buildcache.Estargz, TOCOffset: int64(tt.toc)}
			}
			if got := detect(t, tt.raw); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestDetectTiny(t *testing.T) {
	t.Parallel()
	for _, c := range buildcache.Compressions() {
		whole, _ := encode(t, smallTar(t), c, 0)
		for size := range 60 {
			got := detect(t, whole[:size])
			want := buildcache.Uncompressed
			switch {
			case size >= 3 && (c == buildcache.Gzip || c == buildcache.Estargz):
				want = buildcache.Gzip
			case size >= 4 && c == buildcache.Zstd:
				want = c
			}
			if got.Compression != want || got.TOCOffset != 0 {
				t.Errorf("the first %d bytes of %s are %+v", size, c, got)
			}
		}
	}
}

// brokenAt is a ReaderAt that fails from an offset on.
type brokenAt struct {
	raw []byte
	at  int64
	err error
}

func (b brokenAt) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.at {
		return 0, b.err
	}
	return bytes.NewReader(b.raw).ReadAt(p, off)
}

func TestDetectErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	raw, _ := encode(t, smallTar(t), buildcache.Estargz, 0)
	if _, err := compress.Detect(brokenAt{raw, 0, broken}, int64(len(raw))); !errors.Is(err, broken) {
		t.Errorf("first bytes: %v", err)
	}
	// A file that was cut since its size was asked for is whatever its first bytes say.
	short := strings.NewReader("\x28\xb5")
	if got, err := compress.Detect(short, 100); err != nil || got.Compression != buildcache.Uncompressed {
		t.Errorf("a file cut meanwhile: %+v, %v", got, err)
	}
}

// TestDetectBrokenStream tells a short stream from one that broke, of which nothing is known.
func TestDetectBrokenStream(t *testing.T) {
	t.Parallel()
	if got, err := compress.DetectStream(strings.NewReader("ab")); got != buildcache.Uncompressed || err != nil {
		t.Errorf("short: %q, %v", got, err)
	}
	broken := io.MultiReader(strings.NewReader("ab"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if got, err := compress.DetectStream(broken); got != "" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("broken: %q, %v", got, err)
	}
}
