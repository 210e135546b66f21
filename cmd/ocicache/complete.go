package main

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/progress"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/migrate"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// names returns named values as words for completion.
func names[T ~string](values []T) []string {
	words := make([]string, len(values))
	for i, value := range values {
		words[i] = string(value)
	}
	return words
}

// completions returns what completes the values of flags, which are the same for all commands.
func completions() map[string]cobra.CompletionFunc {
	oneOf := func(words []string) cobra.CompletionFunc {
		return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	}
	return map[string]cobra.CompletionFunc{
		"progress":    oneOf(names(progress.Modes())),
		"to":          oneOf(append(names(buildcache.Forms()), auto)),
		"compression": oneOf(names(buildcache.Compressions())),
		"sort":        oneOf([]string{"line", "size"}),
		"only":        oneOf(append(names(migrate.Causes()), string(migrate.OnlyFailed))),
		"tag":         completeTag,
		"for":         completeProfile,
	}
}

// completeWords lets the shell complete what is typed. It is called only for completion, because cobra keeps what it is told about a
// flag for as long as the process lives.
func completeWords(root *cobra.Command) {
	for name, find := range completions() {
		for _, cmd := range append(commandsBelow(root), root) {
			if cmd.Flags().Lookup(name) == nil && cmd.PersistentFlags().Lookup(name) == nil {
				continue
			}
			if err := cmd.RegisterFlagCompletionFunc(name, find); err != nil {
				panic(err) // a mistake in this program: registered twice
			}
		}
	}
	for _, cmd := range commandsBelow(root) {
		if cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 {
			cmd.ValidArgsFunction = completeReference
		}
	}
}

// commandsBelow returns all commands below one, however deep.
func commandsBelow(cmd *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, sub := range cmd.Commands() {
		all = append(append(all, sub), commandsBelow(sub)...)
	}
	return all
}

// completeProfile completes the name of a profile, and says what it is.
func completeProfile(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var words []string
	for _, p := range registry.Profiles() {
		for _, name := range append([]string{p.Name}, p.Aliases...) {
			words = append(words, cobra.CompletionWithDesc(name, p.Title))
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// completeTag completes a tag from the places already named.
func completeTag(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var tags []string
	for _, arg := range args {
		tags = append(tags, tagsThere(cmd, arg)...)
	}
	slices.Sort(tags)
	return slices.Compact(tags), cobra.ShellCompDirectiveNoFileComp
}

// completeReference completes the path and the tag in oci:DIR:TAG, where no shell would expect a path. Everything else is left to the
// shell, which knows files.
func completeReference(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	word, rest, begun := strings.Cut(typed, ":")
	transport := layout.Transport(word)
	if !begun || transport != layout.TransportLayout && transport != layout.TransportArchive {
		return nil, cobra.ShellCompDirectiveDefault
	}
	at := strings.LastIndexByte(typed, ':')
	if at == len(word) {
		return completePath(transport, rest)
	}
	place := typed[:at]
	var words []string
	for _, tag := range tagsThere(cmd, place) {
		words = append(words, place+":"+tag)
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// completePath completes the path in oci:DIR or oci-archive:FILE.
func completePath(transport layout.Transport, typed string) ([]string, cobra.ShellCompDirective) {
	above, begun := filepath.Split(typed)
	entries, err := os.ReadDir(cmp.Or(above, "."))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var words []string
	for _, entry := range entries {
		path := above + entry.Name()
		if !strings.HasPrefix(entry.Name(), begun) || begun == "" && strings.HasPrefix(entry.Name(), ".") || clean(path) != path {
			continue
		}
		switch at, err := os.Stat(path); {
		case err != nil:
		case at.IsDir() && transport == layout.TransportLayout && hasLayout(path):
			words = append(words, string(transport)+":"+path)
		case at.IsDir():
			words = append(words, string(transport)+":"+path+"/")
		case transport == layout.TransportArchive && at.Mode().IsRegular():
			words = append(words, string(transport)+":"+path)
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace // a tag may follow
}

// hasLayout reports whether a directory calls itself a layout.
func hasLayout(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, "oci-layout"))
	return err == nil
}

// withoutMarks removes the backquotes that mark values' names from the flag descriptions that the shell shows.
func withoutMarks(root *cobra.Command) {
	plain := func(f *pflag.Flag) { f.Usage = strings.ReplaceAll(f.Usage, "`", "") }
	root.PersistentFlags().VisitAll(plain)
	for _, cmd := range commandsBelow(root) {
		cmd.Flags().VisitAll(plain)
	}
}

// isTypeable reports whether a tag may be offered for completion. Anything that is not a valid tag is foreign text that the shell
// would show, and words beginning with cobra's marker are shown as help rather than offered.
func isTypeable(tag string) bool {
	const marker = "_activeHelp_"
	return layout.CheckTag(tag) == nil && !strings.HasPrefix(tag, marker)
}

// tagsThere returns the tags of a local place, or none if it can't be read. Registries are not asked: nobody waits for one in a shell.
func tagsThere(cmd *cobra.Command, text string) []string {
	ref, err := layout.ParseReference(text)
	if err != nil || !ref.IsLocal() {
		return nil
	}
	from, err := places.Open(cmd.Context(), ref, places.Options{})
	if err != nil {
		return nil
	}
	defer from.Close() //nolint:errcheck // only read
	entries, err := from.Source.Entries(cmd.Context())
	if err != nil {
		return nil
	}
	var tags []string
	for _, entry := range entries {
		if isTypeable(entry.Tag) {
			tags = append(tags, entry.Tag)
		}
	}
	return tags
}
