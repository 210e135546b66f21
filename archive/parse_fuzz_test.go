package archive_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
)

// someBlobs are blobs as a description or a receipt names them.
func someBlobs() []archive.Blob {
	blobs := []archive.Blob{
		{Digest: digest.FromString("one"), Size: 1}, {Digest: digest.FromString("two")}, {Digest: digest.SHA512.FromString("three"), Size: 1 << 60},
	}
	slices.SortFunc(blobs, func(a, b archive.Blob) int { return bytes.Compare([]byte(a.Digest), []byte(b.Digest)) })
	return blobs
}

// wantSane says that blobs that were taken can be what they say.
func wantSane(t *testing.T, blobs []archive.Blob) {
	t.Helper()
	for _, blob := range blobs {
		if buildcache.CheckDigest(blob.Digest) != nil || blob.Size < 0 {
			t.Errorf("%+v was taken", blob)
		}
	}
}

// FuzzParseDescription reads any bytes as a bundle description. What is taken names each blob once, and is written and
// read again as the same.
func FuzzParseDescription(f *testing.F) {
	good := &archive.Description{Index: digest.FromString("index"), Blobs: someBlobs()[:2], Requires: someBlobs()[2:]}
	raw, err := good.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	for _, text := range []string{
		`{}`, `null`, `[]`, `{"ocicacheBundle":1}`, `{"ocicacheBundle":2,"index":"x"}`, `{"ocicacheBundle":1e400}`,
		fmt.Sprintf(`{"OCICACHEBUNDLE":1,"index":%q,"blobs":[{"digest":%[1]q,"size":-1}]}`, digest.FromString("x")),
		fmt.Sprintf(`{"ocicacheBundle":1,"index":%q,"blobs":[{"digest":%[1]q,"size":1},{"digest":%[1]q,"size":1}],"blobs":null}`, digest.FromString("x")),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := archive.ParseDescription(raw)
		if err != nil {
			if !errors.Is(err, archive.ErrDescription) {
				t.Errorf("another error: %v", err)
			}
			return
		}
		all := slices.Concat(d.Blobs, d.Requires)
		wantSane(t, all)
		seen := map[digest.Digest]bool{}
		for _, blob := range all {
			if seen[blob.Digest] {
				t.Errorf("%s is named twice", blob.Digest)
			}
			seen[blob.Digest] = true
		}
		written, err := d.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := archive.ParseDescription(written)
		if err != nil || again.Index != d.Index || !slices.Equal(again.Blobs, d.Blobs) || !slices.Equal(again.Requires, d.Requires) {
			t.Errorf("written and read again it is %+v (%v), was %+v", again, err, d)
		}
	})
}

// FuzzParseReceipt reads any bytes as a receipt. What is taken is in its order, and is written again with the id that it
// had: nobody changed it.
func FuzzParseReceipt(f *testing.F) {
	for _, receipt := range []*archive.Receipt{{}, {Blobs: someBlobs()}, {Blobs: someBlobs()[:1]}} {
		raw, err := receipt.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(append(raw, '\n'))
		f.Add(bytes.Replace(raw, []byte(`"size":1`), []byte(`"size":2`), 1))
	}
	f.Add([]byte(`{"ocicacheReceipt":1,"id":"","blobs":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		receipt, err := archive.ParseReceipt(raw)
		if err != nil {
			if !errors.Is(err, archive.ErrReceipt) {
				t.Errorf("another error: %v", err)
			}
			return
		}
		wantSane(t, receipt.Blobs)
		for i := 1; i < len(receipt.Blobs); i++ {
			if receipt.Blobs[i-1].Digest >= receipt.Blobs[i].Digest {
				t.Errorf("%s stands behind %s", receipt.Blobs[i].Digest, receipt.Blobs[i-1].Digest)
			}
		}
		written, err := receipt.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		// The id is the sum of what is written, so it stands in what was read, however that is spelt.
		again, err := archive.ParseReceipt(written)
		if err != nil || !slices.Equal(again.Blobs, receipt.Blobs) {
			t.Errorf("written and read again it is %+v (%v), was %+v", again, err, receipt)
		}
	})
}
