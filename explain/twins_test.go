package explain_test

import (
	"maps"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
)

// causeLines returns the first causes by the lines of their steps; what only follows is left out.
func causeLines(b *provenance.Build, verdicts []explain.StepVerdict) map[int]string {
	causes := map[int]string{}
	for _, v := range verdicts {
		if v.Cause == nil || v.Cause.Kind == explain.CauseFollows {
			continue
		}
		text := string(v.Cause.Kind)
		for _, f := range v.Cause.Files {
			text += " " + f.Path + " " + string(f.Change)
		}
		for _, d := range v.Cause.Diff {
			text += " " + d.Field
		}
		causes[lineOf(b, v.Step)] = text
	}
	return causes
}

// TestTwins decides on builds with steps that differ in their files alone: what one of them did, and what is changed of it,
// is not said of the other.
func TestTwins(t *testing.T) {
	t.Parallel()
	dir := explaintest.UnpackTwins(t)
	cache := openCache(t, filepath.Join(dir, "cache"))
	for name, want := range map[string]struct {
		causes map[int]string
		sure   int // of 9 steps, without the new cache
	}{
		"a":        {map[int]string{4: "content a/src/util content"}, 4},
		"ab":       {map[int]string{4: "content a/src/util content", 7: "content b/src/x1 content"}, 4},
		"no-cache": {map[int]string{4: "no-cache"}, 4},
		"chmod":    {map[int]string{12: "content run.sh mode"}, 9},
		"doc":      {map[int]string{0: "operation actions[0].data"}, 9},
		"end":      {map[int]string{16: "operation actions[0].path"}, 9},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := filepath.Join(dir, "variants", name)
			b := buildsOf(t, filepath.Join(at, "provenance.json"))[0]
			var truth map[string]explaintest.Truth
			explaintest.ReadJSON(t, filepath.Join(at, "truth.json"), &truth)
			for i, s := range b.Steps {
				if len(s.Inputs) == 0 { // which BuildKit never shows as cached
					delete(truth, b.Steps[i].ID)
				}
			}
			o := explain.WhyOptions{Old: buildsOf(t, filepath.Join(dir, "provenance.json"))}
			o.Contexts = explain.Contexts{"context": changed(t, filepath.Join(dir, "context"), filepath.Join(at, "change.sh"))}
			o.Layers = explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{})
			decide := func(o explain.WhyOptions) (map[int]string, tally) {
				verdicts, err := explain.Decide(t.Context(), cache.Cache, b, o)
				if err != nil {
					t.Fatal(err)
				}
				var sum tally
				compare(t, name, b, verdicts, truth, &sum)
				return causeLines(b, verdicts), sum
			}
			causes, sum := decide(o)
			if !maps.Equal(causes, want.causes) || sum.right != want.sure {
				t.Errorf("causes %v, %+v, want %v and %d right", causes, sum, want.causes, want.sure)
			}
			o.New = openCache(t, filepath.Join(at, "new-cache")).Cache
			if _, sum = decide(o); sum.right != 9 {
				t.Errorf("with the new cache %+v, want all 9 right", sum)
			}
			decide(explain.WhyOptions{New: o.New}) // which may not know, but is not wrong
		})
	}
}

// TestStrangeNewCache says that a cache which does not hold the steps of a build is not taken for what it exported.
func TestStrangeNewCache(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/07", "why-variants/04")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	builds := buildsOf(t, filepath.Join(dir, "why-variants/07-file-content/provenance.json"))
	o := explain.ReportOptions{Why: true}
	o.Contexts = explain.Contexts{"context": contextOf(t, dir, "07-file-content")}
	for at, want := range map[string]struct{ hits, misses, warnings int }{
		"builds/why/cache":                       {2, 0, 1}, // which may be of one that found everything, elsewhere
		"why-variants/04-env/new-cache":          {2, 0, 1},
		"why-variants/07-file-content/new-cache": {4, 7, 0},
	} {
		o.New = openCache(t, filepath.Join(dir, at)).Cache
		report, err := explain.NewReport(t.Context(), cache.Cache, builds, o)
		if err != nil {
			t.Fatal(err)
		}
		if report.Count(explain.Hit) != want.hits || report.Misses() != want.misses || len(report.Warnings) != want.warnings {
			t.Errorf("%s: %d hits, %d misses, %q, want %+v", at, report.Count(explain.Hit), report.Misses(), report.Warnings, want)
		}
	}
}

// TestElsewhere says that a step which did not run is no hit of a cache that does not have it.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	b, cache := chainOf(t, 3, func(i int) string { return "echo " + string(rune('a'+i)) })
	b.Started = provenance.Build{}.Started.AddDate(2025, 0, 0)
	_, old := chainOf(t, 1, func(i int) string { return "echo " + string(rune('a'+i)) })
	for i := range cache.Config.Records[1:] {
		cache.Config.Records[i+1].Results[0].CreatedAt.Time = b.Started.AddDate(-1, 0, 0)
	}
	verdicts, err := explain.Decide(t.Context(), old, b, explain.WhyOptions{New: cache})
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range verdicts {
		if want := i > 1; (v.Verdict == explain.Miss) != want || v.Elsewhere != want {
			t.Errorf("step %d: %s, elsewhere %t", i, v.Verdict, v.Elsewhere)
		}
	}
}
