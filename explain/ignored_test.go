package explain_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
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
	note := filepath.Join(context, ".dockerignore") + " is not what it was when the build ran: files are left out as they were then"
	if len(report.Notes) != 1 || report.Notes[0] != note {
		t.Errorf("notes %q, want %q", report.Notes, note)
	}
}

// TestUnignored tells files that .dockerignore does not leave out any more from those that are new, where the old build is known, and
// calls it by the name that it has.
func TestUnignored(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/00")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	context, path := filepath.Join(dir, "builds/why/context"), filepath.Join(dir, "why-variants/00-same/provenance.json")
	old := []*provenance.Build{rewritten(t, path, `[\"*.tmp\"]`, `[\"*.tmp\",\"src/gen*\",\"!src/gen.kept\"]`)}
	for _, name := range []string{"src/gen/x.txt", "src/gen.kept", "src/late.txt"} {
		at := filepath.Join(context, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		old  []*provenance.Build
		own  string // of the Dockerfile
		want string
	}{
		{nil, "", "src/gen is new, src/gen.kept is new, src/gen/x.txt is new, src/late.txt is new"},
		{old, "", "src/gen is no longer left out by .dockerignore, src/gen.kept is new, " +
			"src/gen/x.txt is no longer left out by .dockerignore, src/late.txt is new"},
		{old, "Dockerfile.dockerignore", "src/gen is no longer left out by Dockerfile.dockerignore, src/gen.kept is new, " +
			"src/gen/x.txt is no longer left out by Dockerfile.dockerignore, src/late.txt is new"},
	} {
		if test.own != "" {
			if err := os.WriteFile(filepath.Join(context, test.own), []byte("*.tmp\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o := explain.ReportOptions{Why: true}
		o.Old, o.Contexts = test.old, explain.Contexts{"context": context}
		o.Layers = explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{})
		report, err := explain.NewReport(t.Context(), cache.Cache, []*provenance.Build{rewritten(t, path)}, o)
		if err != nil {
			t.Fatal(err)
		}
		if got := firstText(t, report); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
		if len(report.Notes) > 0 {
			t.Errorf("notes %q", report.Notes)
		}
	}
}

// TestNextIgnores asks about the next build with what .dockerignore leaves out by now.
func TestNextIgnores(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	context := filepath.Join(dir, "builds/why/context")
	if err := os.WriteFile(filepath.Join(context, "src/x.tmp"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for patterns, want := range map[string]string{
		"*.tmp\n":           "src/x.tmp is no longer left out by .dockerignore",
		"# all\n**/*.tmp\n": "",
		"src/a.txt\n":       "src/a.txt is left out by .dockerignore, src/x.tmp is no longer left out by .dockerignore",
		"src\n":             "",
	} {
		if err := os.WriteFile(filepath.Join(context, ".dockerignore"), []byte(patterns), 0o600); err != nil {
			t.Fatal(err)
		}
		b := rewritten(t, filepath.Join(dir, "builds/why/provenance.json"), `[\"*.tmp\"]`, `[\"**/*.tmp\"]`)
		o := explain.ReportOptions{Why: true, Next: true}
		o.Contexts = explain.Contexts{"context": context}
		o.Layers = explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{})
		report, err := explain.NewReport(t.Context(), cache.Cache, []*provenance.Build{b}, o)
		if err != nil {
			t.Fatal(err)
		}
		if got := firstText(t, report); got != want || len(report.Notes) > 0 {
			t.Errorf("%q: %q %q, want %q", patterns, got, report.Notes, want)
		}
		const allOut = "/src is left out of the context by .dockerignore"
		if isOut := slices.Contains(report.Warnings, allOut); isOut != (patterns == "src\n") {
			t.Errorf("%q: %q", patterns, report.Warnings)
		}
	}
}
