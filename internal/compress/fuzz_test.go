package compress_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/internal/quicktest"
)

const (
	maxSeed   = 2 << 10 // larger seeds make fuzzing slow and teach it nothing new
	maxOutput = 8 << 20 // a few bytes may decode to any number of them
)

// addSeeds adds layers of BuildKit's in every compression, and hand-made ones.
func addSeeds(f *testing.F) {
	f.Helper()
	seen := map[digest.Digest]bool{} // caches have layers in common
	for _, layer := range corpusLayers(f) {
		few := compress.DetectHead(layer.Raw) != buildcache.Gzip || layer.Digest.Encoded() < "4" // of many of gzip a quarter
		if len(layer.Raw) <= maxSeed && !seen[layer.Digest] && (few || quicktest.Rounds(0, 1) > 0) {
			f.Add(layer.Raw)
		}
		seen[layer.Digest] = true
	}
	file, toc := member(f, "file", "content"), member(f, "stargz.index.json", "{}")
	f.Add([]byte{})
	f.Add(bytes.Join([][]byte{file, toc, footer(f, len(file))}, nil))
	f.Add(bytes.Join([][]byte{file, footer(f, len(file))}, nil))
	f.Add(bytes.Join([][]byte{file, toc, legacyFooter(f, len(file))}, nil))
	f.Add(bytes.Join([][]byte{file, toc, []byte("junk")}, nil))
	f.Add(bytes.Join([][]byte{windowFrame(20), windowFrame(25), []byte("\x50\x2a\x4d\x18\x02\x00\x00\x00sk"), windowFrame(18)}, nil))
	f.Add(zstdFrame(0, 0x98))
	f.Add(singleSegment(1 << 63))
	f.Add([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00skip"))
}

func FuzzDetect(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		encoding, err := compress.Detect(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		head := compress.DetectHead(raw[:min(4, len(raw))])
		if encoding.Compression != head && (encoding.Compression != buildcache.Estargz || head != buildcache.Gzip) {
			t.Errorf("detected as %s, by its head as %s", encoding.Compression, head)
		}
		if isOne := encoding.Compression == buildcache.Estargz; isOne != (encoding.TOCOffset > 0) || encoding.TOCOffset > int64(len(raw)) {
			t.Errorf("%+v of %d bytes", encoding, len(raw))
		}
	})
}

// drain reads at most maxOutput bytes and returns their digest, how many they were, and the error that ended it.
func drain(r io.ReadCloser) (d digest.Digest, n int64, err error) {
	hash := sha256.New()
	n, err = io.Copy(hash, io.LimitReader(r, maxOutput))
	return digest.NewDigest(digest.SHA256, hash), n, errors.Join(err, r.Close())
}

// asBuildKit decodes with the decoders that BuildKit has.
func asBuildKit(raw []byte, c buildcache.Compression) (io.ReadCloser, error) {
	switch c {
	case buildcache.Gzip, buildcache.Estargz:
		return gzip.NewReader(bytes.NewReader(raw))
	case buildcache.Zstd:
		r, err := zstd.NewReader(struct{ io.Reader }{bytes.NewReader(raw)}, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return r.IOReadCloser(), nil
	default:
		return io.NopCloser(bytes.NewReader(raw)), nil
	}
}

func FuzzCheckTar(f *testing.F) {
	for _, layer := range corpusLayers(f) {
		if data, err := decode(bytes.NewReader(layer.Raw), detect(f, layer.Raw).Compression); err == nil && len(data) <= 4*maxSeed {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, err := compress.CheckTar(bytes.NewReader(raw))
		entries, want := tar.NewReader(bytes.NewReader(raw)), error(nil)
		for want == nil {
			if _, want = entries.Next(); want == nil {
				_, want = io.Copy(io.Discard, entries)
			}
		}
		if (err == nil) != errors.Is(want, io.EOF) {
			t.Errorf("CheckTar: %v, reading all files: %v", err, want)
		}
	})
}

func FuzzDecode(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, c := range buildcache.Compressions() {
			if r, err := compress.NewDecoder().Decode(t.Context(), bytes.NewReader(raw), c); err == nil {
				_, _, err = drain(r)
				var decodeErr *compress.DecodeError
				if err != nil && !errors.As(err, &decodeErr) {
					t.Errorf("%s: an error of another type: %v", c, err)
				}
			}
		}
		encoding, err := compress.Detect(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		r, err := compress.NewDecoder().Decode(t.Context(), bytes.NewReader(raw), encoding.Compression)
		if err != nil {
			return
		}
		want, all, decodeErr := drain(r)
		theirs, theirErr := asBuildKit(raw, encoding.Compression)
		if theirErr == nil {
			var d digest.Digest
			if d, _, theirErr = drain(theirs); theirErr == nil && decodeErr == nil && d != want {
				t.Errorf("%+v: decodes to %s, in BuildKit to %s", encoding, want, d)
			}
		}
		if all < maxOutput && (theirErr == nil) != (decodeErr == nil) {
			t.Errorf("%+v: %v, BuildKit: %v", encoding, decodeErr, theirErr)
		}
		full := sha256.New()
		r, err = compress.NewDecoder().DecodeTar(t.Context(), bytes.NewReader(raw), encoding, full)
		if errors.Is(err, compress.ErrNotEstargz) {
			return
		}
		if err != nil {
			t.Fatalf("%+v: Decode began, DecodeTar: %v", encoding, err)
		}
		_, part, err := drain(r)
		if all == maxOutput || part == maxOutput {
			return // there is more, which was not read
		}
		if errors.Is(err, compress.ErrNotEstargz) {
			return
		}
		if (err == nil) != (decodeErr == nil) {
			t.Errorf("%+v: DecodeTar: %v, Decode: %v", encoding, err, decodeErr)
		}
		if got := digest.NewDigest(digest.SHA256, full); err == nil && got != want {
			t.Errorf("%+v: DecodeTar in full %s, Decode %s", encoding, got, want)
		}
	})
}

// FuzzEncode makes estargz of any tar. Either it refuses it, or it comes back, and so does all that was encoded.
func FuzzEncode(f *testing.F) {
	f.Add(smallTar(f))
	f.Add(makeTar(f, "stargz.index.json", "{}", ".no.prefetch.landmark", "x"))
	f.Add(danglingPAX(f))
	f.Add(cutTar(f, 100)[:1024])
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := compress.CheckTar(bytes.NewReader(data)); err != nil {
			return // what is no tar, or not a whole one, is not to be encoded
		}
		var raw bytes.Buffer
		encoded, err := compress.Encode(&raw, bytes.NewReader(data), buildcache.Estargz, 1)
		if err != nil {
			return
		}
		encoding := detect(t, raw.Bytes())
		if encoding.Compression != buildcache.Estargz {
			t.Fatalf("estargz is detected as %+v", encoding)
		}
		back, full, err := decodeTar(bytes.NewReader(raw.Bytes()), encoding)
		if err != nil || !bytes.Equal(back, data) || encoded.FullDigest != digest.FromBytes(full) || encoded.FullSize != int64(len(full)) {
			t.Errorf("%d bytes come back as %d, in full %d (%v)", len(data), len(back), len(full), err)
		}
	})
}
