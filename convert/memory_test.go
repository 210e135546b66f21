package convert_test

import (
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

// TestJournalLies takes nothing from a journal that says a layer becomes something with another diffID: BuildKit would
// fail the builds that hit it.
func TestJournalLies(t *testing.T) {
	t.Parallel()
	src, dst := openCorpus(t, "artifact-gzip"), layouttest.Create(t)
	want := run(t, src, layouttest.Create(t), toZstd).To.Digest
	other := load(t, openCorpus(t, "artifact-zstd"), "").Root.Layers
	for i, layer := range layersOf(load(t, src, "")) {
		lie := other[0]
		if layer.DiffID() == lie.DiffID() {
			lie = other[len(other)-1]
		}
		putBlob(t, dst, read(t, openCorpus(t, "artifact-zstd"), lie))
		recipe := layout.Recipe{
			From: layer.Digest, Compression: buildcache.Zstd, Version: compress.Version(buildcache.Zstd),
		}
		outcome := buildcache.Blob{Digest: lie.Digest, Size: lie.Size, Compression: buildcache.Zstd, DiffID: lie.DiffID()}
		if err := dst.Remember(t.Context(), recipe, outcome); err != nil {
			t.Fatal(err)
		}
		if i == 0 { // the lie must be one that would be believed
			known, err := dst.Recall(t.Context())
			if err != nil || known[recipe] != outcome {
				t.Fatalf("%v, %v", known, err)
			}
		}
	}
	result := run(t, src, dst, toZstd)
	wantEqual(t, "root", result.To.Digest, want)
	wantClean(t, dst, "latest")
}

// TestJournalChoosesNothing wants the same result with the journal and without: it may save work, but must not choose
// between what the destination holds and what was made before.
func TestJournalChoosesNothing(t *testing.T) {
	t.Parallel()
	dst := layouttest.Create(t)
	ours, theirs := openCorpus(t, "artifact-zstd"), openCorpus(t, "artifact-gzip-level9")
	toGzip := convert.Options{Compression: buildcache.Gzip}
	run(t, ours, dst, toGzip)
	if _, err := convert.Convert(t.Context(), theirs, layouttest.Entry(t, theirs, ""), dst, "theirs", convert.Options{}); err != nil {
		t.Fatal(err)
	}
	forgot := copyTree(t, dst.String())
	if err := os.Remove(filepath.Join(forgot, ".ocicache", "journal")); err != nil {
		t.Fatal(err)
	}
	var roots []digest.Digest
	for _, place := range []*layout.Dir{dst, open(t, forgot)} {
		result, err := convert.Convert(t.Context(), ours, layouttest.Entry(t, ours, ""), place, "again", toGzip)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "actions", actions(result), map[convert.Action]int{convert.Reuse: 14})
		roots = append(roots, result.To.Digest)
	}
	wantEqual(t, "root without the journal", roots[1], roots[0])
}
