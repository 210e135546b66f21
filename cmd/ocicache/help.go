package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpCommand is cobra's help command, except that an unknown topic is a usage error.
func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND|TOPIC]",
		Short: "Show help for a command or a topic",
		Long:  "Show help for a command or a topic.",
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			about, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 && len(args) > 0 {
				if about == nil {
					about = root
				}
				advice := cmp.Or(commandsMeant(about, rest[0], true), mention(about.CommandPath()+" --help")+" lists what there is")
				return &usageError{&wordError{fmt.Errorf("no help for %q: no such command or topic", strings.Join(args, " ")), advice}}
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
		ValidArgsFunction: completeCommands,
	}
}

// completeCommands completes the names of subcommands and topics.
func completeCommands(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	above, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var words []string
	for _, sub := range above.Commands() {
		if (sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand()) && strings.HasPrefix(sub.Name(), typed) {
			words = append(words, cobra.CompletionWithDesc(sub.Name(), sub.Short))
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// addCompletionCommand adds cobra's command, and makes an unknown shell a usage error.
func addCompletionCommand(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		cmd.Use = "completion SHELL"
		cmd.Long = "Write a script that lets your shell complete commands, flags, their values, and tags. The help for each shell tells how to load it."
		cmd.Args = noArgs
		cmd.RunE = func(*cobra.Command, []string) error {
			var shells []string
			for _, sub := range cmd.Commands() {
				shells = append(shells, sub.Name())
			}
			return &usageError{fmt.Errorf("give a shell: %s", english.WordSeries(shells, "or"))}
		}
	}
}

// helpWidth is how wide help is if the terminal's width is unknown; maxHelpWidth keeps it readable on a wider one.
const (
	helpWidth    = 80
	maxHelpWidth = 100
	// maxHelpLines is how many lines of help fit on a screen.
	maxHelpLines = 50
)

// writeHelp writes the help of a command: what it does, how to call it, its own flags, those for registries, and the names of the others.
func (a *app) writeHelp(cmd *cobra.Command) {
	width := helpWidth
	if n := widthOf(a.stdout); n > 0 {
		width = min(n, maxHelpWidth)
	}
	parts := []string{wrap(strings.TrimSpace(cmp.Or(cmd.Long, cmd.Short)), width)}
	if cmd.IsAdditionalHelpTopicCommand() {
		fmt.Fprintln(cmd.OutOrStdout(), parts[0])
		return
	}
	parts = append(parts, usageLines(cmd), exampleLines(cmd), commandLines(cmd, width))
	text := strings.Join(present(append(parts, flagsLines(cmd, width, false))...), "\n\n")
	if strings.Count(text, "\n") >= maxHelpLines { // the parts common to all commands are in topics
		text = strings.Join(present(append(parts, flagsLines(cmd, width, true))...), "\n\n")
	}
	fmt.Fprintln(cmd.OutOrStdout(), text)
}

func usageLines(cmd *cobra.Command) string {
	text := "Usage:\n  " + cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		what := " COMMAND [flags]"
		if _, args, ok := strings.Cut(cmd.Use, " "); ok {
			what = " " + args
		}
		text = "Usage:\n  " + cmd.CommandPath() + what
	}
	return text
}

func exampleLines(cmd *cobra.Command) string {
	if cmd.Example == "" {
		return ""
	}
	return "Examples:\n" + cmd.Example
}

// commandLines lists the subcommands of a command, and the topics.
func commandLines(cmd *cobra.Command, width int) string {
	var commands, topics []helpLine
	for _, sub := range cmd.Commands() {
		switch line := (helpLine{"  " + sub.Name(), sub.Short}); {
		case sub.IsAvailableCommand():
			commands = append(commands, line)
		case sub.IsAdditionalHelpTopicCommand():
			topics = append(topics, line)
		}
	}
	text := present(twoColumns("Commands:", commands, width), twoColumns("Topics of 'ocicache help':", topics, width))
	return strings.Join(text, "\n\n")
}

// helpLine is a name and its description.
type helpLine struct{ name, what string }

// twoColumns writes names and descriptions below a title, or nothing if there are none.
func twoColumns(title string, lines []helpLine, width int) string {
	if len(lines) == 0 {
		return ""
	}
	widest := 0
	for _, line := range lines {
		widest = max(widest, len(line.name))
	}
	text := []string{title}
	for _, line := range lines {
		text = append(text, wrapLine(fmt.Sprintf("%-*s  %s", widest, line.name, line.what), width, widest+2))
	}
	return strings.Join(text, "\n")
}

// flagLine returns a flag with its value and description.
func flagLine(f *pflag.Flag) helpLine {
	value, usage := pflag.UnquoteUsage(f)
	name := "  --" + f.Name
	if value != "" && f.Value.Type() != "bool" {
		name += " " + strings.ToUpper(strings.NewReplacer("stringArray", "value", "string", "value", "int", "n").Replace(value))
	}
	if !slices.Contains([]string{"", "0", "false", "[]", "0s"}, f.DefValue) {
		usage += fmt.Sprintf(" (default %s)", f.DefValue)
	}
	return helpLine{name, usage}
}
