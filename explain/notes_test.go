package explain_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
)

// TestOtherDockerfile says that a Dockerfile which is not the one that was built is noted: the steps are the build's.
func TestOtherDockerfile(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	builds := buildsOf(t, filepath.Join(dir, "builds/why/provenance.json"))
	context := filepath.Join(dir, "builds/why/context")
	notes := func(contexts explain.Contexts) int {
		o := explain.ReportOptions{Why: true}
		o.Contexts = contexts
		report, err := explain.NewReport(t.Context(), cache.Cache, builds, o)
		if err != nil {
			t.Fatal(err)
		}
		return len(report.Notes)
	}
	elsewhere := t.TempDir()
	if err := os.WriteFile(filepath.Join(elsewhere, "Dockerfile"), []byte("FROM scratch\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		contexts explain.Contexts
		want     int
	}{
		{explain.Contexts{"context": context}, 0},
		{explain.Contexts{}, 0},
		{explain.Contexts{"context": context, "dockerfile": elsewhere}, 1},
	} {
		if got := notes(test.contexts); got != test.want {
			t.Errorf("%v: %d notes, want %d", test.contexts, got, test.want)
		}
	}
	if err := os.Remove(filepath.Join(context, "Dockerfile")); err != nil {
		t.Fatal(err)
	}
	if got := notes(explain.Contexts{"context": context}); got != 0 {
		t.Errorf("no Dockerfile there: %d notes, want none", got)
	}
}

// TestWrongContext says that a directory without the files that a step copies makes nothing sure, and is told.
func TestWrongContext(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/00")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	b := buildsOf(t, filepath.Join(dir, "why-variants/00-same/provenance.json"))[0]
	o := explain.WhyOptions{}
	o.Contexts = explain.Contexts{"context": t.TempDir()}
	verdicts, err := explain.Decide(t.Context(), cache.Cache, b, o)
	if err != nil {
		t.Fatal(err)
	}
	absent := map[int]string{}
	for _, v := range verdicts {
		for _, c := range v.If {
			if len(c.Absent) > 0 {
				absent[lineOf(b, v.Step)] = string(v.Verdict) + " " + c.Absent[0]
			}
		}
		if line := lineOf(b, v.Step); line == 6 && v.Verdict != explain.Maybe {
			t.Errorf("line 6: %s, want what line 5 decides", v.Verdict)
		}
	}
	if absent[5] != "unknown /src" || absent[10] != "unknown /assets/*.css" || absent[16] != "unknown /conf" {
		t.Errorf("%v, want /src, /assets/*.css and /conf not to be there", absent)
	}
	records, err := explain.NameRecords(t.Context(), cache.Cache, []*provenance.Build{b}, o.Options)
	if err != nil {
		t.Fatal(err)
	}
	if len(records[1].Absent) != 1 || len(records[0].Absent) > 0 {
		t.Errorf("%+v, %+v, want the files of the first not to be there", records[1], records[0])
	}
	report, err := explain.NewReport(t.Context(), cache.Cache, []*provenance.Build{b}, explain.ReportOptions{WhyOptions: o})
	want := "/assets/*.css, /conf, /src are not in the context " + o.Contexts["context"] + ": is it the right directory?"
	if err != nil || len(report.Warnings) != 1 || report.Warnings[0] != want {
		t.Errorf("%q, %v, want %q", report.Warnings, err, want)
	}
}

// TestStrangers warns of provenance that has nothing to do with the cache, and not of a changed base.
func TestStrangers(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/", "why-variants/")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	at := func(names ...string) []*provenance.Build {
		var all []*provenance.Build
		for _, name := range names {
			all = append(all, buildsOf(t, filepath.Join(dir, name, "provenance.json"))...)
		}
		return all
	}
	for name, test := range map[string]struct {
		builds, old []*provenance.Build
		want        []string
	}{
		"another project":     {at("builds/3-copyflags"), nil, []string{"no record of this cache is a step of that build: is it the right provenance?"}},
		"another old project": {at("why-variants/04-env"), at("builds/3-copyflags"), []string{"no record of this cache is a step of the old build: is the cache from it?"}},
		"another platform":    {at("why-variants/13-platform"), at("builds/why"), nil},
		"two builds": {
			at("why-variants/04-env", "why-variants/00-same"), nil,
			[]string{"more than one build for linux/amd64 in what --provenance names: their steps stand side by side"},
		},
	} {
		report, err := explain.NewReport(t.Context(), cache.Cache, test.builds, explain.ReportOptions{Why: true, WhyOptions: explain.WhyOptions{Old: test.old}})
		if err != nil || !slices.Equal(report.Warnings, test.want) {
			t.Errorf("%s: %q, %v, want %q", name, report.Warnings, err, test.want)
		}
	}
	for _, variant := range variants(t, filepath.Join(dir, "why-variants")) {
		report, err := explain.NewReport(t.Context(), cache.Cache, at("why-variants/"+variant), explain.ReportOptions{Why: true, WhyOptions: explain.WhyOptions{Old: at("builds/why")}})
		if err != nil || len(report.Warnings) > 0 {
			t.Errorf("%s: %q, %v, want no warnings", variant, report.Warnings, err)
		}
	}
}
