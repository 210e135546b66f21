package explain_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
	"github.com/ocicache/ocicache/layout"
)

// opened is a cache of the corpus.
type opened struct {
	*layout.Cache
	place *layout.Dir
}

func openCache(t testing.TB, dir string) opened {
	t.Helper()
	place, err := layout.Open(dir, layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	entry, err := layout.OneCache(t.Context(), place, "")
	if err != nil {
		t.Fatal(err)
	}
	c, err := layout.Load(t.Context(), place, entry)
	if err != nil {
		t.Fatal(err)
	}
	return opened{c, place}
}

func buildsOf(t testing.TB, paths ...string) []*provenance.Build {
	t.Helper()
	var builds []*provenance.Build
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		found, err := provenance.Parse(data)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		builds = append(builds, found...)
	}
	if len(builds) == 0 {
		t.Fatalf("no builds in %v", paths)
	}
	return builds
}

// ways counts records by how the best of their names is known.
type ways map[explain.How]int

func countWays(records []explain.Record) (named int, found ways) {
	found = ways{}
	for _, r := range records {
		if r.Kind == explain.KindForeign {
			continue
		}
		named++
		best := explain.ByPosition
		for _, n := range r.Names {
			if n.How != explain.ByPosition {
				best = n.How
				break
			}
		}
		found[best]++
	}
	return named, found
}

// TestNames says how many records of each build are named, and how.
func TestNames(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(explaintest.Unpack(t, "builds/"), "builds")
	for name, test := range map[string]struct {
		records, left int
		ways          ways // with the context and the layers at hand
		bare          ways // with neither
	}{
		"1-basic":     {10, 0, ways{"key": 7, "content": 3}, ways{"key": 7, "position": 3}},
		"3-copyflags": {29, 0, ways{"key": 18, "content": 11}, ways{"key": 18, "position": 11}},
		"4-args":      {14, 0, ways{"key": 11, "content": 1, "definition": 2}, ways{"key": 11, "position": 1, "definition": 2}},
		"6-platform":  {19, 0, ways{"key": 13, "content": 3, "layers": 3}, ways{"key": 13, "position": 6}},
		"7-named":     {5, 0, ways{"key": 3, "content": 2}, ways{"key": 3, "position": 2}},
		"8-llb":       {14, 0, ways{"key": 10, "position": 1, "content": 1, "layers": 2}, ways{"key": 10, "position": 4}},
		"8-build":     {7, 1, ways{"key": 4, "position": 1, "layers": 1}, ways{"key": 4, "position": 2}},
		"why":         {16, 0, ways{"key": 11, "content": 3, "layers": 2}, ways{"key": 11, "position": 5}},
		"gateway":     {16, 0, ways{"key": 11, "position": 5}, ways{"key": 11, "position": 5}},
		"git-context": {17, 0, ways{"key": 12, "position": 5}, ways{"key": 12, "position": 5}},
		"mode-min":    {16, 0, ways{"key": 11, "position": 5}, ways{"key": 11, "position": 5}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := filepath.Join(dir, name)
			cache := openCache(t, filepath.Join(at, "cache"))
			builds := buildsOf(t, filepath.Join(at, "provenance.json"), filepath.Join(at, "provenance1.json"), filepath.Join(at, "history-predicate.json"))
			o := explain.Options{Contexts: explain.Contexts{}, Layers: explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{})}
			for _, name := range []string{"context", "extra"} {
				if _, err := os.Stat(filepath.Join(at, name)); err == nil {
					o.Contexts[name] = filepath.Join(at, name)
				}
			}
			for _, with := range []struct {
				explain.Options
				want ways
			}{{o, test.ways}, {explain.Options{}, test.bare}} {
				records, err := explain.NameRecords(t.Context(), cache.Cache, builds, with.Options)
				if err != nil {
					t.Fatal(err)
				}
				named, got := countWays(records)
				if len(records) != test.records || len(records)-named != test.left {
					t.Errorf("%d of %d records are named, want all of %d but %d", named, len(records), test.records, test.left)
				}
				for how, want := range with.want {
					if got[how] != want {
						t.Errorf("by %s: %d, want %d (all: %v)", how, got[how], want, got)
					}
				}
			}
		})
	}
}

// TestNamesOfMany names the records of a cache of 36 stages, from LLB that was made without a daemon.
func TestNamesOfMany(t *testing.T) {
	t.Parallel()
	cache := openCache(t, "../testdata/caches/many-docker-list-gzip")
	builds, err := provenance.Parse(explaintest.ReadLLB(t, "many"))
	if err != nil {
		t.Fatal(err)
	}
	o := explain.Options{
		Contexts: explain.Contexts{"context": plainCopy(t, "../testdata/contexts/many")},
		Layers:   explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{}),
	}
	records, err := explain.NameRecords(t.Context(), cache.Cache, builds, o)
	if err != nil {
		t.Fatal(err)
	}
	if named, got := countWays(records); named != 291 || got["key"] != 254 || got["content"] != 1 || got["layers"] != 36 {
		t.Errorf("%d records are named: %v, want 291: 254 by key, 1 by content, 36 by layers", named, got)
	}
}

// plainCopy returns a copy of a context with the modes that it was built with, whatever a checkout made of them.
func plainCopy(t *testing.T, context string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "context")
	if err := os.CopyFS(to, os.DirFS(context)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(to, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return os.Chmod(path, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func BenchmarkNamesOfMany(b *testing.B) {
	cache := openCache(b, "../testdata/caches/many-docker-list-gzip")
	builds, err := provenance.Parse(explaintest.ReadLLB(b, "many"))
	if err != nil {
		b.Fatal(err)
	}
	for name, contents := range map[string]bool{"keys": false, "contents": true} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var o explain.Options
				if contents {
					o.Layers = explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{})
				}
				if _, err := explain.NameRecords(b.Context(), cache.Cache, builds, o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestBases says that the layers of an image are told with it, though its record has no result, and are counted once.
func TestBases(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	report, err := explain.NewReport(t.Context(), cache.Cache, buildsOf(t, filepath.Join(dir, "builds/why/provenance.json")), explain.ReportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var listed int64
	for _, l := range cache.Root.Layers {
		listed += l.Size
	}
	var added int64
	for _, s := range report.Steps {
		added += s.Added
		if s.Layer == nil || *s.Layer < 0 || *s.Layer >= len(cache.Config.Layers) {
			t.Errorf("%s: layer %v", s.Text, s.Layer)
		}
	}
	base := report.Steps[0]
	if base.Layers != 2 || base.Bytes != base.Added || base.Bytes == 0 || base.Results != 0 {
		t.Errorf("%+v, want two layers of the image", base)
	}
	if report.Total.Layers != len(cache.Config.Layers) || report.Total.Bytes != listed || added != listed {
		t.Errorf("%+v and %d added, want %d layers with %d bytes", report.Total, added, len(cache.Config.Layers), listed)
	}
}
