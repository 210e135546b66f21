package layout_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// FuzzJournal reads any bytes as the journal of a layout. What is recalled is claimed of blobs that are there with the
// size that is claimed, and lines of ours before it count.
func FuzzJournal(f *testing.F) {
	h := byHand(f)
	for n := range 2 {
		h.blob("", fmt.Sprint("blob", n))
	}
	if err := os.Mkdir(filepath.Join(h.path, ".ocicache"), 0o755); err != nil {
		f.Fatal(err)
	}
	line := func(outcome string) string {
		return fmt.Sprintf(`{"from":%q,"compression":"zstd","level":7,"version":"v1","digest":%q,%s,"diffID":%q}`,
			recipe(7).From, digest.FromString("blob1"), outcome, digest.FromString("tar"))
	}
	f.Add([]byte(line(`"size":5`) + "\n"))
	f.Add([]byte(line(`"size":4`) + "\n" + line(`"size":5,"tocDigest":"x","uncompressedSize":-1`)))
	f.Add([]byte("\n\x00\n{}\nnull\n[1]\n" + line(`"size":5e0`)[:40]))
	dir, journal := h.open(), filepath.Join(h.path, ".ocicache", "journal")
	if err := dir.Remember(f.Context(), recipe(0), cacheBlob("blob0")); err != nil {
		f.Fatal(err)
	}
	ours, err := os.ReadFile(journal)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(journal, append(ours[:len(ours):len(ours)], raw...), 0o644); err != nil {
			t.Fatal(err)
		}
		recalled, err := dir.Recall(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for recipe, blob := range recalled {
			has, err := dir.Has(t.Context(), buildcache.Descriptor{Digest: blob.Digest, Size: blob.Size})
			if err != nil || !has || buildcache.CheckDigest(blob.DiffID) != nil {
				t.Errorf("%+v gives %+v (%v)", recipe, blob, err)
			}
		}
		if _, ok := recalled[recipe(0)]; !ok {
			t.Error("the line of ours is lost")
		}
	})
}
