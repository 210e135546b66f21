package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/registry"
)

// running returns a program that runs a command.
func running(t *testing.T, command string, args ...string) *app {
	t.Helper()
	a := &app{}
	cmd, _, err := a.command().Find(strings.Fields(command))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	a.running = cmd
	return a
}

// TestInterruptedText says what an interruption leaves of what the command does, and nothing of what it does not.
func TestInterruptedText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ line, want string }{
		{"sync a b", interruptedTags},
		{"convert a", interruptedTags},
		{"convert a --dry-run", interruptedNothing},
		{"migrate run plan", interruptedTags},
		{"migrate check plan", interruptedNothing},
		{"repair a", interruptedNothing},
		{"repair a --write", interruptedTags},
		{"verify a", interruptedNothing},
		{"rm a", interruptedNames},
		{"gc a", interruptedGC},
		{"pack a b", interruptedArchive},
		{"copy a oci-archive:b.tar", interruptedArchive},
		{"copy oci-archive:a.tar b", interruptedTags},
		{"unpack a b", interruptedTags},
	} {
		words := strings.Fields(test.line)
		command := words[:1]
		if words[0] == "migrate" {
			command = words[:2]
		}
		if got := running(t, strings.Join(command, " "), words[len(command):]...).interruptedText(); got != test.want {
			t.Errorf("%s: got %q, want %q", test.line, got, test.want)
		}
	}
}

// TestHintSlower says that a registry that has enough is asked less by a flag that the command has.
func TestHintSlower(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"sync", "inspect", "migrate run", "pack"} {
		a := running(t, command)
		hint := a.hint(fmt.Errorf("push: %w", registry.ErrTooManyRequests))
		if a.running.Flags().Lookup("rate") == nil || !strings.Contains(hint, "--rate N") {
			t.Errorf("%s: %q", command, hint)
		}
	}
	if hint := (&app{}).hint(errors.Join(registry.ErrTooManyRequests)); !strings.Contains(hint, "--jobs") {
		t.Errorf("got %q", hint)
	}
}
