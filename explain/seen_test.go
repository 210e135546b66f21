package explain_test

import (
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
)

// causesOf returns the causes of all misses, by the line of the step, as far as they name a kind and paths.
func causesOf(b *provenance.Build, verdicts []explain.StepVerdict) map[int]string {
	causes := map[int]string{}
	for _, v := range verdicts {
		if v.Verdict != explain.Miss {
			continue
		}
		text := string(v.Cause.Kind)
		if v.Cause.Kind == explain.CauseContent {
			for _, p := range v.Cause.Paths {
				text += " " + p.Path
			}
		}
		if v.Cause.Step >= 0 {
			text += " of " + b.Steps[v.Cause.Step].ID
		}
		causes[lineOf(b, v.Step)] = text
	}
	return causes
}

func lineOf(b *provenance.Build, step int) int {
	at, _ := b.Where(step)
	return at.Start
}

// TestSeenContents says that the cache that a build exported tells which files were not the same, also where nobody has
// the context.
func TestSeenContents(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/07", "why-variants/22")
	cache := openCache(t, filepath.Join(dir, "builds/why/cache"))
	for name, want := range map[string]map[int]string{
		"07-file-content": {
			5: "content /src of step2", 6: "follows of step3", 7: "follows of step4", 14: "content /built of step5",
			15: "follows of step6", 16: "follows of step9", 17: "follows of step10",
		},
		"22-other-stage-file": {
			10: "content /assets/*.css of step2", 11: "follows of step7", 15: "content /css of step8", 16: "follows of step9",
			17: "follows of step10",
		},
	} {
		at := filepath.Join(dir, "why-variants", name)
		b := buildsOf(t, filepath.Join(at, "provenance.json"))[0]
		o := explain.WhyOptions{New: openCache(t, filepath.Join(at, "new-cache")).Cache}
		verdicts, err := explain.Decide(t.Context(), cache.Cache, b, o)
		if err != nil {
			t.Fatal(err)
		}
		got := causesOf(b, verdicts)
		if len(got) != len(want) {
			t.Errorf("%s: %d misses, want %d", name, len(got), len(want))
		}
		for line, cause := range want {
			if got[line] != cause {
				t.Errorf("%s: line %d: %q, want %q", name, line, got[line], cause)
			}
		}
	}
}

// checkFollows says that what follows another step follows one that misses.
func checkFollows(t *testing.T, what string, verdicts []explain.StepVerdict) {
	t.Helper()
	missing := map[int]bool{}
	for _, v := range verdicts {
		missing[v.Step] = v.Verdict == explain.Miss
	}
	for _, v := range verdicts {
		if v.Cause != nil && v.Cause.Kind == explain.CauseFollows && !missing[v.Cause.Step] {
			t.Errorf("%s: step %d follows step %d, which does not miss", what, v.Step, v.Cause.Step)
		}
	}
}
