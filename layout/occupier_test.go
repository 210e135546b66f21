package layout_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/layout"
)

func TestDirOccupies(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	dir, err := layout.Create(t.Context(), filepath.Join(base, "cache"), layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"link": "cache", "nowhere": "none", "cache/out": ".."} {
		if err := os.Symlink(to, filepath.Join(base, name)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]bool{
		"cache": true, "cache/a.tar": true, "cache/index.json": true, "cache/no/such/a.tar": true, "cache/blobs/../a.tar": true,
		"link": true, "link/a.tar": true,
		"a.tar": false, "cache2": false, "cache.tar": false, "nowhere": false, "nowhere/a.tar": false, "cache/../a.tar": false,
		"cache/out/a.tar": false, "cache/out/cache/a.tar": true,
	} {
		if got := dir.Occupies(base + "/" + path); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	if err := os.RemoveAll(dir.String()); err != nil {
		t.Fatal(err)
	}
	if dir.Occupies(filepath.Join(base, "cache")) {
		t.Error("a layout that is gone occupies a path")
	}
}

// Where a directory is not there yet, its name says what will lie in it.
func TestIsWithinWhatIsNotThere(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	if err := os.Symlink(".", filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"new": true, "new/receipt": true, "link/new/receipt": true, "new/no/such": true, "new/../new/x": true,
		"new2": false, "receipt": false, "new/../receipt": false, "no/new": false, "..": false,
	} {
		for _, dir := range []string{"/new", "/link/new", "/new/."} {
			if got := layout.IsWithin(base+"/"+path, base+dir); got != want {
				t.Errorf("%s in %s: %v, want %v", path, dir, got, want)
			}
		}
	}
}
