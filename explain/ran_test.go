package explain_test

import (
	"fmt"
	"testing"

	"github.com/ocicache/ocicache/explain"
)

// TestIgnoreCache says that what stands on a step which was told to ignore the cache runs too, and that what stands on that
// is found by its key again, as the real BuildKit does.
func TestIgnoreCache(t *testing.T) {
	t.Parallel()
	b, cache := chainOf(t, 5, func(i int) string { return fmt.Sprint("echo ", i) })
	b.Steps[1].IgnoreCache = true
	verdicts, err := explain.Decide(t.Context(), cache, b, explain.WhyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := []explain.Verdict{explain.Hit, explain.Miss, explain.Miss, explain.Hit, explain.Hit, explain.Hit}
	for i, v := range verdicts {
		if v.Verdict != want[i] {
			t.Errorf("step %d: %s, want %s", i, v.Verdict, want[i])
		}
	}
	if c := verdicts[1].Cause; c == nil || c.Kind != explain.CauseNoCache {
		t.Errorf("cause %+v, want no-cache", c)
	}
	if c := verdicts[2].Cause; c == nil || c.Kind != explain.CauseFollows || c.Step != 1 {
		t.Errorf("cause %+v, want that it follows step 1", c)
	}

	for i := range cache.Config.Records[:5] { // as mode=min leaves them
		cache.Config.Records[i].Results = nil
	}
	if verdicts, err = explain.Decide(t.Context(), cache, b, explain.WhyOptions{}); err != nil {
		t.Fatal(err)
	}
	want = []explain.Verdict{explain.Hit, explain.Miss, explain.Miss, explain.KeyOnly, explain.KeyOnly, explain.Hit}
	for i, v := range verdicts {
		if v.Verdict != want[i] {
			t.Errorf("with the last result alone, step %d: %s, want %s", i, v.Verdict, want[i])
		}
	}
}
