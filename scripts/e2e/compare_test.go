//go:build e2e

package e2e

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// requireSteps requires that the same steps came back cached, and the same ran.
func requireSteps(t *testing.T, got result, want []step) {
	t.Helper()
	if got.Err != nil {
		t.Fatalf("%v\nwarnings: %s", got.Err, strings.Join(got.Warnings, "\n"))
	}
	if len(got.Steps) == 0 {
		t.Fatal("the build has no step: nothing is proved")
	}
	if slices.Equal(got.Steps, want) {
		return
	}
	for _, s := range got.Steps {
		if !slices.Contains(want, s) {
			t.Errorf("got  %s %s", s.Outcome, s.Name)
		}
	}
	for _, s := range want {
		if !slices.Contains(got.Steps, s) {
			t.Errorf("want %s %s", s.Outcome, s.Name)
		}
	}
	t.Fatalf("BuildKit's warnings: %s", strings.Join(got.Warnings, "\n"))
}

// requireAllCached requires that no step ran.
func requireAllCached(t *testing.T, got result) {
	t.Helper()
	want := slices.Clone(got.Steps)
	for i := range want {
		want[i].Outcome = cached
	}
	requireSteps(t, got, want)
}

// requireImages requires the same platforms with the same diff ids.
func requireImages(t *testing.T, got, want images) {
	t.Helper()
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("the images have the diff ids\n%v, want\n%v", got, want)
	}
}

// expectImages says what the images of a converted cache must be, if those of
// the source are want: the same, unless estargz has a part in it, where they
// are what the converted cache's own descriptors say.
func expectImages(t *testing.T, want images, from, to *cache) images {
	t.Helper()
	if !from.hasEstargz() && !to.hasEstargz() {
		return want
	}
	translated := images{}
	for platform, layers := range want {
		var err error
		if translated[platform], err = translate(layers, from, to); err != nil {
			t.Fatalf("%s: %v", platform, err)
		}
	}
	return translated
}

// withoutMissed blanks the layers that even the untouched cache did not give:
// their steps ran, and what runs carries the time of its run.
func withoutMissed(i, untouched, reference images) images {
	blanked := images{}
	for platform, layers := range i {
		layers = slices.Clone(layers)
		for n := range layers {
			if !sameAt(n, untouched[platform], reference[platform]) {
				layers[n] = ""
			}
		}
		blanked[platform] = layers
	}
	return blanked
}

func sameAt(n int, a, b []string) bool {
	return n < len(a) && n < len(b) && a[n] == b[n]
}

func mustReadCache(t *testing.T, dir, tag string) *cache {
	t.Helper()
	c, err := readCache(dir, tag)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
