package main

import (
	"strings"
	"testing"
)

// TestWrapKeepsCommands says that what is to be copied is in one line, however narrow the terminal is.
func TestWrapKeepsCommands(t *testing.T) {
	t.Parallel()
	for _, whole := range []string{
		"'ocicache repair REF'", "'docker buildx history export -o FILE'", "--cache-from type=registry,ref=host/repository:tag",
		`"buildctl debug histories --format '{{json .}}' | jq -r '.record'"`,
	} {
		text := "nothing was written; " + whole + " is what helps, as the registry's own 'garbage collection' does not"
		for width := 10; width < len(text); width++ {
			wrapped := wrapLine(text, width, 2)
			if !strings.Contains(wrapped, whole) {
				t.Errorf("at %d: %q", width, wrapped)
			}
			if got := strings.Join(strings.Fields(wrapped), " "); got != text {
				t.Errorf("at %d it says %q", width, got)
			}
		}
	}
	p := &page{width: 60}
	sayCommand(p, "ocicache tag oci:cache@sha256:"+strings.Repeat("0", 64)+" TAG")
	if strings.Count(p.text(), "\n") != 1 || !strings.Contains(p.text(), strings.Repeat("0", 64)+" TAG") {
		t.Errorf("a command became %q", p.text())
	}
}
