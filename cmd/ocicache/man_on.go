//go:build man

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// addManCommand adds the generator of man pages: go run -tags man ./cmd/ocicache man DIR.
func addManCommand(root *cobra.Command) {
	root.AddCommand(&cobra.Command{
		Use:    "man DIR",
		Short:  "Write man pages",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			date, err := manDate()
			if err != nil {
				return err
			}
			root.DisableAutoGenTag = true
			root.Example = manRootExamples
			return writeManPages(root, args[0], date)
		},
	})
}

// manDate returns the date of the pages, from SOURCE_DATE_EPOCH, so that they are the same whenever they are made.
func manDate() (time.Time, error) {
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// writeManPages writes a page for a command and for each command below it.
func writeManPages(cmd *cobra.Command, dir string, date time.Time) error {
	for _, sub := range cmd.Commands() {
		if !sub.IsAvailableCommand() || sub.IsAdditionalHelpTopicCommand() {
			continue
		}
		if err := writeManPages(sub, dir, date); err != nil {
			return err
		}
	}
	var page bytes.Buffer
	header := &doc.GenManHeader{Section: "1", Source: "ocicache " + versionName(), Manual: "User Commands", Date: &date}
	if err := doc.GenMan(cmd, header, &page); err != nil {
		return fmt.Errorf("make the page of %s: %w", cmd.CommandPath(), err)
	}
	// Cobra writes only month and year; write the full date, in the form that all tools read.
	text := strings.Replace(page.String(), strconv.Quote(date.Format("Jan 2006")), strconv.Quote(date.Format(time.DateOnly)), 1)
	text = withManCommands(withManOptions(text, cmd), cmd)
	name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
	return os.WriteFile(filepath.Join(dir, name), []byte(withManSections(text)), 0o644) //nolint:forbidigo // a generator's output, which it can make again
}

// manOptionPattern matches an option as cobra writes it: its name and default, and its description.
var manOptionPattern = regexp.MustCompile(`(?m)^((?:\\fB-\w\\fP, )?\\fB--([a-z-]+)\\fP).*\n\t(.*)$`)

// withManOptions writes options as the help does: with their values, and with a default where it says something.
func withManOptions(page string, cmd *cobra.Command) string {
	return manOptionPattern.ReplaceAllStringFunc(page, func(option string) string {
		parts := manOptionPattern.FindStringSubmatch(option)
		f := cmd.Flag(parts[2])
		if f == nil {
			return option
		}
		line, text := flagLine(f), parts[1]
		if _, value, ok := strings.Cut(strings.TrimSpace(line.name), " "); ok {
			text += ` \fI` + value + `\fP`
		}
		_, usage := pflag.UnquoteUsage(f)
		return text + "\n\t" + parts[3] + strings.TrimPrefix(line.what, usage)
	})
}

// withManCommands lists the subcommands of a command, before its options.
func withManCommands(page string, cmd *cobra.Command) string {
	if !cmd.HasAvailableSubCommands() {
		return page
	}
	var list strings.Builder
	list.WriteString("\n.SH COMMANDS\n")
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
			fmt.Fprintf(&list, ".TP\n\\fB%s\\fP(1)\n%s\n", strings.ReplaceAll(sub.CommandPath(), " ", "-"), sub.Short)
		}
	}
	page = strings.Replace(page, `\fB`+cmd.UseLine()+`\fP`, `\fB`+strings.TrimPrefix(usageLines(cmd), "Usage:\n  ")+`\fP`, 1)
	const options = "\n.SH OPTIONS"
	return strings.Replace(page, options, list.String()+options, 1)
}

// withManSections puts the sections that all pages share where man-pages(7) wants them: after the options.
func withManSections(page string) string {
	const example, also = "\n.SH EXAMPLE\n", "\n.SH SEE ALSO\n"
	before := strings.Index(page, also)
	if i := strings.Index(page, example); i >= 0 {
		before = i
	}
	if before < 0 {
		return page + manSections()
	}
	return page[:before] + manSections() + strings.Replace(page[before:], example, "\n.SH EXAMPLES\n", 1)
}

const manRootExamples = `  ocicache convert ./cache --to artifact
  ocicache convert ./cache docker://registry.example.com/team/cache:main --to auto
  ocicache verify ./cache --deep`

// manSections returns the sections that are the same for all commands, because most of them open places of any kind.
func manSections() string {
	var environment strings.Builder
	environment.WriteString("\n.SH ENVIRONMENT\n")
	for _, v := range variables {
		environment.WriteString(".TP\n.B " + v.name + "\n" + strings.ReplaceAll(v.what, "-", `\-`) + "\n")
	}
	return manStatuses + environment.String() + manFiles
}

const manStatuses = `
.SH EXIT STATUS
.TP
.B 0
done
.TP
.B 1
failed; \fBsync\fP, \fBmigrate run\fP: at least one cache failed, the others were copied
.TP
.B 2
wrong usage, or several caches to choose from and none chosen
.TP
.B 3
\fBverify\fP found an error, \fBdiff\fP a difference, \fBrepair\fP damage, \fBexplain --why\fP a miss, or \fBmigrate check\fP
caches that would not be copied
.TP
.B 4
not found: no such path, tag or cache; \fBunpack\fP: parts are missing
.TP
.B 5
locked by another process
.TP
.B 6
the registry refused what was sent, or is certain to refuse it
.TP
.B 130
interrupted
.TP
.B 141
the reader of the output closed it
`

const manFiles = `
.SH FILES
.TP
.I DIR/.ocicache/
in a layout that ocicache writes: temporary files, and the journal of recompressions. Losing it only costs time
.TP
.I $XDG_RUNTIME_DIR/containers/auth.json\fR, \fI$XDG_CONFIG_HOME/containers/auth.json\fR, \fI~/.docker/config.json
credentials for registries; the first file that has some is used
.TP
.I /etc/containers/registries.conf\fR, \fI~/.config/containers/registries.conf
mirrors, blocked and insecure registries
.TP
.I /etc/containers/certs.d\fR, \fI/etc/docker/certs.d
certificates for individual registries
`
