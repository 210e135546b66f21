package compress_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/klauspost/compress/zstd"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/internal/quicktest"
)

// highest is the highest level of each compression.
var highest = map[buildcache.Compression]int{
	buildcache.Uncompressed: 0, buildcache.Gzip: 9, buildcache.Zstd: 22, buildcache.Estargz: 9,
}

func TestCheckLevel(t *testing.T) {
	t.Parallel()
	for _, c := range buildcache.Compressions() {
		most, ok := highest[c]
		if !ok {
			t.Fatalf("no levels of %s known", c)
		}
		for level := -3; level <= most+3; level++ {
			if err := compress.CheckLevel(c, level); (err == nil) != (level >= 0 && level <= most) {
				t.Errorf("%s, level %d: %v", c, level, err)
			}
		}
	}
	for level, want := range map[int]string{23: "zstd has the levels 1 to 22, not 23", -1: "zstd has the levels 1 to 22, not -1"} {
		if err := compress.CheckLevel(buildcache.Zstd, level); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := compress.CheckLevel(buildcache.Uncompressed, 1); err == nil || err.Error() != "uncompressed has no levels" {
		t.Errorf("got %v", err)
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	small := smallTar(t)
	tars := map[string][]byte{
		"small":               small,
		"large":               largeTar(t),
		"without a file":      makeTar(t),
		"with a long tail":    append(bytes.Clone(small), make([]byte, 20*512)...),
		"with a strange tail": append(bytes.Clone(small), "what some programs leave behind the end"...),
		"cut at the end":      small[:len(small)-1024], // no end marker: tar readers don't mind
	}
	for name, data := range tars {
		for _, c := range buildcache.Compressions() {
			for level := range highest[c] + 1 {
				if name != "small" && level != 0 && level != highest[c] {
					continue
				}
				raw, encoded := encode(t, data, c, level)
				encoding := detect(t, raw)
				if encoding.Compression != c || (encoding.TOCOffset > 0) != (c == buildcache.Estargz) {
					t.Errorf("%s, %s, level %d: detected as %+v", name, c, level, encoding)
				}
				got, full, err := decodeTar(bytes.NewReader(raw), encoding)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s, %s, level %d: %d bytes became %d, %v", name, c, level, len(data), len(got), err)
				}
				all, err := decode(bytes.NewReader(raw), c)
				if err != nil || !bytes.Equal(all, full) {
					t.Errorf("%s, %s, level %d: Decode gives %d bytes, DecodeTar %d in full, %v", name, c, level, len(all), len(full), err)
				}
				if c != buildcache.Estargz {
					if encoded != (compress.Encoded{}) || !bytes.Equal(full, data) {
						t.Errorf("%s, %s, level %d: %+v, %d bytes in full", name, c, level, encoded, len(full))
					}
					continue
				}
				if encoded.FullDigest != sum(full) || encoded.FullSize != int64(len(full)) || bytes.Equal(full, data) {
					t.Errorf("%s, %s, level %d: %+v, but in full %d bytes with the digest %s", name, c, level, encoded, len(full), sum(full))
				}
			}
		}
	}
}

// TestEstargzIsOne asks the library that lazy pullers use.
func TestEstargzIsOne(t *testing.T) {
	t.Parallel()
	data := largeTar(t)
	raw, encoded := encode(t, data, buildcache.Estargz, 0)
	section := io.NewSectionReader(bytes.NewReader(raw), 0, int64(len(raw)))
	r, err := estargz.Open(section)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.VerifyTOC(encoded.TOCDigest); err != nil {
		t.Errorf("table of contents: %v", err)
	}
	if entry, ok := r.Lookup("noise"); !ok || entry.Size != 1<<19 {
		t.Errorf("the file noise: %+v, %v", entry, ok)
	}
	original, err := estargz.Unpack(section, new(estargz.GzipDecompressor))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(original); err != nil || !bytes.Equal(got, data) {
		t.Errorf("estargz.Unpack gives %d bytes, %v; packed were %d", len(got), err, len(data))
	}
}

// TestLevelsDiffer makes sure that levels get to the encoders.
func TestLevelsDiffer(t *testing.T) {
	t.Parallel()
	data := largeTar(t)
	for c, most := range highest {
		if most == 0 {
			continue
		}
		fast, _ := encode(t, data, c, 1)
		best, _ := encode(t, data, c, most)
		if len(best) >= len(fast) {
			t.Errorf("%s: %d bytes at level 1, %d at level %d", c, len(fast), len(best), most)
		}
	}
}

// TestZstdWindow looks at the window that a decoder must hold, whatever the level: BuildKit refuses more than 512 MiB.
func TestZstdWindow(t *testing.T) {
	t.Parallel()
	for _, level := range []int{1, 3, 7, highest[buildcache.Zstd]} { // one of each of the encoder's four
		raw, _ := encode(t, make([]byte, 24<<20), buildcache.Zstd, level)
		var header zstd.Header
		if err := header.Decode(raw); err != nil {
			t.Fatal(err)
		}
		if header.WindowSize == 0 || header.WindowSize > 16<<20 || !header.HasCheckSum {
			t.Errorf("level %d: window of %d bytes, checksum: %v", level, header.WindowSize, header.HasCheckSum)
		}
	}
}

// TestEncodeIsDeterministic encodes with other numbers of processors and with a reader that hands out its bytes otherwise. It
// does not run beside other tests, because GOMAXPROCS is everybody's.
func TestEncodeIsDeterministic(t *testing.T) {
	data := makeTar(t, "noise", string(noise(150<<10)), "text", strings.Repeat("some text to be encoded, ", 20000))
	readers := map[string]func() io.Reader{
		"whole":     func() io.Reader { return bytes.NewReader(data) },
		"with EOF":  func() io.Reader { return iotest.DataErrReader(bytes.NewReader(data)) },
		"of 7":      func() io.Reader { return &stepReader{bytes.NewReader(data), 7} },
		"of 100000": func() io.Reader { return &stepReader{bytes.NewReader(data), 100000} },
	}
	for c, most := range highest {
		for _, level := range []int{0, most} {
			want, _ := encode(t, data, c, level)
			for _, processors := range []int{1, 4} {
				before := runtime.GOMAXPROCS(processors)
				for i, name := range slices.Sorted(maps.Keys(readers)) {
					if (i+processors)%2 == 0 && quicktest.Rounds(0, 1) == 0 {
						continue // a few: each with one number
					}
					var out bytes.Buffer
					if _, err := compress.Encode(&out, readers[name](), c, level); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(out.Bytes(), want) {
						t.Errorf("%s, level %d: other bytes with %d processors, read %s", c, level, processors, name)
					}
				}
				runtime.GOMAXPROCS(before)
			}
		}
	}
}

// TestEstargzIsTheirs wants the bytes of estargz, which makes an encoder for each file.
func TestEstargzIsTheirs(t *testing.T) {
	t.Parallel()
	data := makeTar(t, "empty", "", "noise", string(noise(150<<10)), "text", strings.Repeat("some text to be encoded, ", 20000), "again", "some text")
	for level := 1; level <= highest[buildcache.Estargz]; level++ {
		var want bytes.Buffer
		theirs := estargz.NewWriterLevel(&want, level)
		if err := theirs.AppendTarLossLess(bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		if _, err := theirs.Close(); err != nil {
			t.Fatal(err)
		}
		if got, _ := encode(t, data, buildcache.Estargz, level); !bytes.Equal(got, want.Bytes()) {
			t.Errorf("level %d: %d bytes, which are others than the %d of estargz", level, len(got), want.Len())
		}
	}
}

// stepReader gives at most step bytes at a time.
type stepReader struct {
	r    io.Reader
	step int
}

func (s *stepReader) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.step)]) }

// limitedWriter fails once it has room bytes.
type limitedWriter struct {
	room int
	err  error
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	if len(p) > w.room {
		return 0, w.err
	}
	w.room -= len(p)
	return len(p), nil
}

func TestEncodeErrors(t *testing.T) {
	t.Parallel()
	data, broken := largeTar(t), errors.New("broken")
	for _, c := range buildcache.Compressions() {
		for _, at := range []int{0, 100, len(data) / 2, len(data) - 1} {
			reader := io.MultiReader(bytes.NewReader(data[:at]), iotest.ErrReader(broken))
			if _, err := compress.Encode(io.Discard, reader, c, 0); !errors.Is(err, broken) {
				t.Errorf("%s: a reader that breaks after %d bytes gives %v", c, at, err)
			}
		}
		whole, _ := encode(t, data, c, 0)
		for _, room := range []int{0, 100, len(whole) / 2, len(whole) - 1} {
			if _, err := compress.Encode(&limitedWriter{room, broken}, bytes.NewReader(data), c, 0); !errors.Is(err, broken) {
				t.Errorf("%s: a writer that breaks after %d bytes gives %v", c, room, err)
			}
		}
		if c == buildcache.Gzip || c == buildcache.Estargz {
			if _, err := compress.Encode(io.Discard, bytes.NewReader(data), c, 12); err == nil {
				t.Errorf("%s has a level 12", c)
			}
		}
	}
}

// TestEncodeEstargzRefuses has layers that no estargz can be made of.
func TestEncodeEstargzRefuses(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"no tar":                          []byte(strings.Repeat("this is no tar. ", 200)),
		"one with a table of its own":     makeTar(t, estargz.TOCTarName, "{}"),
		"one with a damaged header":       damageHeader(smallTar(t)),
		"one that is cut within a file":   makeTar(t, "file", string(noise(5000)))[:4000],
		"one that is cut within a header": smallTar(t)[:100],
		"one that is cut within padding":  makeTar(t, "file", strings.Repeat("x", 700))[:1300],
		"one that ends with a PAX header": danglingPAX(t),
		"one with a sparse file":          sparsePAX(t),
	} {
		if _, err := compress.Encode(io.Discard, bytes.NewReader(data), buildcache.Estargz, 0); err == nil {
			t.Errorf("%s was encoded", name)
		}
	}
}

// sparsePAX returns a tar with a file of 5 bytes and a hole, as GNU tar writes it with --sparse-version=0.1. Go's tar writer refuses to.
func sparsePAX(tb testing.TB) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	header := &tar.Header{Name: "sparse", Typeflag: tar.TypeReg, Size: 5, Mode: 0o644, Format: tar.FormatPAX, PAXRecords: map[string]string{
		"GNU-sparse.numblocks": "1", "GNU-sparse.map": "0,5", "GNU-sparse.size": "20",
	}}
	if err := w.WriteHeader(header); err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write([]byte("12345")); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return bytes.ReplaceAll(out.Bytes(), []byte("GNU-sparse"), []byte("GNU.sparse"))
}

// damageHeader breaks the checksum of a tar's first header.
func damageHeader(data []byte) []byte {
	data[0] ^= 1
	return data
}

// TestEncodeEstargzKeepsHeaders checks that what Go's tar writer would write otherwise comes back as it was.
func TestEncodeEstargzKeepsHeaders(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	long := strings.Repeat("long/", 40) + "name"
	for _, header := range []*tar.Header{
		{Name: "dir/", Typeflag: tar.TypeDir, Mode: 0o755, Format: tar.FormatUSTAR},
		{Name: long, Typeflag: tar.TypeReg, Mode: 0o644, Format: tar.FormatGNU},
		{Name: "pax", Typeflag: tar.TypeReg, Mode: 0o644, Format: tar.FormatPAX, PAXRecords: map[string]string{"SCHILY.xattr.user.k": "v\x00w", "VENDOR.x": "y"}},
		{Name: "link", Linkname: long, Typeflag: tar.TypeSymlink},
		{Name: "hard", Linkname: "pax", Typeflag: tar.TypeLink},
		{Name: ".wh.gone", Typeflag: tar.TypeReg},
		{Name: "device", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3},
	} {
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	raw, _ := encode(t, out.Bytes(), buildcache.Estargz, 0)
	got, _, err := decodeTar(bytes.NewReader(raw), detect(t, raw))
	if err != nil || !bytes.Equal(got, out.Bytes()) {
		t.Errorf("%d bytes became %d, %v", out.Len(), len(got), err)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for _, c := range buildcache.Compressions() {
		version := compress.Version(c)
		if (version == "") != (c == buildcache.Uncompressed) {
			t.Errorf("the version of %s is %q", c, version)
		}
	}
	if compress.Version(buildcache.Gzip) == compress.Version(buildcache.Estargz) {
		t.Error("gzip and estargz have different encoders, and the same version")
	}
}
