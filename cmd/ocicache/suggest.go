package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/internal/meant"
	"github.com/ocicache/ocicache/registry"
)

// wordError is about an unknown word on the command line, with advice.
type wordError struct {
	err    error
	advice string
}

func (e *wordError) Error() string { return e.err.Error() }
func (e *wordError) Unwrap() error { return e.err }

// unknownWord adds to an error what a word was probably meant to be.
func unknownWord(err error, typed string, words []string) error {
	return &wordError{err, meant.Ask(meant.Of(typed, words))}
}

// commandsMeant says which subcommands of cmd were probably meant or, for help, which topics.
func commandsMeant(cmd *cobra.Command, typed string, topics bool) string {
	var words []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() || topics && sub.IsAdditionalHelpTopicCommand() {
			words = append(words, sub.Name())
		}
	}
	there := func(name string) bool { return slices.Contains(words, name) }
	if advice := adviceFor(aCommand, typed, there); advice != "" {
		return advice
	}
	return meant.Ask(meant.Of(typed, words))
}

// noArgs is for a command with subcommands: any argument is not one of them.
func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return &wordError{err, commandsMeant(cmd, args[0], false)}
	}
	return nil
}

// flagError turns a flag that can't be parsed into a usage error.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		name := unknown.GetSpecifiedName()
		path := ""
		if short := unknown.GetSpecifiedShortnames(); len(short) > 1 { // one dash instead of two, or a path
			name, _, _ = strings.Cut(short, "=")
			path = "a path that starts with - is written ./-" + short
		}
		advice := flagsMeant(cmd, name)
		switch {
		case path == "" || cmd.Flags().Lookup(name) != nil:
		case advice == "":
			advice = path
		default:
			advice += " (" + path + ")"
		}
		err = &wordError{err, advice}
	}
	return &usageError{err}
}

// flagsMeant says which flags of a command were probably meant.
func flagsMeant(cmd *cobra.Command, typed string) string {
	var words []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { words = append(words, "--"+f.Name) })
	switch {
	case cmd.Flags().Lookup("tls-verify") != nil && isInsecure(typed):
		text := "use --tls-verify=false"
		if cmd.Flags().Lookup("src-tls-verify") != nil {
			text += " (or --src-tls-verify=false and --dest-tls-verify=false)"
		}
		return text + ", which allows plain HTTP and any certificate"
	case cmd.Flags().Lookup("creds") != nil && (strings.HasSuffix(typed, "username") || strings.HasSuffix(typed, "password")):
		return "use --creds USER --password-stdin, or --creds USER:PASSWORD"
	case adviceFor(aFlag, typed, hasFlagOf(cmd)) != "":
		return adviceFor(aFlag, typed, hasFlagOf(cmd))
	case len(typed) == 1: // any flag is similar to a single letter
		return ""
	}
	return meant.Ask(meant.Of("--"+typed, words))
}

// isInsecure reports whether oras, crane, regctl, curl or docker have a flag of this name that turns off TLS or its verification.
func isInsecure(flag string) bool {
	return strings.HasSuffix(flag, "plain-http") || strings.HasSuffix(flag, "insecure") || strings.HasPrefix(flag, "insecure-") ||
		flag == "tls" || flag == "no-tls-verify" || flag == "skip-tls-verify"
}

// checkSwitches rejects a switch followed by its value as a separate word, which would be taken for a place.
func checkSwitches(cmd *cobra.Command, args []string) error {
	for i, arg := range args[:max(len(args)-1, 0)] {
		name, isFlag := strings.CutPrefix(arg, "--")
		value := args[i+1]
		if arg == "--" {
			return nil
		}
		if !isFlag || value != "true" && value != "false" {
			continue
		}
		if f := cmd.Flags().Lookup(name); f != nil && f.NoOptDefVal != "" {
			return &wordError{
				fmt.Errorf("%s %s: a switch takes its value after =, not as a separate word", arg, value),
				fmt.Sprintf("write %s=%s; for a file or directory of that name, write ./%s", arg, value, value),
			}
		}
	}
	return nil
}

// profilesMeant says which profiles were probably meant: by a name, a word of a title, or a repository of a known host.
func profilesMeant(typed string) string {
	_, place, isURL := strings.Cut(typed, "://")
	if !isURL {
		place = typed
	}
	if host, _, more := strings.Cut(place, "/"); isURL || more {
		if _, known := registry.ProfileForHost(host); known {
			return meant.Ask([]string{host})
		}
	}
	if strings.EqualFold(typed, "aws") {
		typed = "amazon"
	}
	var names, titled []string
	for _, p := range registry.Profiles() {
		names = append(append(names, p.Name), p.Aliases...)
		if len(typed) > 2 && strings.Contains(strings.ToLower(p.Title), strings.ToLower(typed)) {
			titled = append(titled, p.Name)
		}
	}
	if len(titled) > 0 {
		return meant.Ask(titled)
	}
	return meant.Ask(meant.Of(typed, names))
}
