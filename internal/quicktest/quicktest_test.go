package quicktest

import (
	"os"
	"strings"
	"testing"
)

// wanted is where somebody wants temporary files to be.
var wanted = os.Getenv(variable)

func TestMain(m *testing.M) { os.Exit(Of(m).Run()) }

// TestInMemory looks where temporary files are.
func TestInMemory(t *testing.T) {
	t.Parallel()
	dir := memory()
	switch {
	case wanted != "":
		dir = wanted
	case dir == "":
		dir = "/tmp"
	}
	if got := t.TempDir(); !strings.HasPrefix(got, dir) {
		t.Errorf("files are in %s, want %s", got, dir)
	}
}

// TestRounds draws a few samples, and all where somebody wants them.
func TestRounds(t *testing.T) { //nolint:paralleltest // the environment
	for whole, want := range map[string]int{"": 2, "1": 9} {
		t.Setenv(wholeVariable, whole)
		if got := Rounds(2, 9); got != want {
			t.Errorf("%q: %d rounds", whole, got)
		}
	}
}
