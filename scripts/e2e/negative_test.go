//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// TestNegativeControls breaks a converted cache, mostly in ways that BuildKit
// passes over in silence, and requires that the oracle sees each.
func TestNegativeControls(t *testing.T) {
	needOcicache(t)
	f := findFixture(t, "artifact-gzip")
	src, whole := f.copy(t), filepath.Join(t.TempDir(), "converted")
	convert(t, src, f.tagName(), whole, target{ociIndex, zstd})

	// The layer that all but the COPY --link lie on.
	base := mustReadCache(t, whole, f.tagName()).blob(f.reference(t)["linux/amd64"][0])
	tests := []struct {
		name string
		// edit gives the config that the cache gets instead of its own.
		edit func(t *testing.T, config jsonObject) jsonObject
		hits int
	}{
		{"only rewritten", unchanged, 15}, // shows that replacing the config does no harm
		{"digest of the base layer altered", alterBlob(base), 1},
		{"cache keys altered", alterRecords, 0},
		{"layers not rewritten", func(t *testing.T, _ jsonObject) jsonObject {
			return configOf(t, src, f.tagName())
		}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := copyDir(t, whole)
			replaceConfig(t, dir, f.tagName(), tt.edit(t, configOf(t, dir, f.tagName())))
			f.requireHits(t, dir, tt.hits)
		})
	}
	t.Run("layer missing", func(t *testing.T) {
		t.Parallel()
		dir := copyDir(t, whole)
		if err := os.Remove(filepath.Join(dir, descriptor{Digest: base}.path())); err != nil {
			t.Fatal(err)
		}
		if got := f.importFrom(t, dir); got.Err == nil {
			t.Error("the build did not fail")
		}
	})
	t.Run("empty directory", func(t *testing.T) {
		t.Parallel()
		f.requireHits(t, t.TempDir(), 0)
	})
}

// requireHits requires that so many steps are cached and the others ran. The
// build itself succeeds: that is why BuildKit's exit status proves nothing.
func (f *fixture) requireHits(t *testing.T, dir string, want int) {
	t.Helper()
	got := f.importFrom(t, dir)
	if got.Err != nil {
		t.Fatal(got.Err)
	}
	if steps := len(f.untouched(t).Steps); len(got.Steps) != steps {
		t.Errorf("the build has %d steps, want %d", len(got.Steps), steps)
	}
	if hits := countCached(got.Steps); hits != want {
		t.Errorf("%d steps were cached, want %d", hits, want)
	}
}

func unchanged(_ *testing.T, config jsonObject) jsonObject { return config }

// alterBlob names another blob as a layer.
func alterBlob(digest string) func(*testing.T, jsonObject) jsonObject {
	return func(t *testing.T, config jsonObject) jsonObject {
		t.Helper()
		for _, l := range objects(t, config["layers"]) {
			if l["blob"] == digest {
				l["blob"] = flip(digest)
			}
		}
		return config
	}
}

func alterRecords(t *testing.T, config jsonObject) jsonObject {
	t.Helper()
	for _, r := range objects(t, config["records"]) {
		r["digest"] = flip(text(t, r["digest"]))
	}
	return config
}
