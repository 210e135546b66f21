package explain_test

import (
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
)

// TestOtherSource says that a step which takes another path has that for a cause, and no files: of a directory, of a stage, and of a
// mount. Without the old build it says of a stage that hits that other files are taken, and not that they came out different.
func TestOtherSource(t *testing.T) {
	t.Parallel()
	dir := explaintest.UnpackSources(t)
	for name, want := range map[string][2]string{
		"context": {"source /src/a -> /src/d/a", "src/d/a changed (content)"},
		"stage":   {"source /p/f -> /q/f", "/q/f of stage s: not the files of the cache"},
		"mount":   {"--mount type=cache,target=/c,source=/bin -> type=cache,target=/c,source=/lib", "/lib of stage tools: not the files of the cache"},
	} {
		at := filepath.Join(dir, name)
		cache := openCache(t, filepath.Join(at, "cache"))
		for i, old := range [][]*provenance.Build{buildsOf(t, filepath.Join(at, "old.json")), nil} {
			o := explain.ReportOptions{Why: true}
			o.Old, o.Contexts = old, explain.Contexts{"context": filepath.Join(at, "context")}
			o.Layers = explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{})
			report, err := explain.NewReport(t.Context(), cache.Cache, buildsOf(t, filepath.Join(at, "new.json")), o)
			if err != nil {
				t.Fatal(err)
			}
			if got := firstText(t, report); got != want[i] {
				t.Errorf("%s: %q, want %q", name, got, want[i])
			}
		}
	}
}

// TestConditionsInWords says what verdicts hang on, of one file and of all.
func TestConditionsInWords(t *testing.T) {
	t.Parallel()
	at := filepath.Join(explaintest.UnpackSources(t), "mount")
	b := rewritten(t, filepath.Join(at, "new.json"), "echo t ", "echo u ")
	for _, context := range []explain.Contexts{nil, {"context": filepath.Join(at, "context")}} {
		o := explain.ReportOptions{Why: true}
		o.Contexts = context
		report, err := explain.NewReport(t.Context(), openCache(t, filepath.Join(at, "cache")).Cache, []*provenance.Build{b}, o)
		if err != nil {
			t.Fatal(err)
		}
		texts := map[string]bool{}
		for _, s := range report.Steps {
			for _, c := range s.If {
				texts[c.Text] = true
			}
		}
		wants := []string{"all files of stage tools come out as before", "/lib of stage tools comes out as before"}
		if context == nil {
			wants = []string{"/src of the context is what it was when the cache was made"}
		}
		for _, want := range wants {
			if !texts[want] {
				t.Errorf("%q is not among %v", want, texts)
			}
		}
	}
}
