package explain_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
)

// tally counts verdicts against the truth.
type tally struct{ right, maybe, wrong int }

// compare holds verdicts against what BuildKit did. Sources have no truth.
func compare(t *testing.T, what string, b *provenance.Build, verdicts []explain.StepVerdict, truth map[string]explaintest.Truth, sum *tally) {
	t.Helper()
	for _, v := range verdicts {
		s := b.Steps[v.Step]
		told, ok := truth[s.ID]
		if s.Op.Source != nil || !ok {
			continue
		}
		cached := v.Verdict == explain.Hit || v.Verdict == explain.KeyOnly
		switch {
		case v.Verdict == explain.Maybe || v.Verdict == explain.Unknown:
			sum.maybe++
		case cached == told.Cached:
			sum.right++
		default:
			sum.wrong++
			t.Errorf("%s: %s %s: %s, but cached is %t", what, s.ID, told.Name, v.Verdict, told.Cached)
		}
	}
}

// context makes the context of a variant.
func contextOf(t *testing.T, dir, variant string) string {
	t.Helper()
	return changed(t, filepath.Join(dir, "builds/why/context"), filepath.Join(dir, "why-variants", variant, "change.sh"))
}

// TestVariants holds every verdict on every changed build against what BuildKit did. None may be wrong, and what is
// not sure is what nobody can know without running a step.
func TestVariants(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/", "why-variants")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	old := buildsOf(t, filepath.Join(dir, "builds/why/provenance.json"))
	var bare, full, measured, blind tally
	for _, name := range variants(t, filepath.Join(dir, "why-variants")) {
		at := filepath.Join(dir, "why-variants", name)
		b := buildsOf(t, filepath.Join(at, "provenance.json"))[0]
		var truth map[string]explaintest.Truth
		explaintest.ReadJSON(t, filepath.Join(at, "truth.json"), &truth)
		decide := func(o explain.WhyOptions, sum *tally) []explain.StepVerdict {
			verdicts, err := explain.Decide(t.Context(), cache.Cache, b, o)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, name, b, verdicts, truth, sum)
			checkFollows(t, name, verdicts)
			return verdicts
		}
		decide(explain.WhyOptions{}, &bare)
		o := explain.WhyOptions{Old: old}
		o.Contexts = explain.Contexts{"context": contextOf(t, dir, name)}
		o.Layers = explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{})
		checkFirst(t, name, b, decide(o, &full))
		o.New = openCache(t, filepath.Join(at, "new-cache")).Cache
		decide(o, &measured)
		decide(explain.WhyOptions{New: o.New}, &blind)
	}
	for _, sum := range []struct {
		what  string
		got   tally
		right int
	}{{"provenance alone", bare, 68}, {"with the context", full, 258}, {"with the new cache", measured, 342}, {"with the new cache alone", blind, 342}} {
		if sum.got.right < sum.right || sum.got.right+sum.got.maybe+sum.got.wrong != 342 {
			t.Errorf("%s: %+v, want %d right of 342", sum.what, sum.got, sum.right)
		}
	}
}

func variants(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// firstCauses are the first causes of the variants, and none of those that hit.
var firstCauses = map[string]string{
	"02-command":                      "step4 operation args[2]: cat a.txt b.txt > /built -> cat b.txt a.txt > /built",
	"03-command-same-output":          "step4 operation args[2]: cat a.txt b.txt > /built -> cat a.txt b.txt > /built && true",
	"04-env":                          "step4 operation env.MODE: fast -> slow",
	"05-build-arg":                    "step4 operation env.FLAVOUR: plain -> fancy",
	"07-file-content":                 "step3 content src/a.txt content",
	"08-mode":                         "step3 content src/a.txt mode",
	"11-file-that-the-pattern-misses": "step3 content src/x.tmp added",
	"13-platform":                     "step0 base platform: linux/amd64 -> linux/386",
	"15-file-removed":                 "step3 content src/c.txt removed",
	"16-whitespace":                   "step4 operation args[2]: cat a.txt b.txt > /built -> cat  a.txt b.txt > /built",
	"22-other-stage-file":             "step7 content assets/x.css content",
	"23-unused-file-content":          "step3 content src/c.txt content",
	"27-no-cache-filter":              "step7 no-cache",
	"28-source-date-epoch":            "step1 operation actions[0].timestamp: -1 -> 1700000000000000000",
	"30-add-hosts":                    "step4 operation extraHosts[0].Host: - -> h",
	"32-shell":                        "step5 operation args[1]: -c -> -ec",
	"33-user":                         "step4 operation user: - -> 0",
	"35-env-order":                    "step4 operation env.A: - -> 1",
	"38-run-mount":                    "step8 operation mount /tmp/c: - -> type=cache,cacheOpt.ID=//tmp/c,input=-1,output=-1",
	"39-hardlink":                     "step3 content src/b.txt content",
	"42-dir-mode":                     "step3 content src/sub mode",
	"43-empty-dir-added":              "step3 content src/empty added",
	"44-symlink-instead":              "step3 content src/c.txt type",
}

// checkFirst says that the first cause of a variant is the change that was made.
func checkFirst(t *testing.T, variant string, b *provenance.Build, verdicts []explain.StepVerdict) {
	t.Helper()
	got := ""
	for _, v := range verdicts {
		if v.Cause == nil {
			continue
		}
		got = b.Steps[v.Step].ID + " " + string(v.Cause.Kind)
		for _, d := range v.Cause.Diff {
			got += " " + d.Field + ": " + orDash(d.Old) + " -> " + orDash(d.New)
		}
		for _, f := range v.Cause.Files {
			got += " " + f.Path + " " + string(f.Change)
		}
		break
	}
	if want := firstCauses[variant]; got != want {
		t.Errorf("%s: first cause %q, want %q", variant, got, want)
	}
}

func orDash(text *string) string {
	if text == nil {
		return "-"
	}
	return *text
}

// TestModeMin decides on a cache that has few results: what has none runs only if its result is needed.
func TestModeMin(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/", "why-variants")
	cache := openCache(t, filepath.Join(dir, "builds/mode-min/cache"))
	var sum tally
	for _, name := range variants(t, filepath.Join(dir, "why-variants-mode-min")) {
		b := buildsOf(t, filepath.Join(dir, "why-variants", name, "provenance.json"))[0]
		var truth map[string]explaintest.Truth
		explaintest.ReadJSON(t, filepath.Join(dir, "why-variants-mode-min", name, "truth.json"), &truth)
		o := explain.WhyOptions{}
		o.Contexts = explain.Contexts{"context": contextOf(t, dir, name)}
		verdicts, err := explain.Decide(t.Context(), cache.Cache, b, o)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, name, b, verdicts, truth, &sum)
	}
	if sum.right < 26 || sum.right+sum.maybe != 50 {
		t.Errorf("%+v, want 26 right and the rest undecided, of 50", sum)
	}
}

// TestMade says that a cache that the build exported over the one that it imported is warned of, and what it made is told
// from what it found.
func TestMade(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/04", "forms/why.dockerbuild")
	for at, want := range map[string]struct {
		made, hits, misses int
		warned             bool
	}{
		"builds/why/provenance.json":          {10, 11, 0, true},
		"why-variants/04-env/provenance.json": {0, 9, 2, false},
		"forms/why.dockerbuild":               {0, 11, 0, false}, // which found all of it
	} {
		cache := openCache(t, filepath.Join(dir, "builds/why/cache")).Cache
		o := explain.ReportOptions{Why: true}
		o.Contexts = explain.Contexts{"context": filepath.Join(dir, "builds/why/context")}
		if at == "why-variants/04-env/provenance.json" {
			o.New = openCache(t, filepath.Join(dir, "why-variants/04-env/new-cache")).Cache
		}
		report, err := explain.NewReport(t.Context(), cache, buildsOf(t, filepath.Join(dir, at)), o)
		if err != nil {
			t.Fatal(err)
		}
		if report.Made() != want.made || report.Count(explain.Hit) != want.hits || report.Misses() != want.misses || (len(report.Warnings) > 0) != want.warned {
			t.Errorf("%s: %d made, %d hits, %d misses, %q, want %+v", at, report.Made(), report.Count(explain.Hit), report.Misses(), report.Warnings, want)
		}
	}
}

// TestNeeded says that a step without a result runs where one that surely runs needs it, and that it does not once the new
// cache says that nothing needs it.
func TestNeeded(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/", "why-variants/03")
	cache := openCache(t, filepath.Join(dir, "builds/mode-min/cache")).Cache
	b := buildsOf(t, filepath.Join(dir, "why-variants/03-command-same-output/provenance.json"))[0]
	o := explain.WhyOptions{}
	o.Contexts = explain.Contexts{"context": filepath.Join(dir, "builds/why/context")}
	verdicts, err := explain.Decide(t.Context(), cache, b, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verdicts {
		line := lineOf(b, v.Step)
		if line != 4 && line != 5 {
			continue
		}
		if v.Verdict != explain.Miss || v.Cause.Kind != explain.CausePruned || v.Cause.Step < 0 || lineOf(b, v.Cause.Step) != 6 {
			t.Errorf("line %d: %s, %+v, want a miss because line 6 needs it", line, v.Verdict, v.Cause)
		}
	}

	o.New = openCache(t, filepath.Join(dir, "why-variants/03-command-same-output/new-cache")).Cache
	records, err := explain.NameRecords(t.Context(), o.New, []*provenance.Build{b}, explain.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if r.Kind == explain.KindStep && (lineOf(b, r.Names[0].Step) == 10 || lineOf(b, r.Names[0].Step) == 11) {
			o.New.Config.Records[r.Index].Results = nil // as mode=min leaves it
		}
	}
	if verdicts, err = explain.Decide(t.Context(), cache, b, o); err != nil {
		t.Fatal(err)
	}
	for _, v := range verdicts {
		if line := lineOf(b, v.Step); (line == 10 || line == 11) != (v.Verdict == explain.KeyOnly) {
			t.Errorf("line %d: %s", line, v.Verdict)
		}
	}
}

// TestOldVersions decides on caches of older BuildKits, and names all that is in them.
func TestOldVersions(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "old/", "builds/")
	for name, test := range map[string]struct {
		at, context string
		right, of   int
		records     int
		versions    map[string]string // by the text of the step: the version before which its key was made
	}{
		"v0.16.0-why": {filepath.Join(dir, "old/v0.16.0-why/cache"), filepath.Join(dir, "builds/why/context"), 9, 10, 17, map[string]string{
			"COPY --chown=1:1 conf /etc/conf": "v0.17", "COPY assets/*.css /css/": "v0.26",
		}},
		"v0.16.0-small": {filepath.Join(dir, "old/v0.16.0-small/cache"), "", 4, 16, 23, map[string]string{
			"RUN --mount=type=bind,from=b1,source=/out,target=/in cat /in/b1 > /b3out": "v0.17", "COPY --link src/dir /linked": "v0.17",
		}},
		"v0.11.6-docker-list": {"../testdata/caches/v0.11.6-docker-list", "", 8, 16, 23, map[string]string{
			"RUN cat /work/a.txt /work/a.txt > /work/aa.txt && ln /work/aa.txt /work/hard && ln -s aa.txt /work/soft": "v0.13",
			`RUN i=0; while [ $i -lt 50 ]; do echo "row $i of b2"; i=$((i+1)); done > f && mkdir d && ln two d/two`:   "v0.13",
			"RUN --mount=type=bind,from=b1,source=/out,target=/in cat /in/b1 > /b3out":                                "v0.13",
			"COPY --link src/dir /linked": "v0.13",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := openCache(t, test.at)
			b := buildsOf(t, filepath.Join(dir, "old", name, "provenance-of-v0.34.2.json"))[0]
			var truth map[string]explaintest.Truth
			explaintest.ReadJSON(t, filepath.Join(dir, "old", name, "truth-of-import-into-v0.34.2.json"), &truth)
			o := explain.WhyOptions{}
			if test.context != "" {
				o.Contexts = explain.Contexts{"context": test.context}
				o.Layers = explain.NewLayers(cache.place, cache.Cache, explain.LayersOptions{})
			}
			verdicts, err := explain.Decide(t.Context(), cache.Cache, b, o)
			if err != nil {
				t.Fatal(err)
			}
			var sum tally
			compare(t, name, b, verdicts, truth, &sum)
			if sum.right < test.right || sum.right+sum.maybe != test.of {
				t.Errorf("%+v, want %d right of %d", sum, test.right, test.of)
			}
			versions := map[string]string{}
			for _, v := range verdicts {
				if v.Cause != nil && v.Cause.Kind == explain.CauseVersion {
					versions[explain.Title(b, v.Step)] = v.Cause.Before
				}
			}
			if !maps.Equal(versions, test.versions) {
				t.Errorf("causes by version are %v, want %v", versions, test.versions)
			}
			records, err := explain.NameRecords(t.Context(), cache.Cache, []*provenance.Build{b}, explain.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if named, _ := countWays(records); named != test.records || len(records) != test.records {
				t.Errorf("%d of %d records are named, want all of %d", named, len(records), test.records)
			}
		})
	}
}

// TestSame holds every build against the cache that it exported itself: nothing of it misses.
func TestSame(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(explaintest.Unpack(t, "builds/"), "builds")
	for _, name := range variants(t, dir) {
		at := filepath.Join(dir, name)
		cache := openCache(t, filepath.Join(at, "cache"))
		o := explain.WhyOptions{Options: explain.Options{Contexts: explain.Contexts{}}}
		for _, context := range []string{"context", "extra"} {
			if _, err := os.Stat(filepath.Join(at, context)); err == nil {
				o.Contexts[context] = filepath.Join(at, context)
			}
		}
		for _, b := range buildsOf(t, filepath.Join(at, "provenance.json"), filepath.Join(at, "provenance1.json"), filepath.Join(at, "history-predicate.json")) {
			verdicts, err := explain.Decide(t.Context(), cache.Cache, b, o)
			if err != nil {
				t.Fatal(err)
			}
			count := map[explain.Verdict]int{}
			for _, v := range verdicts {
				count[v.Verdict]++
				if v.Verdict == explain.Miss {
					t.Errorf("%s: %s %s misses: %+v", name, b.Steps[v.Step].ID, explain.Title(b, v.Step), v.Cause)
				}
			}
			want := map[string]int{"8-llb": 1}[name] // a symlink, which provenance has no room for
			if count[explain.Unknown] != want || o.Contexts["context"] != "" && name != "8-llb" && count[explain.Maybe] > 0 {
				t.Errorf("%s: %v, want %d unknown and the rest decided", name, count, want)
			}
		}
	}
}
