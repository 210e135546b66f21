package compress_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
)

// encodings are the compressions whose bytes can be wrong.
var encodings = []buildcache.Compression{buildcache.Gzip, buildcache.Zstd}

// TestDecodeCorpus decodes every layer of BuildKit's and compares with the diffID that BuildKit gave it.
func TestDecodeCorpus(t *testing.T) {
	t.Parallel()
	for _, layer := range corpusLayers(t) {
		encoding := detect(t, layer.Raw)
		_, full, err := decodeTar(bytes.NewReader(layer.Raw), encoding)
		if err != nil || sum(full) != layer.DiffID() {
			t.Errorf("%s: %s has the diffID %s, want %s, %v", layer.Cache, layer.Digest, sum(full), layer.DiffID(), err)
		}
		all, err := decode(bytes.NewReader(layer.Raw), encoding.Compression)
		if err != nil || !bytes.Equal(all, full) {
			t.Errorf("%s: %s: Decode gives %d bytes, DecodeTar %d in full, %v", layer.Cache, layer.Digest, len(all), len(full), err)
		}
	}
}

// TestDecodeEstargz gets the tars back of which BuildKit made estargz layers, and makes BuildKit's bytes of them again.
func TestDecodeEstargz(t *testing.T) {
	t.Parallel()
	plain := map[digest.Digest]bool{} // tars that BuildKit exported otherwise as well
	for _, layer := range corpusLayers(t) {
		if detect(t, layer.Raw).Compression != buildcache.Estargz {
			plain[layer.DiffID()] = true
		}
	}
	originals := map[digest.Digest]bool{}
	for _, layer := range corpusLayers(t) {
		encoding := detect(t, layer.Raw)
		if encoding.Compression != buildcache.Estargz {
			continue
		}
		data, full, err := decodeTar(bytes.NewReader(layer.Raw), encoding)
		if err != nil {
			t.Fatal(err)
		}
		if sum(full) != layer.DiffID() || sum(data) == layer.DiffID() {
			t.Errorf("%s: in full %s, the tar %s, its diffID %s", layer.Digest, sum(full), sum(data), layer.DiffID())
		}
		if plain[sum(data)] {
			originals[sum(data)] = true
		}
		r, err := estargz.Unpack(io.NewSectionReader(bytes.NewReader(layer.Raw), 0, layer.Size), new(estargz.GzipDecompressor))
		if err != nil {
			t.Fatal(err)
		}
		if want, err := io.ReadAll(r); err != nil || !bytes.Equal(data, want) {
			t.Errorf("%s: %d bytes, estargz.Unpack gives %d, %v", layer.Digest, len(data), len(want), err)
		}
		again, encoded := encode(t, data, buildcache.Estargz, 0)
		if back, _, err := decodeTar(bytes.NewReader(again), detect(t, again)); err != nil || !bytes.Equal(back, data) {
			t.Errorf("%s: encoded again it holds another tar, %v", layer.Digest, err)
		}
		if !strings.HasPrefix(runtime.Version(), "go1.26") {
			continue // another Go's gzip may give other bytes than BuildKit's did
		}
		annotated := layer.Annotations[buildcache.AnnotationTOCDigest]
		if !bytes.Equal(again, layer.Raw) || encoded.FullDigest != layer.DiffID() || encoded.TOCDigest.String() != annotated {
			t.Errorf("%s: encoded again it is %s, %+v", layer.Digest, sum(again), encoded)
		}
	}
	if len(originals) < 8 {
		t.Errorf("only %d of the tars are those of other layers", len(originals))
	}
}

func TestDecodeCut(t *testing.T) {
	t.Parallel()
	for _, c := range encodings {
		raw, _ := encode(t, smallTar(t), c, 0)
		for size := range raw {
			if size == 0 && c == buildcache.Zstd {
				continue // no frames at all are a stream of nothing
			}
			_, err := decode(bytes.NewReader(raw[:size]), c)
			var decodeErr *compress.DecodeError
			if !errors.As(err, &decodeErr) || decodeErr.Compression != c || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s, cut to %d of %d bytes: %v", c, size, len(raw), err)
			}
			if _, _, err := decodeTar(bytes.NewReader(raw[:size]), compress.Encoding{Compression: c}); !errors.As(err, &decodeErr) {
				t.Errorf("%s, DecodeTar, cut to %d of %d bytes: %v", c, size, len(raw), err)
			}
		}
	}
	raw, _ := encode(t, smallTar(t), buildcache.Estargz, 0)
	encoding := detect(t, raw)
	for size := range len(raw) - estargz.FooterSize {
		data, full, err := decodeTar(bytes.NewReader(raw[:size]), encoding)
		// Where a member ends nothing is missing to gzip; the digest of what is there tells.
		if err == nil && bytes.Equal(full, mustDecode(t, raw)) {
			t.Errorf("estargz, cut to %d of %d bytes: %d bytes as if it was whole", size, len(raw), len(data))
		}
	}
}

func mustDecode(tb testing.TB, raw []byte) []byte {
	tb.Helper()
	data, err := decode(bytes.NewReader(raw), buildcache.Gzip)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// TestDecodeFlipped turns every single bit. Some of them mean nothing, such as those of a time. With all others it must
// fail.
func TestDecodeFlipped(t *testing.T) {
	t.Parallel()
	data := smallTar(t)
	for _, c := range encodings {
		raw, _ := encode(t, data, c, 0)
		harmless := 0
		for bit := range len(raw) * 8 {
			flipped := bytes.Clone(raw)
			flipped[bit/8] ^= 1 << (bit % 8)
			got, err := decode(bytes.NewReader(flipped), c)
			if err == nil && !bytes.Equal(got, data) {
				t.Errorf("%s: with bit %d of byte %d turned it decodes to something else", c, bit%8, bit/8)
			}
			if err == nil {
				harmless++
			}
		}
		if harmless > len(raw)*8/5 {
			t.Errorf("%s: %d of %d bits may be turned", c, harmless, len(raw)*8)
		}
	}
}

func TestDecodeTrailing(t *testing.T) {
	t.Parallel()
	for _, c := range encodings {
		raw, _ := encode(t, smallTar(t), c, 0)
		for _, tail := range []string{"x", "\x00", strings.Repeat("\x00", 1024), "garbage behind the end", "\x1f\x8b", "\x28\xb5\x2f\xfd", "\x50\x2a\x4d\x18\x04\x00\x00\x00abc"} {
			if _, err := decode(strings.NewReader(string(raw)+tail), c); err == nil {
				t.Errorf("%s: %q behind the end is no error", c, tail)
			}
		}
	}
}

// TestDecodeParts has streams of several parts, which other programs than BuildKit write and BuildKit reads.
func TestDecodeParts(t *testing.T) {
	t.Parallel()
	data := smallTar(t)
	half := len(data) / 2
	part := func(c buildcache.Compression, level int) (first, second []byte) {
		first, _ = encode(t, data[:half], c, level)
		second, _ = encode(t, data[half:], c, level)
		return first, second
	}
	g1, g2 := part(buildcache.Gzip, 0)
	z1, z2 := part(buildcache.Zstd, 0)
	skip := append([]byte{0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0}, "skip!"...)
	plain, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		c   buildcache.Compression
		raw [][]byte
	}{
		"gzip of two members":           {buildcache.Gzip, [][]byte{g1, g2}},
		"gzip with an empty member":     {buildcache.Gzip, [][]byte{g1, gzipped(t, nil, nil), g2}},
		"gzip with an extra field":      {buildcache.Gzip, [][]byte{gzipped(t, data, []byte("extra"))}},
		"zstd of two frames":            {buildcache.Zstd, [][]byte{z1, z2}},
		"zstd, skippable frame first":   {buildcache.Zstd, [][]byte{skip, z1, z2}},
		"zstd, skippable frame between": {buildcache.Zstd, [][]byte{z1, skip, skip, z2}},
		"zstd, skippable frame last":    {buildcache.Zstd, [][]byte{z1, z2, skip}},
		"zstd without checksum":         {buildcache.Zstd, [][]byte{plain.EncodeAll(data, nil)}},
	} {
		raw := bytes.Join(tt.raw, nil)
		encoding := detect(t, raw)
		got, _, err := decodeTar(bytes.NewReader(raw), encoding)
		if err != nil || !bytes.Equal(got, data) || encoding.Compression != tt.c {
			t.Errorf("%s: detected as %s, %d bytes of %d, %v", name, encoding.Compression, len(got), len(data), err)
		}
	}
}

// zstdFrame returns a frame whose header asks for a window, with one empty block (RFC 8878, 3.1.1).
func zstdFrame(descriptor byte, header ...byte) []byte {
	frame := append([]byte{0x28, 0xb5, 0x2f, 0xfd, descriptor}, header...)
	return append(frame, 1, 0, 0) // last block, raw, of no bytes
}

// singleSegment returns a frame that needs a window of its whole size.
func singleSegment(size uint64) []byte {
	return zstdFrame(0xe0, binary.LittleEndian.AppendUint64(nil, size)...)
}

// TestDecodeZstdWindow measures what the whole process allocates: nothing may run beside it.
func TestDecodeZstdWindow(t *testing.T) {
	const mantissa = 1 // an eighth of the window more
	window := func(log int) byte { return byte(log-10) << 3 }
	tests := []struct {
		name string
		raw  []byte
		ok   bool
	}{
		{"128 MiB", zstdFrame(0, window(27)), true},
		{"512 MiB", zstdFrame(0, window(29)), true},
		{"576 MiB", zstdFrame(0, window(29)|mantissa), false},
		{"1 GiB", zstdFrame(0, window(30)), false},
		{"2 GiB", zstdFrame(0, window(31)), false},
		{"the largest", zstdFrame(0, 0xff), false},
		{"one segment of 768 MiB", singleSegment(768 << 20), false},
		{"one segment of 2^63", singleSegment(1 << 63), false},
	}
	for _, tt := range tests {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		data, err := decode(bytes.NewReader(tt.raw), buildcache.Zstd)
		runtime.ReadMemStats(&after)
		if (err == nil) != tt.ok || len(data) != 0 {
			t.Errorf("a window of %s: %d bytes, %v", tt.name, len(data), err)
		}
		if !tt.ok && !errors.Is(err, zstd.ErrWindowSizeExceeded) && !errors.Is(err, zstd.ErrDecoderSizeExceeded) {
			t.Errorf("a window of %s is refused with: %v", tt.name, err)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; !tt.ok && grown > 64<<20 {
			t.Errorf("a window of %s took %d MiB before it was refused", tt.name, grown>>20)
		}
	}
}

// TestMemory encodes and decodes a layer of 128 MiB with less memory than that.
func TestMemory(t *testing.T) {
	const size, most = 128 << 20, 48 << 20
	zeros := func() io.Reader { return io.LimitReader(zeroReader{}, size) }
	spent := func(work func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		work()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	for _, c := range encodings {
		var raw bytes.Buffer
		if got := spent(func() {
			if _, err := compress.Encode(&raw, zeros(), c, 0); err != nil {
				t.Fatal(err)
			}
		}); got > most {
			t.Errorf("encoding %s took %d MiB", c, got>>20)
		}
		if raw.Len() > size/100 {
			t.Fatalf("%s: encoded %d bytes", c, raw.Len())
		}
		if got := spent(func() {
			r, err := compress.NewDecoder().Decode(t.Context(), &raw, c)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, r); n != size || err != nil {
				t.Errorf("%s: decoded %d bytes, %v", c, n, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}); got > most {
			t.Errorf("decoding %s took %d MiB", c, got>>20)
		}
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// countingReader counts what was read.
type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// TestDecodeReadsAll checks that a raw which verifies itself at its end gets there, and that its error comes out.
func TestDecodeReadsAll(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, c := range buildcache.Compressions() {
		raw, _ := encode(t, smallTar(t), c, 0)
		encoding := detect(t, raw)
		read := &countingReader{r: bytes.NewReader(raw)}
		if _, _, err := decodeTar(read, encoding); err != nil || read.n != len(raw) {
			t.Errorf("%s: DecodeTar read %d of %d bytes, %v", c, read.n, len(raw), err)
		}
		read = &countingReader{r: iotest.DataErrReader(bytes.NewReader(raw))}
		if _, err := decode(read, c); err != nil || read.n != len(raw) {
			t.Errorf("%s: Decode read %d of %d bytes, %v", c, read.n, len(raw), err)
		}
		for _, at := range []int{0, 1, 20, len(raw) / 2, len(raw) - 1, len(raw)} {
			bad := func() io.Reader { return io.MultiReader(bytes.NewReader(raw[:at]), iotest.ErrReader(broken)) }
			if _, err := decode(bad(), c); !errors.Is(err, broken) {
				t.Errorf("%s: Decode of what breaks after %d of %d bytes: %v", c, at, len(raw), err)
			}
			if _, _, err := decodeTar(bad(), encoding); !errors.Is(err, broken) {
				t.Errorf("%s: DecodeTar of what breaks after %d of %d bytes: %v", c, at, len(raw), err)
			}
		}
	}
}

func TestDecodeTarFullFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, c := range buildcache.Compressions() {
		raw, _ := encode(t, smallTar(t), c, 0)
		all, err := decode(bytes.NewReader(raw), c)
		if err != nil {
			t.Fatal(err)
		}
		for _, room := range []int{0, len(all) - 1} { // the last byte of estargz is not of the tar
			r, err := compress.NewDecoder().DecodeTar(t.Context(), bytes.NewReader(raw), detect(t, raw), &limitedWriter{room, broken})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, r); !errors.Is(err, broken) {
				t.Errorf("%s: with room for %d of %d bytes: %v", c, room, len(all), err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestDecodeLarge has blobs that are larger than all buffers.
func TestDecodeLarge(t *testing.T) {
	t.Parallel()
	data := makeTar(t, "noise", string(noise(2<<20)), "more", string(noise(1<<19)))
	for _, c := range []buildcache.Compression{buildcache.Gzip, buildcache.Zstd, buildcache.Estargz} {
		raw, encoded := encode(t, data, c, 0)
		encoding := detect(t, raw)
		read := &countingReader{r: bytes.NewReader(raw)}
		got, full, err := decodeTar(read, encoding)
		if err != nil || !bytes.Equal(got, data) || read.n != len(raw) {
			t.Errorf("%s: %d bytes of %d after %d of %d, %v", c, len(got), len(data), read.n, len(raw), err)
		}
		if c == buildcache.Estargz && encoded.FullDigest != sum(full) {
			t.Errorf("%s: in full %s, want %s", c, sum(full), encoded.FullDigest)
		}
		for _, size := range []int{len(raw) - 1, len(raw) / 2, 1<<20 + 1} {
			if got, _, err := decodeTar(bytes.NewReader(raw[:size]), encoding); err == nil {
				t.Errorf("%s, cut to %d of %d bytes, gives %d bytes of %d", c, size, len(raw), len(got), len(data))
			}
		}
		for _, at := range []int{len(raw) / 3, encodedEnd(encoding, raw) - 3} {
			flipped := bytes.Clone(raw)
			flipped[at] ^= 0x10
			if got, _, err := decodeTar(bytes.NewReader(flipped), encoding); err == nil {
				t.Errorf("%s, with byte %d of %d altered, gives %d bytes as if nothing was", c, at, len(raw), len(got))
			}
		}
		broken := errors.New("broken")
		for _, at := range []int{1 << 19, 3 << 19, len(raw)} {
			bad := io.MultiReader(bytes.NewReader(raw[:at]), iotest.ErrReader(broken))
			if _, _, err := decodeTar(bad, encoding); !errors.Is(err, broken) {
				t.Errorf("%s of what breaks after %d of %d bytes: %v", c, at, len(raw), err)
			}
		}
	}
}

// encodedEnd returns where the last member of the tar ends.
func encodedEnd(p compress.Encoding, raw []byte) int {
	if p.Compression == buildcache.Estargz {
		return int(p.TOCOffset)
	}
	return len(raw)
}

// TestDecodeCloseEarly leaves blobs half read, and wants nothing left behind.
func TestDecodeCloseEarly(t *testing.T) {
	t.Parallel()
	data := makeTar(t, "noise", string(noise(1<<20)))
	for _, c := range buildcache.Compressions() {
		raw, _ := encode(t, data, c, 0)
		encoding := detect(t, raw)
		synctest.Test(t, func(t *testing.T) { // it fails where a goroutine stays
			r, err := compress.NewDecoder().DecodeTar(t.Context(), bytes.NewReader(raw), encoding, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
				t.Error(err)
			}
			for range 2 {
				if err := r.Close(); err != nil {
					t.Errorf("%s: %v", c, err)
				}
			}
		})
	}
}
