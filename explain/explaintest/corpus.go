// Package explaintest provides real builds for tests: their contexts, provenance
// and caches, what BuildKit itself reported about every cache key, and builds
// with one change each, with what BuildKit did with every step.
// testdata/explain/README.md describes them.
package explaintest

import (
	"encoding/json"
	"os"
	"testing"
)

// Paths of the builds, relative to this file.
const (
	corpus  = "../../testdata/explain/corpus.tar.zst"
	twins   = "../../testdata/explain/twins.tar.zst"
	same    = "../../testdata/explain/same.tar.zst"
	sources = "../../testdata/explain/sources.tar.zst"
)

// Unpack unpacks the parts of the corpus whose names begin with one of the
// prefixes, and returns the directory. Files keep their modes and links;
// everything belongs to whoever runs the test.
func Unpack(t testing.TB, prefixes ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := UnpackTo(t.Context(), dir, prefixes...); err != nil {
		t.Fatal(err)
	}
	return dir
}

// ReadJSON reads a file of the corpus.
func ReadJSON(t testing.TB, path string, to any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, to); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// Record is what BuildKit itself reported about one record.
type Record struct {
	Digest   string `json:"digest"`
	Key      string `json:"key"`
	Output   int    `json:"output"`
	Preimage string `json:"preimage"`
	Record   int    `json:"record"`
	Type     string `json:"type"`
	Source   string `json:"source"`
	// Parts are the preimages of the digests in a content key's preimage.
	Parts     map[string]string `json:"parts"`
	Selectors map[string]string `json:"selectors"`
}

// Truth is what BuildKit did with one step.
type Truth struct {
	Name   string `json:"name"`
	Vertex string `json:"vertex"`
	Cached bool   `json:"cached"`
}
