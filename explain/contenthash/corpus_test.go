package contenthash_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain/contenthash"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/explain/provenance"
)

// TestContexts says that what BuildKit has as content of a build context is ours too: every step that copies from one has
// the key that BuildKit told.
func TestContexts(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(explaintest.Unpack(t, "builds/"), "builds")
	for build, want := range map[string]int{
		"1-basic": 3, "3-copyflags": 11, "4-args": 1, "6-platform": 3, "7-named": 2, "8-llb": 1, "why": 3,
	} {
		t.Run(build, func(t *testing.T) {
			t.Parallel()
			var oracle []explaintest.Record
			explaintest.ReadJSON(t, filepath.Join(dir, build, "oracle.json"), &oracle)
			told := map[string]string{}
			for _, r := range oracle {
				if r.Output == -1 {
					told[r.Digest] = r.Preimage
				}
			}
			found := map[string]bool{}
			for _, name := range []string{"provenance.json", "provenance1.json", "history-predicate.json"} {
				data, err := os.ReadFile(filepath.Join(dir, build, name))
				if err != nil {
					continue
				}
				builds, err := provenance.Parse(data)
				if err != nil {
					t.Fatal(err)
				}
				for _, b := range builds {
					checkContexts(t, b, filepath.Join(dir, build), told, found)
				}
			}
			if len(found) != want {
				t.Errorf("%d contents compared, want %d", len(found), want)
			}
		})
	}
}

func checkContexts(t *testing.T, b *provenance.Build, dir string, told map[string]string, found map[string]bool) {
	t.Helper()
	for _, s := range b.Steps {
		m, err := s.Op.CacheMap(len(s.Inputs), b.Builder, llb.FormV17)
		if err != nil {
			continue
		}
		for i, dep := range m.Deps {
			source := b.Steps[s.Inputs[i].Step].Op.Source
			if source == nil || !source.IsLocal() || !dep.Content {
				continue
			}
			exclude, err := source.Patterns("local.excludepatterns")
			if err != nil {
				t.Fatal(err)
			}
			_, name := source.Scheme()
			if name != "context" && name != "dockerfile" {
				name = "extra"
			} else {
				name = "context"
			}
			tree, err := contenthash.FromDir(filepath.Join(dir, name), contenthash.Filter{Exclude: exclude})
			if err != nil {
				t.Fatal(err)
			}
			var sums []digest.Digest
			for _, p := range dep.Paths {
				sum, err := tree.Checksum(p)
				if err != nil {
					t.Fatal(err)
				}
				sums = append(sums, sum)
			}
			if len(dep.Paths) == 0 {
				sum, err := tree.Checksum(llb.Selection{})
				if err != nil {
					t.Fatal(err)
				}
				sums = append(sums, sum)
			}
			record := llb.ContentRecord(sums).String()
			if _, ok := told[record]; !ok {
				t.Errorf("%s: content %s of %v is none that BuildKit told", s.ID, record, dep.Paths)
				continue
			}
			found[record] = true
		}
	}
}
