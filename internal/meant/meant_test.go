package meant_test

import (
	"slices"
	"testing"

	"github.com/ocicache/ocicache/internal/meant"
)

// TestOf finds what was meant, and nothing where that is anybody's guess.
func TestOf(t *testing.T) {
	t.Parallel()
	keys := []string{"defaults", "migrations", "registries", "version"}
	for _, test := range []struct {
		typed string
		words []string
		want  []string
	}{
		{"registry", keys, []string{"registries"}},
		{"Migration", keys, []string{"migrations"}},
		{"mig", keys, []string{"migrations"}},
		{"vresion", keys, []string{"version"}},
		{"artefact", []string{"docker-list", "oci-index", "artifact"}, []string{"artifact"}},
		{"zzz", keys, nil},
	} {
		if got := meant.Of(test.typed, test.words); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.typed, got, test.want)
		}
	}
	if got := meant.Ask([]string{"a", "b"}); got != "did you mean a or b?" || meant.Ask(nil) != "" {
		t.Errorf("got %q", got)
	}
}
