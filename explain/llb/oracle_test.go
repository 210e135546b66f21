package llb_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/explain/provenance"
)

// provenanceOf returns the builds that a directory of the corpus has.
func provenanceOf(t *testing.T, dir string) []*provenance.Build {
	t.Helper()
	var builds []*provenance.Build
	for _, name := range []string{"provenance.json", "provenance1.json", "history-predicate.json"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		found, err := provenance.Parse(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		builds = append(builds, found...)
	}
	return builds
}

// TestPreimages says that every preimage that BuildKit told of an operation is ours, byte for byte, and that nothing
// but operations without a name in provenance is left over.
func TestPreimages(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(explaintest.Unpack(t, "builds/"), "builds")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) {
			t.Parallel()
			var oracle []explaintest.Record
			explaintest.ReadJSON(t, filepath.Join(dir, e.Name(), "oracle.json"), &oracle)
			ours := map[string]llb.Key{} // by record digest
			for _, b := range provenanceOf(t, filepath.Join(dir, e.Name())) {
				addKeys(t, ours, b)
			}
			left := 0
			for _, r := range oracle {
				if r.Output < 0 {
					continue // of a content, which no operation has
				}
				key, ok := ours[r.Digest]
				if !ok {
					left++
					t.Logf("no key for record %d: %s", r.Record, r.Preimage)
					continue
				}
				if want := r.Preimage; want != "" && key.Preimage != want && key.Preimage != r.Source {
					t.Errorf("record %d: preimage\n%s, want\n%s", r.Record, key.Preimage, want)
				}
				if key.Text != r.Key {
					t.Errorf("record %d: key %s, want %s", r.Record, key.Text, r.Key)
				}
			}
			if want := map[string]int{"8-llb": 1, "8-build": 1}[e.Name()]; left != want { // a symlink; a nested build
				t.Errorf("%d records without a key, want %d", left, want)
			}
		})
	}
}

// addKeys adds the keys of a build by the digests of their records.
func addKeys(t *testing.T, keys map[string]llb.Key, b *provenance.Build) {
	t.Helper()
	for i, s := range b.Steps {
		for _, key := range s.Op.Keys(b.Builder, b.Pin(i)) {
			keys[key.Record(0).String()] = key
		}
		m, err := s.Op.CacheMap(len(s.Inputs), b.Builder, llb.FormV17)
		if err != nil {
			continue
		}
		for output := range 4 {
			keys[m.Key.Record(output).String()] = m.Key
		}
	}
}

// TestSelectors says that the selectors of links in the caches are ours.
func TestSelectors(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(explaintest.Unpack(t, "builds/"), "builds")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, e := range entries {
		var oracle []explaintest.Record
		explaintest.ReadJSON(t, filepath.Join(dir, e.Name(), "oracle.json"), &oracle)
		ours := map[string][]string{} // by key
		for _, b := range provenanceOf(t, filepath.Join(dir, e.Name())) {
			for _, s := range b.Steps {
				if m, err := s.Op.CacheMap(len(s.Inputs), b.Builder, llb.FormV17); err == nil {
					for _, dep := range m.Deps {
						ours[m.Key.Text] = append(ours[m.Key.Text], dep.Selector.String())
					}
				}
			}
		}
		for _, r := range oracle {
			for selector := range r.Selectors {
				if all, ok := ours[r.Key]; ok {
					found++
					if !strings.Contains(strings.Join(all, " "), selector) {
						t.Errorf("%s: record %d has selector %s, ours are %v", e.Name(), r.Record, selector, all)
					}
				}
			}
		}
	}
	if found < 30 {
		t.Errorf("%d selectors compared, want 30 or more", found)
	}
}
