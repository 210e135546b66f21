package compress_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/klauspost/compress/zstd"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
)

// TestDetectStrangeFooters has last members over which estargz.OpenFooter panics, or that it takes for a footer.
func TestDetectStrangeFooters(t *testing.T) {
	t.Parallel()
	// strange returns a member of the size of a footer, with the extra field and a name that fills it up.
	strange := func(extra string) []byte {
		raw := []byte{0x1f, 0x8b, 8, 4 | 8, 0, 0, 0, 0, 0, 255, byte(len(extra)), 0}
		raw = append(raw, extra...)
		end := []byte{0, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0}
		raw = append(raw, strings.Repeat("n", estargz.FooterSize-len(raw)-len(end))...)
		return append(raw, end...)
	}
	file := member(t, "file", "content")
	for name, last := range map[string][]byte{
		"field without content": strange("SG\x16\x00"),
		"field cut":             strange("SG\x16\x00000000000000"),
		"field of no length":    strange("SG\x00\x00"),
		"field too short":       strange("SG"),
		"no field":              strange(""),
		"offset that is none":   footer(t, 0)[:0],
		"negative offset":       bytes.Replace(footer(t, 0), []byte("0000000000000000"), []byte("-000000000000001"), 1),
		"offset of letters":     bytes.Replace(footer(t, 0), []byte("0000000000000000"), []byte("zzzzzzzzzzzzzzzz"), 1),
		"largest offset":        bytes.Replace(footer(t, 0), []byte("0000000000000000"), []byte("7fffffffffffffff"), 1),
	} {
		for _, before := range [][]byte{file, slices.Concat(file, file, file), nil} {
			raw := slices.Concat(before, last)
			if len(raw) == 0 {
				continue
			}
			if got := detect(t, raw); got != (compress.Encoding{Compression: buildcache.Gzip}) {
				t.Errorf("%s, %d bytes: %+v", name, len(raw), got)
			}
		}
	}
}

// toc returns a tar with a table of contents as its only entry.
func toc(tb testing.TB) []byte {
	tb.Helper()
	return makeTar(tb, estargz.TOCTarName, `{"version":1,"entries":[]}`)
}

// cutTar returns a tar of one file of which the last bytes are missing.
func cutTar(tb testing.TB, missing int) []byte {
	tb.Helper()
	data := makeTar(tb, "file", string(noise(8<<10)))
	return data[:len(data)-1024-missing]
}

// danglingPAX returns a tar that ends with a header which renames the next entry.
func danglingPAX(tb testing.TB) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	header := &tar.Header{Name: strings.Repeat("n", 300), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	if err := w.WriteHeader(header); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()[:out.Len()-512] // without the entry itself
}

// TestDecodeForgedFooter has blobs whose footer points to a real table of contents that is not behind the whole tar.
func TestDecodeForgedFooter(t *testing.T) {
	t.Parallel()
	whole := makeTar(t, "a", "content", "b", strings.Repeat("x", 1000))
	tests := []struct {
		name string
		tar  []byte // before the table
		ok   bool
	}{
		{"whole", whole, true},
		{"no end marker", whole[:len(whole)-1024], true},
		{"something behind the end", slices.Concat(whole, []byte("strange tail")), true},
		{"cut by one block", cutTar(t, 512), false},
		{"cut by the size of the table's header and more", cutTar(t, 2048), false},
		{"cut within a block", cutTar(t, 100), false},
		{"cut within the end marker", whole[:len(whole)-512], false},
		{"cut behind a header that renames", danglingPAX(t), false},
	}
	for _, tt := range tests {
		first := gzipped(t, tt.tar, nil)
		raw := slices.Concat(first, gzipped(t, toc(t), nil), footer(t, len(first)))
		want := slices.Concat(tt.tar, toc(t))
		encoding := detect(t, raw)
		if encoding.Compression != buildcache.Estargz {
			t.Fatalf("%s: %+v", tt.name, encoding)
		}
		data, full, err := decodeTar(bytes.NewReader(raw), encoding)
		if tt.ok && (err != nil || !bytes.Equal(data, tt.tar) || !bytes.Equal(full, want)) {
			t.Errorf("%s: %d bytes, in full %d, %v", tt.name, len(data), len(full), err)
		}
		if !tt.ok && !errors.Is(err, compress.ErrNotEstargz) {
			t.Errorf("%s: %v", tt.name, err)
		}
		data, _, err = decodeTar(bytes.NewReader(raw), compress.Encoding{Compression: buildcache.Gzip})
		if err != nil || !bytes.Equal(data, want) {
			t.Errorf("%s, as gzip: %d bytes, %v", tt.name, len(data), err)
		}
	}
}

// TestDecodeFooterIntoMember has a footer that points into a member, which stores another one.
func TestDecodeFooterIntoMember(t *testing.T) {
	t.Parallel()
	inner := gzipped(t, toc(t), nil)
	data := slices.Concat(makeTar(t, "file", string(noise(2000))), inner)
	var stored bytes.Buffer
	w, err := gzip.NewWriterLevel(&stored, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(stored.Bytes(), inner)
	blob := slices.Concat(stored.Bytes(), footer(t, at))
	encoding := detect(t, blob)
	if encoding.TOCOffset != int64(at) {
		t.Fatalf("%+v, want the table at %d", encoding, at)
	}
	if got, _, err := decodeTar(bytes.NewReader(blob), encoding); !errors.Is(err, compress.ErrNotEstargz) {
		t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
	}
	if got, _, err := decodeTar(bytes.NewReader(blob), compress.Encoding{Compression: buildcache.Gzip}); err != nil || !bytes.Equal(got, data) {
		t.Errorf("as gzip: %d bytes of %d, %v", len(got), len(data), err)
	}
}

// countingAt counts what is read of a blob.
type countingAt struct {
	io.ReaderAt
	n int
}

func (c *countingAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.n += n
	return n, err
}

// TestDetectHugeTOC has a table of contents of which nobody wants to see the end.
func TestDetectHugeTOC(t *testing.T) {
	t.Parallel()
	var header bytes.Buffer
	if err := tar.NewWriter(&header).WriteHeader(&tar.Header{Name: estargz.TOCTarName, Typeflag: tar.TypeReg, Size: 20 << 30}); err != nil {
		t.Fatal(err)
	}
	table, _ := encode(t, slices.Concat(header.Bytes(), make([]byte, 64<<20)), buildcache.Gzip, 1)
	file := member(t, "file", "content")
	raw := slices.Concat(file, table, footer(t, len(file)))
	read := &countingAt{ReaderAt: bytes.NewReader(raw)}
	got, err := compress.Detect(read, int64(len(raw)))
	if err != nil || got.Compression != buildcache.Gzip {
		t.Errorf("%+v, %v", got, err)
	}
	if read.n > len(raw)/4 {
		t.Errorf("%d of %d bytes were read to find out", read.n, len(raw))
	}
}

func TestCheckTar(t *testing.T) {
	t.Parallel()
	whole := makeTar(t, "a", "content", "b", string(noise(3000)))
	tests := []struct {
		name string
		tar  []byte
		ok   bool
	}{
		{"whole", whole, true},
		{"nothing", nil, true},
		{"no end marker", whole[:len(whole)-1024], true},
		{"half an end marker", whole[:len(whole)-512], true},
		{"junk behind the end", slices.Concat(whole, noise(5000)), true},
		{"another tar behind the end", slices.Concat(whole, whole[:700]), true},
		{"half", whole[:len(whole)/2], false},
		{"cut within padding", whole[:700], true},
		{"cut within a header", whole[:1100], false},
		{"damaged header", damageHeader(bytes.Clone(whole)), false},
		{"no tar", noise(2000), false},
	}
	for _, tt := range tests {
		read := &countingReader{r: bytes.NewReader(tt.tar)}
		toc, err := compress.CheckTar(read)
		if (err == nil) != tt.ok || toc != "" {
			t.Errorf("%s: %v, %q", tt.name, err, toc)
		}
		if tt.ok && read.n != len(tt.tar) {
			t.Errorf("%s: %d of %d bytes read", tt.name, read.n, len(tt.tar))
		}
	}
}

// TestCheckTarCorpus finds nothing wrong with BuildKit's layers, and the tables of contents that it says they have.
func TestCheckTarCorpus(t *testing.T) {
	t.Parallel()
	for _, layer := range corpusLayers(t) {
		r, err := compress.NewDecoder().Decode(t.Context(), bytes.NewReader(layer.Raw), detect(t, layer.Raw).Compression)
		if err != nil {
			t.Fatal(err)
		}
		toc, err := compress.CheckTar(r)
		if want := layer.Annotations[buildcache.AnnotationTOCDigest]; err != nil || toc.String() != want {
			t.Errorf("%s: %s has the table %q, want %q, %v", layer.Cache, layer.Digest, toc, want, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDecodeJunk wants what follows the end called what it is.
func TestDecodeJunk(t *testing.T) {
	t.Parallel()
	raw, _ := encode(t, smallTar(t), buildcache.Gzip, 0)
	for _, tail := range []string{"x", "\x00", strings.Repeat("\x00", 512), "garbage behind the end"} {
		_, err := decode(strings.NewReader(string(raw)+tail), buildcache.Gzip)
		if err == nil || err.Error() != "decode gzip: junk behind its end" {
			t.Errorf("%q behind the end: %v", tail, err)
		}
	}
}

// TestDecodeCutHeader has the begin of another member that BuildKit's decoder takes for an end.
func TestDecodeCutHeader(t *testing.T) {
	t.Parallel()
	data := smallTar(t)
	raw, _ := encode(t, data, buildcache.Gzip, 0)
	got, err := decode(strings.NewReader(string(raw)+"\x1f\x8b\x08\x08\x00\x00\x00\x00\x00\x00name"), buildcache.Gzip)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestDecodeEmpty has compressed nothing, and bytes that are not even that.
func TestDecodeEmpty(t *testing.T) {
	t.Parallel()
	for _, c := range []buildcache.Compression{buildcache.Gzip, buildcache.Zstd, buildcache.Uncompressed} {
		raw, _ := encode(t, nil, c, 0)
		if data, err := decode(bytes.NewReader(raw), c); err != nil || len(data) != 0 {
			t.Errorf("%s: %d bytes, %v", c, len(data), err)
		}
	}
	if _, err := decode(strings.NewReader(""), buildcache.Gzip); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("gzip of no bytes: %v", err)
	}
}

// TestDecodeDictionary has a frame that can't be read without something that a layer does not bring along.
func TestDecodeDictionary(t *testing.T) {
	t.Parallel()
	if _, err := decode(bytes.NewReader(zstdFrame(3, 0x20, 1, 2, 3, 4)), buildcache.Zstd); !errors.Is(err, zstd.ErrUnknownDictionary) {
		t.Errorf("got %v", err)
	}
}

// TestUnknownCompression has what a program may pass that imports convert.
func TestUnknownCompression(t *testing.T) {
	t.Parallel()
	for _, c := range []buildcache.Compression{"", "Zstd", "xz"} {
		var out bytes.Buffer
		if _, err := compress.Encode(&out, strings.NewReader("tar"), c, 0); err == nil || out.Len() > 0 {
			t.Errorf("%q encodes %q, %v", c, out.String(), err)
		}
		if _, err := decode(strings.NewReader("tar"), c); err == nil {
			t.Errorf("%q decodes", c)
		}
		if err := compress.CheckLevel(c, 0); err == nil {
			t.Errorf("%q has levels", c)
		}
	}
}

// TestDecodeInterrupted ends where little input becomes much output.
func TestDecodeInterrupted(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	for _, c := range encodings {
		var raw bytes.Buffer
		if _, err := compress.Encode(&raw, io.LimitReader(zeroReader{}, 8<<20), c, 1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		r, err := compress.NewDecoder().Decode(ctx, bytes.NewReader(raw.Bytes()), c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		cancel(stop)
		n, err := io.Copy(io.Discard, r)
		var decodeErr *compress.DecodeError
		if n > 0 || !errors.Is(err, stop) || errors.As(err, &decodeErr) {
			t.Errorf("%s: %d more bytes, %v", c, n, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// windowFrame returns a frame of one byte that asks for a window of 2^log bytes.
func windowFrame(log int) []byte {
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, byte(log-10) << 3}
	return append(frame, 1|1<<3, 0, 0, 'x') // last block, raw, of one byte
}

// TestLargeWindows wants large windows to be had one at a time, whichever frame asks for it.
func TestLargeWindows(t *testing.T) {
	t.Parallel()
	skippable := binary.LittleEndian.AppendUint32([]byte("\x50\x2a\x4d\x18"), 100)
	skippable = append(skippable, noise(100)...)
	tests := []struct {
		name  string
		raw   []byte
		large bool
	}{
		{"16 MiB", windowFrame(24), false},
		{"32 MiB", windowFrame(25), true},
		{"in one segment", zstdFrame(0xa0, 0, 0, 0, 2), true},
		{"behind a small one", slices.Concat(windowFrame(20), windowFrame(25)), true},
		{"behind a skippable one", slices.Concat(skippable, windowFrame(25)), true},
		{"several", slices.Concat(windowFrame(25), windowFrame(26), windowFrame(25)), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				decoder := compress.NewDecoder()
				first, err := decoder.Decode(t.Context(), bytes.NewReader(windowFrame(25)), buildcache.Zstd)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadAll(first); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := map[string]error{}
				read := func(name string, ctx context.Context) {
					r, err := decoder.Decode(ctx, bytes.NewReader(tt.raw), buildcache.Zstd)
					if err == nil {
						_, err = io.ReadAll(r)
						err = errors.Join(err, r.Close())
					}
					done[name] = err
				}
				go read("interrupted", ctx)
				synctest.Wait()
				if _, ok := done["interrupted"]; ok == tt.large {
					t.Errorf("beside another one it was read: %v, %v", ok, done)
				}
				cancel()
				synctest.Wait()
				if err := done["interrupted"]; tt.large && !errors.Is(err, context.Canceled) {
					t.Errorf("interrupted: %v", err)
				}
				go read("second", t.Context())
				synctest.Wait()
				if err := first.Close(); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if err, ok := done["second"]; !ok || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "size") {
					t.Errorf("after the other one it was read: %v, %v", ok, err)
				}
			})
		})
	}
}
