package oracle

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
)

// TestDamaged asks BuildKit whether what the damaged caches of package buildcache say of it is true.
func TestDamaged(t *testing.T) {
	paths, err := filepath.Glob("../../buildcache/testdata/damaged/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatal("no damaged caches", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			var d struct {
				About                string
				Root, Config         json.RawMessage
				RootText, ConfigText string
				RootSize             int64
				Imports              bool
				Results              int
			}
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(raw, &d); err != nil {
				t.Fatal(err)
			}
			if d.Root == nil {
				d.Root = []byte(d.RootText)
			}
			if d.Config == nil {
				d.Config = []byte(d.ConfigText)
			}
			if d.RootSize == 0 {
				d.RootSize = int64(len(d.Root))
			}
			err = importCache(t, d.Root, d.RootSize, d.Config)
			if (err == nil) != d.Imports {
				t.Fatalf("%s: BuildKit says: %v", d.About, err)
			}
			root, rootErr := buildcache.ParseRoot(d.Root)
			if errors.Is(err, errImage) != errors.Is(rootErr, buildcache.ErrNotCache) && err == nil {
				t.Errorf("BuildKit says: %v; ParseRoot says: %v", err, rootErr)
			}
			if !d.Imports {
				return
			}
			kept, err := parseConfig(root, d.Config)
			if err != nil || kept.n != d.Results {
				t.Errorf("%s: BuildKit keeps %d results, and says: %v", d.About, kept.n, err)
			}
		})
	}
}
