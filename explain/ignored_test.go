package explain_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
)

// TestIgnored tells files that .dockerignore leaves out from those that are gone.
func TestIgnored(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/00")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	context := filepath.Join(dir, "builds/why/context")
	b := rewritten(t, filepath.Join(dir, "why-variants/00-same/provenance.json"), `[\"*.tmp\"]`, `[\"*.tmp\",\"src/c*\",\"src/b.txt\"]`)
	if err := os.Remove(filepath.Join(context, "src/b.txt")); err != nil {
		t.Fatal(err)
	}
	o := explain.ReportOptions{Why: true}
	o.Contexts = explain.Contexts{"context": context}
	o.Layers = explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{})
	report, err := explain.NewReport(t.Context(), cache.Cache, []*provenance.Build{b}, o)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := firstText(t, report), "src/b.txt is gone, src/c.txt is left out by .dockerignore"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
