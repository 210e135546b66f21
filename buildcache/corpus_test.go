package buildcache_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// corpus is where the caches lie that BuildKit itself exported.
const corpus = "../testdata/caches"

// exported is a cache of the corpus, as its bytes.
type exported struct {
	Name   string // of the layout, and of the root's blob where a layout has several
	Root   []byte
	Config []byte
}

// corpusLayouts returns the names of the layouts in the corpus.
func corpusLayouts(tb testing.TB) []string {
	tb.Helper()
	entries, err := os.ReadDir(corpus)
	if err != nil {
		tb.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if len(names) < 19 {
		tb.Fatalf("the corpus has %d layouts, which can't be all", len(names))
	}
	return names
}

// corpusExports returns every root in the corpus with its config, also those that no tag names.
func corpusExports(tb testing.TB) []exported {
	tb.Helper()
	var all []exported
	for _, name := range corpusLayouts(tb) {
		dir := filepath.Join(corpus, name, "blobs", "sha256")
		blobs, err := os.ReadDir(dir)
		if err != nil {
			tb.Fatal(err)
		}
		for _, blob := range blobs {
			raw := readFile(tb, filepath.Join(dir, blob.Name()))
			root, err := buildcache.ParseRoot(raw)
			if err != nil {
				continue // a layer, a config, an image
			}
			config := readFile(tb, filepath.Join(dir, root.Config.Digest.Encoded()))
			all = append(all, exported{Name: name + "/" + blob.Name()[:8], Root: raw, Config: config})
		}
	}
	if len(all) < 20 {
		tb.Fatalf("the corpus has %d roots, which can't be all", len(all))
	}
	return all
}

// corpusRoot returns the bytes of the root that a layout of the corpus names.
func corpusRoot(tb testing.TB, name string) []byte {
	tb.Helper()
	index, err := buildcache.ParseIndex(readFile(tb, filepath.Join(corpus, name, "index.json")))
	if err != nil {
		tb.Fatal(err)
	}
	return readFile(tb, filepath.Join(corpus, name, "blobs", "sha256", index.Entries[0].Digest.Encoded()))
}

func readFile(tb testing.TB, path string) []byte {
	tb.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func parseRoot(tb testing.TB, raw []byte) *buildcache.Root {
	tb.Helper()
	root, err := buildcache.ParseRoot(raw)
	if err != nil {
		tb.Fatalf("ParseRoot: %v\n%s", err, raw)
	}
	return root
}

func parseConfig(tb testing.TB, raw []byte) *buildcache.Config {
	tb.Helper()
	config, err := buildcache.ParseConfig(raw)
	if err != nil {
		tb.Fatalf("ParseConfig: %v\n%.200s", err, raw)
	}
	return config
}

func marshal(tb testing.TB, value any) string {
	tb.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	return string(raw)
}

// sum returns a well-formed digest, another one for each text.
func sum(text string) digest.Digest { return digest.FromString(text) }
