package main

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"
)

// arguments are what a usage line lists after the command.
type arguments struct {
	needed, most []string // most includes those in brackets
	several      bool     // one of them may be given several times
}

// argumentsOf reads a usage line, such as "convert SRC [DST]" or "merge SRC... DST".
func argumentsOf(use string) arguments {
	var a arguments
	for _, word := range strings.Fields(use)[1:] {
		name := strings.TrimSuffix(strings.Trim(word, "[]"), "|-")
		if strings.Contains(name, "...") {
			a.several = true
			name = strings.ReplaceAll(name, "...", "")
		}
		a.most = append(a.most, name)
		if !strings.HasPrefix(word, "[") {
			a.needed = append(a.needed, name)
		}
	}
	return a
}

// argumentsError says which arguments are missing or unexpected, where err gives only their number.
func argumentsError(cmd *cobra.Command, args []string, err error) error {
	want := argumentsOf(cmd.Use)
	name := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
	switch missing := want.needed[min(len(args), len(want.needed)):]; {
	case len(missing) == 1:
		return fmt.Errorf("%s: %s is missing", name, missing[0])
	case len(missing) > 1:
		return fmt.Errorf("%s: %s are missing", name, english.WordSeries(missing, "and"))
	case want.several || len(args) <= len(want.most):
		return err
	}
	var more []string
	for _, arg := range args[len(want.most):] {
		more = append(more, fmt.Sprintf("%q", arg))
	}
	noun := "argument"
	if len(more) > 1 {
		noun = "arguments"
	}
	return fmt.Errorf("%s takes %s; unexpected %s: %s", name, want.say(), noun, strings.Join(more, ", "))
}

// say says what a command takes.
func (a arguments) say() string {
	var parts []string
	for i, name := range a.most {
		if i >= len(a.needed) {
			name = "at most one " + name
		} else {
			name = "one " + name
		}
		parts = append(parts, name)
	}
	if len(parts) == 0 {
		return "no arguments"
	}
	return english.WordSeries(parts, "and")
}
