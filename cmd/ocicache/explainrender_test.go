package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
)

var linePrinted = regexp.MustCompile(`Dockerfile:[0-9]+`)

// TestAllMissesPrinted says that what is counted as a miss is named in the text, whatever the reason.
func TestAllMissesPrinted(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "builds/why", "why-variants/")
	variants, err := os.ReadDir(filepath.Join(dir, "why-variants"))
	if err != nil {
		t.Fatal(err)
	}
	misses := 0
	for _, v := range variants {
		at := filepath.Join(dir, "why-variants", v.Name())
		for _, more := range [][]string{nil, {"--new-cache", filepath.Join(at, "new-cache")}, {"--context", filepath.Join(dir, "builds/why/context")}} {
			args := append([]string{
				"explain", filepath.Join(dir, "builds/why/cache"), "--json", "--why",
				"--provenance", filepath.Join(at, "provenance.json"),
			}, more...)
			var stdout, stderr bytes.Buffer
			a := &app{stdout: &stdout, stderr: &stderr}
			if status := a.run(t.Context(), args); status != exitDone && status != exitFound {
				t.Fatalf("%s: status %d: %s", v.Name(), status, &stderr)
			}
			misses += checkPrinted(t, v.Name(), stdout.Bytes())
		}
	}
	if misses == 0 {
		t.Error("nothing misses")
	}
}

// checkPrinted renders a result, and returns how many steps miss in it.
func checkPrinted(t *testing.T, name string, text []byte) int {
	t.Helper()
	var result explainResult
	if err := json.Unmarshal(text, &result); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := result.render(&out, time.Now()); err != nil {
		t.Fatal(err)
	}
	printed := map[string]bool{}
	for _, line := range linePrinted.FindAllString(out.String(), -1) {
		printed[line] = true
	}
	missing := 0
	for _, s := range result.Steps {
		if s.Verdict != explain.Miss {
			continue
		}
		missing++
		if !printed[s.Where] && !strings.Contains(out.String(), " more") {
			t.Errorf("%s: %s %s misses, and is not in\n%s", name, s.Where, s.Text, &out)
		}
	}
	return missing
}

// TestLines names a line once, however many steps it is, and folds what is more than fits.
func TestLines(t *testing.T) {
	t.Parallel()
	steps := []explain.StepReport{{Where: "Dockerfile:2"}, {Where: "Dockerfile:2"}, {ID: "step3"}}
	if got, want := lines(steps), "Dockerfile:2, step3"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, id := range strings.Fields("a b c d e f g h") {
		steps = append(steps, explain.StepReport{ID: id})
	}
	if got, want := lines(steps), "Dockerfile:2, step3, a, b, c, d, e, f, and 2 more"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
