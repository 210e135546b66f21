package compress_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
)

const (
	maxSeed   = 2 << 10 // larger seeds make fuzzing slow and teach it nothing new
	maxOutput = 8 << 20 // a few bytes may unpack to any number of them
)

// addSeeds adds layers of BuildKit's in every compression, and hand-made ones.
func addSeeds(f *testing.F) {
	f.Helper()
	for _, layer := range corpusLayers(f) {
		if len(layer.Raw) <= maxSeed {
			f.Add(layer.Raw)
		}
	}
	file, toc := member(f, "file", "content"), member(f, "stargz.index.json", "{}")
	f.Add([]byte{})
	f.Add(bytes.Join([][]byte{file, toc, footer(f, len(file))}, nil))
	f.Add(bytes.Join([][]byte{file, footer(f, len(file))}, nil))
	f.Add(bytes.Join([][]byte{file, toc, legacyFooter(f, len(file))}, nil))
	f.Add(zstdFrame(0, 0x98))
	f.Add(singleSegment(1 << 63))
	f.Add([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00skip"))
}

func FuzzDetect(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		packing, err := compress.Detect(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		head := compress.DetectHead(raw[:min(4, len(raw))])
		if packing.Compression != head && (packing.Compression != buildcache.Estargz || head != buildcache.Gzip) {
			t.Errorf("detected as %s, by its head as %s", packing.Compression, head)
		}
		if isOne := packing.Compression == buildcache.Estargz; isOne != (packing.TOCOffset > 0) || packing.TOCOffset > int64(len(raw)) {
			t.Errorf("%+v of %d bytes", packing, len(raw))
		}
	})
}

// drain reads at most maxOutput bytes and returns their digest, how many they were, and the error that ended it.
func drain(r io.ReadCloser) (d digest.Digest, n int64, err error) {
	hash := sha256.New()
	n, err = io.Copy(hash, io.LimitReader(r, maxOutput))
	return digest.NewDigest(digest.SHA256, hash), n, errors.Join(err, r.Close())
}

func FuzzUnpack(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, c := range buildcache.Compressions() {
			if r, err := compress.Unpack(bytes.NewReader(raw), c); err == nil {
				_, _, err = drain(r)
				var unpackErr *compress.UnpackError
				if err != nil && !errors.As(err, &unpackErr) {
					t.Errorf("%s: an error of another type: %v", c, err)
				}
			}
		}
		packing, err := compress.Detect(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			t.Fatal(err)
		}
		r, err := compress.Unpack(bytes.NewReader(raw), packing.Compression)
		if err != nil {
			return
		}
		want, all, unpackErr := drain(r)
		full := sha256.New()
		r, err = compress.UnpackTar(bytes.NewReader(raw), packing, full)
		if err != nil {
			t.Fatalf("%+v: Unpack began, UnpackTar: %v", packing, err)
		}
		_, part, err := drain(r)
		if all == maxOutput || part == maxOutput {
			return // there is more, which was not read
		}
		if (err == nil) != (unpackErr == nil) {
			t.Errorf("%+v: UnpackTar: %v, Unpack: %v", packing, err, unpackErr)
		}
		if got := digest.NewDigest(digest.SHA256, full); err == nil && got != want {
			t.Errorf("%+v: UnpackTar in full %s, Unpack %s", packing, got, want)
		}
	})
}
