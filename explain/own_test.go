package explain_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
)

// TestOwn says what is changed of a step that misses for another one in the first place, and nothing that only came with the
// first cause.
func TestOwn(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	context := filepath.Join(dir, "builds/why/context")
	changed := t.TempDir()
	if err := os.CopyFS(changed, os.DirFS(context)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(changed, "src/a.txt"), []byte("changed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	command := []string{"echo $FLAVOUR", "echo new $FLAVOUR"}
	for name, test := range map[string]struct {
		variant string
		replace []string
		context string
		blind   bool // without the old build
		want    map[string]string
	}{
		"a variable for all that follow": {"04-env", nil, context, false, nil},
		"a variable and a command":       {"04-env", command, context, false, map[string]string{"Dockerfile:7": "command echo $FLAVOUR > /flavour -> echo new $FLAVOUR > /flavour"}},
		"the same, nobody knows which":   {"04-env", command, context, true, nil},
		"files and a command":            {"00-same", command, changed, true, map[string]string{"Dockerfile:7": "the cache has no such step here"}},
		"files, and in what":             {"00-same", command, changed, false, map[string]string{"Dockerfile:7": "command echo $FLAVOUR > /flavour -> echo new $FLAVOUR > /flavour"}},
		"a platform":                     {"13-platform", nil, context, false, nil},
		"a platform, nobody knows which": {"13-platform", nil, context, true, nil},
		"a platform and files":           {"13-platform", nil, changed, false, map[string]string{"Dockerfile:5": "src/a.txt changed (content)"}},
	} {
		b := rewritten(t, filepath.Join(dir, "why-variants", test.variant, "provenance.json"), test.replace...)
		o := explain.ReportOptions{Why: true}
		if !test.blind {
			o.Old = buildsOf(t, filepath.Join(dir, "builds/why/provenance.json"))
		}
		o.Contexts = explain.Contexts{"context": test.context}
		o.Layers = explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{})
		report, err := explain.NewReport(t.Context(), cache.Cache, []*provenance.Build{b}, o)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, s := range report.Steps {
			if s.Cause == nil || s.Cause.Own == nil {
				continue
			}
			found++
			if got := s.Cause.Own.Text; got != test.want[s.Where] {
				t.Errorf("%s: %s: %q, want %q", name, s.Where, got, test.want[s.Where])
			}
		}
		if found != len(test.want) {
			t.Errorf("%s: %d steps are changed themselves, want %d", name, found, len(test.want))
		}
	}
}
