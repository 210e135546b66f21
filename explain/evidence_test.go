package explain_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
)

// TestDisagreement gives each changed build the files of before the change with the cache that it exported, and its own files with caches
// that others exported: whoever is wrong, no verdict is.
func TestDisagreement(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	of := func(variant, name string) string { return filepath.Join(dir, "why-variants", variant, name) }
	others := []string{filepath.Join(dir, "builds/why/cache"), of("07-file-content", "new-cache"), of("44-symlink-instead", "new-cache")}
	var moved, strange tally
	for _, name := range variants(t, filepath.Join(dir, "why-variants")) {
		b := buildsOf(t, of(name, "provenance.json"))[0]
		var truth map[string]explaintest.Truth
		explaintest.ReadJSON(t, of(name, "truth.json"), &truth)
		decide := func(context, exported string, sum *tally) {
			o := explain.WhyOptions{New: openCache(t, exported).Cache}
			o.Contexts = explain.Contexts{"context": context}
			verdicts, err := explain.Decide(t.Context(), cache.Cache, b, o)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, name+" with "+exported, b, verdicts, truth, sum)
		}
		decide(filepath.Join(dir, "builds/why/context"), of(name, "new-cache"), &moved)
		for _, other := range others {
			if other != of(name, "new-cache") {
				decide(contextOf(t, dir, name), other, &strange)
			}
		}
	}
	if moved.right < 300 || strange.right < 300 {
		t.Errorf("with moved files %+v, with strange caches %+v", moved, strange)
	}
}

// TestDisagreementIsSaid names what is not used, and why.
func TestDisagreementIsSaid(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/07", "why-variants/08", "why-variants/00", "why-variants/02")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	of := func(variant, name string) string { return filepath.Join(dir, "why-variants", variant, name) }
	old := filepath.Join(dir, "builds/why/context")
	const disagree = "the context and the new cache disagree about the files of line 5: one of them is not of this build; "
	for _, tt := range []struct {
		build, context, exported string
		hits, misses             int
		want                     string
	}{
		{"07-file-content", old, of("07-file-content", "new-cache"), 4, 7, disagree + "the new cache has what was made while this build ran"},
		{"08-mode", old, of("08-mode", "new-cache"), 8, 3, disagree + "the new cache has what was made while this build ran"},
		{"07-file-content", contextOf(t, dir, "07-file-content"), filepath.Join(dir, "builds/why/cache"), 2, 0, disagree + "nothing tells which"},
		{"00-same", old, of("07-file-content", "new-cache"), 11, 0, "the new cache is not used: its results of line 5 were made after this build had ended"},
		{"07-file-content", contextOf(t, dir, "07-file-content"), of("02-command", "new-cache"), 4, 3, "the new cache is not used: it has no line 6 of this build"},
	} {
		o := explain.ReportOptions{Why: true}
		o.Contexts = explain.Contexts{"context": tt.context}
		o.New = openCache(t, tt.exported).Cache
		report, err := explain.NewReport(t.Context(), cache.Cache, buildsOf(t, of(tt.build, "provenance.json")), o)
		if err != nil {
			t.Fatal(err)
		}
		hits, misses := report.Count(explain.Hit), report.Misses()
		if hits != tt.hits || misses != tt.misses || len(report.Warnings) != 1 || !strings.HasPrefix(report.Warnings[0], tt.want) {
			t.Errorf("%s with %s: %d hits, %d misses, %q", tt.build, tt.exported, hits, misses, report.Warnings)
		}
	}
}
