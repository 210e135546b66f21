package main

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// TestArgumentsError says that a wrong number of arguments is told in the words of the usage line.
func TestArgumentsError(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"convert":              "convert: SRC is missing",
		"convert a b c":        `convert takes one SRC and at most one DST; unexpected argument: "c"`,
		"copy":                 "copy: SRC and DST are missing",
		"copy a":               "copy: DST is missing",
		"merge":                "merge: SRC and DST are missing",
		"merge a":              "merge: DST is missing",
		"pack a":               "pack: FILE is missing",
		"unpack a":             "unpack: DIR is missing",
		"prune cache 10 GB":    `prune takes one REF; unexpected arguments: "10", "GB"`,
		"migrate run":          "migrate run: PLAN is missing",
		"migrate report":       "migrate report: FILE is missing",
		"registries ecr quay":  `registries takes at most one NAME|HOST; unexpected argument: "quay"`,
		"version now":          `version takes no arguments; unexpected argument: "now"`,
		"completion bash more": `completion bash takes no arguments; unexpected argument: "more"`,
	} {
		args := strings.Fields(line)
		a := &app{stdout: io.Discard, stderr: io.Discard, args: args}
		root := a.command()
		root.SetArgs(args)
		err := root.ExecuteContext(t.Context())
		var usage *usageError
		if !errors.As(err, &usage) {
			t.Errorf("%s: the error is %v, and none of usage", line, err)
			continue
		}
		if got, _, _ := strings.Cut(err.Error(), " (see "); got != want {
			t.Errorf("%s: it says %q, and should say %q", line, got, want)
		}
	}
}

// TestPlaceholders says that the help names what each flag takes.
func TestPlaceholders(t *testing.T) {
	t.Parallel()
	for _, cmd := range commandsBelow((&app{stdout: io.Discard, stderr: io.Discard}).command()) {
		if text := flagsLines(cmd, 200, false); strings.Contains(text, " VALUE ") {
			t.Errorf("%s: a flag takes a VALUE, whatever that is:\n%s", cmd.CommandPath(), text)
		}
	}
}
