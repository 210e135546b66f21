package explain_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
)

// TestCompareCaches says which kind of change two caches tell of, without provenance.
func TestCompareCaches(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/")
	old := openCache(t, filepath.Join(dir, "builds/why/cache"))
	same, err := explain.CompareCaches(old.Cache, old.Cache)
	if err != nil || len(same.New) > 0 || same.Gone > 0 || same.Same != 16 {
		t.Errorf("a cache and itself: %+v, %v", same, err)
	}
	for _, name := range variants(t, filepath.Join(dir, "why-variants")) {
		now := openCache(t, filepath.Join(dir, "why-variants", name, "new-cache"))
		compared, err := explain.CompareCaches(old.Cache, now.Cache)
		if err != nil {
			t.Fatal(err)
		}
		kinds := map[explain.ChangeKind]int{}
		for _, c := range compared.New {
			kinds[c.Kind]++
		}
		delete(kinds, explain.NewSource)
		delete(kinds, explain.Follows)
		want := explain.ChangeKind("")
		if cause, ok := firstCauses[name]; ok {
			want = explain.ChangeKind(strings.Fields(cause)[1])
		}
		if want == "base" {
			want = explain.NewContent // which looks the same
		}
		if want == "no-cache" {
			want = "" // which makes the same records again
		}
		if want == "" && len(kinds) > 0 || want != "" && kinds[want] == 0 {
			t.Errorf("%s: %v, want %q", name, kinds, want)
		}
	}
}

// TestWarnings says that a cache which BuildKit does not import is one to be warned of, whatever the verdicts are.
func TestWarnings(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/00")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	builds := buildsOf(t, filepath.Join(dir, "why-variants/00-same/provenance.json"))
	report, err := explain.NewReport(t.Context(), cache.Cache, builds, explain.ReportOptions{Why: true})
	if err != nil || len(report.Warnings) > 0 {
		t.Errorf("%v, %v, want no warning", report.Warnings, err)
	}
	large := *cache.Cache
	large.RawConfig = make([]byte, 1<<20+1)
	report, err = explain.NewReport(t.Context(), &large, builds, explain.ReportOptions{Why: true})
	if err != nil || len(report.Warnings) != 1 {
		t.Errorf("%v, %v, want a warning", report.Warnings, err)
	}
}
