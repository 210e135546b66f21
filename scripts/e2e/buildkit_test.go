//go:build e2e

package e2e

import (
	"path/filepath"
	"testing"
)

// TestFreshCaches converts caches that BuildKit has just exported: of several
// layers, one of them empty, with a COPY --link, and for two platforms.
func TestFreshCaches(t *testing.T) {
	needOcicache(t)
	tests := []struct {
		context  string
		from, to target
	}{
		{"small", target{dockerList, gzip}, target{artifact, zstd}},
		{"small", target{artifact, zstd}, target{ociIndex, gzip}},
		{"small", target{ociIndex, estargz}, target{dockerList, uncompressed}},
		{"multi", target{ociIndex, uncompressed}, target{artifact, estargz}},
	}
	for _, tt := range tests {
		t.Run(tt.context+"/"+tt.from.String()+"/"+tt.to.String(), func(t *testing.T) {
			t.Parallel()
			opts := contexts[tt.context]
			src := exportCache(t, contextDir(t, tt.context), exportOptions{opts, tt.from})
			before := mustReadCache(t, src.Dir, defaultTag)
			if err := before.check(tt.from); err != nil {
				t.Fatalf("BuildKit's export: %v", err)
			}
			dst := filepath.Join(t.TempDir(), "converted")
			convert(t, src.Dir, defaultTag, dst, tt.to)
			after := mustReadCache(t, dst, defaultTag)
			if err := after.check(tt.to); err != nil {
				t.Fatalf("converted to %s: %v", tt.to, err)
			}
			got := importCache(t, dst, defaultTag, contextDir(t, tt.context), opts)
			requireAllCached(t, got)
			requireImages(t, got.Images, expectImages(t, src.Images, before, after))
		})
	}
}

// TestExportAgain lets BuildKit export into a layout that ocicache has
// converted in place, as the next build does, and ocicache convert what came
// of it: neither may disturb the other's index and locks.
func TestExportAgain(t *testing.T) {
	needOcicache(t)
	f := findFixture(t, "artifact-gzip")
	dir := f.copy(t)
	convertInPlace(t, dir, target{dockerList, zstd})
	f.exportInto(t, dir, "mode=max")
	f.requireUsable(t, dir)

	convertInPlace(t, dir, target{ociIndex, gzip})
	f.exportInto(t, dir, "mode=max,reset=true")
	unreached, err := blobsUnreached(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(unreached) > 0 {
		t.Errorf("reset=true did not delete %d old blobs", len(unreached))
	}
	f.requireUsable(t, dir)
}

// exportInto builds with the cache in dir and exports to the same.
func (f *fixture) exportInto(t *testing.T, dir, attributes string) {
	t.Helper()
	err := withDaemon(t.Context(), func(d *daemon) error {
		r, err := d.export(t.Context(), build{
			Context: contextDir(t, f.context),
			Imports: []string{localCache(dir, f.tagName())},
			Exports: []string{"type=local,dest=" + dir + "," + attributes},
		})
		if len(r.Warnings) > 0 {
			t.Errorf("BuildKit warns: %q", r.Warnings)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// requireUsable requires that BuildKit and ocicache find the cache whole.
func (f *fixture) requireUsable(t *testing.T, dir string) {
	t.Helper()
	ocicache(t, "verify", dir, "--deep")
	got := f.importFrom(t, dir)
	requireAllCached(t, got)
	requireImages(t, got.Images, f.reference(t))
}
