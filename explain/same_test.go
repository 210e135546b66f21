package explain_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
)

// TestSameSteps decides on builds of two stages with equal steps. Where these turn out to be the same, BuildKit runs one of each two, and
// shows the other as cached: no verdict is sure then. Where their files tell them apart, all are.
func TestSameSteps(t *testing.T) {
	t.Parallel()
	dir := explaintest.UnpackSame(t)
	cache := openCache(t, filepath.Join(dir, "cache"))
	for name, want := range map[string]struct {
		doubles map[int]int // line of each step that may be another one, and the line of that
		sure    int         // of the six steps, with the context
	}{
		"both-alike":  {map[int]int{2: 6, 3: 7, 6: 2, 7: 3}, 0},
		"both-differ": {map[int]int{}, 4},
		"alike-hit":   {map[int]int{3: 7, 7: 3}, 2},
		"apart":       {map[int]int{}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := filepath.Join(dir, "variants", name)
			b := buildsOf(t, filepath.Join(at, "provenance.json"))[0]
			var truth map[string]explaintest.Truth
			explaintest.ReadJSON(t, filepath.Join(at, "truth.json"), &truth)
			context := explain.Contexts{"context": changed(t, filepath.Join(dir, "context"), filepath.Join(at, "change.sh"))}
			exported := openCache(t, filepath.Join(at, "new-cache")).Cache
			for _, o := range []explain.WhyOptions{{}, {New: exported}, {Options: explain.Options{Contexts: context}, New: exported}} {
				verdicts, err := explain.Decide(t.Context(), cache.Cache, b, o)
				if err != nil {
					t.Fatal(err)
				}
				compare(t, name, b, verdicts, truth, &tally{})
			}
			verdicts, err := explain.Decide(t.Context(), cache.Cache, b, explain.WhyOptions{Options: explain.Options{Contexts: context}})
			if err != nil {
				t.Fatal(err)
			}
			var sum tally
			compare(t, name, b, verdicts, truth, &sum)
			got := doublesOf(b, verdicts)
			if sum.right != want.sure || len(got) != len(want.doubles) {
				t.Errorf("%d verdicts are sure, and the same may be %v; want %d, and %v", sum.right, got, want.sure, want.doubles)
			}
			for line, other := range want.doubles {
				if got[line] != other {
					t.Errorf("line %d may be line %d, want %d", line, got[line], other)
				}
			}
		})
	}
}

// doublesOf returns the lines of steps that may run in each other's place.
func doublesOf(b *provenance.Build, verdicts []explain.StepVerdict) map[int]int {
	doubles := map[int]int{}
	for _, v := range verdicts {
		if len(v.If) == 1 && v.If[0].Same && v.Cause != nil {
			doubles[lineOf(b, v.Step)] = lineOf(b, v.If[0].Step)
		}
	}
	return doubles
}

// TestSameStepsReported says that of steps that are the same one misses at least, and why.
func TestSameStepsReported(t *testing.T) {
	t.Parallel()
	dir := explaintest.UnpackSame(t)
	cache := openCache(t, filepath.Join(dir, "cache"))
	at := filepath.Join(dir, "variants/both-alike")
	o := explain.ReportOptions{Why: true}
	o.Contexts = explain.Contexts{"context": changed(t, filepath.Join(dir, "context"), filepath.Join(at, "change.sh"))}
	report, err := explain.NewReport(t.Context(), cache.Cache, buildsOf(t, filepath.Join(at, "provenance.json")), o)
	if err != nil {
		t.Fatal(err)
	}
	if report.Count(explain.Miss) != 0 || report.Misses() != 1 {
		t.Errorf("%d steps miss, of which %d are sure; want 1, and none", report.Misses(), report.Count(explain.Miss))
	}
	for _, s := range report.Steps {
		if s.Where == "Dockerfile:2" && (!s.IsDouble() || !strings.Contains(s.Cause.Text, "f/x") || s.If[0].Text != "line 6, which is the same step, runs in its place") {
			t.Errorf("%+v, cause %+v", s, s.Cause)
		}
	}
}
