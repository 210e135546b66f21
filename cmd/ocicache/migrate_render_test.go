package main

import (
	"strings"
	"testing"

	"github.com/ocicache/ocicache/migrate"
)

// TestPruningNotes says that what the rules for pruning did not come to is said in the text, of a check and of a run.
func TestPruningNotes(t *testing.T) {
	t.Parallel()
	s := &migrate.Summary{Exceeding: 2, Exceeds: 3_000_000, Estimated: 1}
	for what, render := range map[string]func(*strings.Builder) error{
		"check": func(w *strings.Builder) error { return checkResult{s}.render(w) },
		"run":   func(w *strings.Builder) error { return runResult{Summary: s}.render(w) },
	} {
		var out strings.Builder
		if err := render(&out); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"the layers of 2 caches exceed keep_bytes, by up to 3.0 MB in all", "for 1 cache this is an estimate"} {
			if !strings.Contains(out.String(), line) {
				t.Errorf("%s: no %q in\n%s", what, line, out.String())
			}
		}
	}
}
