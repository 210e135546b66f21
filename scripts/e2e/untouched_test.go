//go:build e2e

package e2e

import (
	"slices"
	"testing"
)

// TestUntouched shows that the oracle tells hits from misses, and that the
// fixtures are what they are said to be.
func TestUntouched(t *testing.T) {
	needBuildKit(t)
	for _, f := range fixtures {
		t.Run(f.name(), func(t *testing.T) {
			t.Parallel()
			got := f.untouched(t)
			requireSteps(t, got, f.expected(got.Steps))
			if f.misses == nil {
				requireImages(t, got.Images, f.reference(t))
			}
			if f.misses == everyStep && len(got.Warnings) == 0 {
				t.Error("BuildKit did not say that it could not import the cache")
			}
		})
	}
}

// expected gives the steps the outcomes that the fixture is known for.
func (f *fixture) expected(steps []step) []step {
	want := slices.Clone(steps)
	for i, s := range want {
		want[i].Outcome = cached
		if f.misses != nil && f.misses.MatchString(s.Name) {
			want[i].Outcome = ran
		}
	}
	return want
}
