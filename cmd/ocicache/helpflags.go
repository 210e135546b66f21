package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagGroups are the titles under which commands with many flags list some of them. The other flags come first.
var flagGroups = []struct{ title, names string }{
	{"Flags that choose caches:", "tag match exclude base images have"},
	{"Flags for how caches are written:", "to compression compression-level force-compression for no-preflight trust-destination link"},
	{"Flags for what is dropped from each cache:", "older-than leaves keep-records keep-bytes fit"},
}

// manyFlags is the number of flags from which on they are grouped.
const manyFlags = 15

// flagsLines lists flags in groups. If brief is set, it only names those for registries, and the topic on the environment.
func flagsLines(cmd *cobra.Command, width int, brief bool) string {
	var own, ofRegistries, twins []*pflag.Flag
	var everywhere []string
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		_, isRegistry := f.Annotations[registryGroup]
		switch isTwin := strings.HasPrefix(f.Name, string(src)) || strings.HasPrefix(f.Name, string(dest)); {
		case f.Name == "help" || f.Hidden:
		case isRegistry && isTwin:
			twins = append(twins, f)
		case isRegistry:
			ofRegistries = append(ofRegistries, f)
		default:
			own = append(own, f)
		}
	})
	cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { everywhere = append(everywhere, "--"+f.Name) })
	var more []string
	registries := twoColumns(registryTitle(cmd, len(twins) > 0), flagLines(ofRegistries), width)
	if brief && len(ofRegistries) > 0 {
		registries = ""
		more = append(more, wrapLine("Registries ('ocicache help access'): "+strings.Join(dashed(ofRegistries), ", "), width, 2))
	}
	if len(everywhere) > 0 {
		more = append(more, wrapLine("Always ('ocicache help'): "+strings.Join(everywhere, ", "), width, 2))
	}
	switch heeded := variablesOf(cmd); {
	case len(heeded) > 0 && brief:
		more = append(more, "Environment: 'ocicache help environment'")
	case len(heeded) > 0:
		more = append(more, wrapLine("Environment ('ocicache help environment'): "+strings.Join(heeded, ", "), width, 2))
	}
	return strings.Join(present(ownLines(own, width), registries, strings.Join(more, "\n")), "\n\n")
}

// ownLines lists a command's own flags, in groups if there are many.
func ownLines(flags []*pflag.Flag, width int) string {
	if len(flags) < manyFlags {
		return twoColumns("Flags:", flagLines(flags), width)
	}
	rest := flags
	var groups []string
	for _, group := range flagGroups {
		names := strings.Fields(group.names)
		in := func(f *pflag.Flag) bool { return slices.Contains(names, f.Name) }
		chosen := slices.DeleteFunc(slices.Clone(rest), func(f *pflag.Flag) bool { return !in(f) })
		if len(chosen) < 2 { // too few for a group
			continue
		}
		groups = append(groups, twoColumns(group.title, flagLines(chosen), width))
		rest = slices.DeleteFunc(slices.Clone(rest), in)
	}
	return strings.Join(append([]string{twoColumns("Flags:", flagLines(rest), width)}, groups...), "\n")
}

// registryTitle returns the title of the flags for registries.
func registryTitle(cmd *cobra.Command, twins bool) string {
	switch {
	case !twins:
		return "Flags for registries:"
	case cmd.Flags().Lookup("have") != nil: // its last argument is a file
		return "Flags for registries (--src-… for SRC, --dest-… for --have):"
	default:
		return "Flags for registries (--src-… for the first argument, --dest-… for the last):"
	}
}

func flagLines(flags []*pflag.Flag) (lines []helpLine) {
	for _, f := range flags {
		lines = append(lines, flagLine(f))
	}
	return lines
}

func dashed(flags []*pflag.Flag) (names []string) {
	for _, f := range flags {
		names = append(names, "--"+f.Name)
	}
	return names
}

// accessTopic returns the help topic on reaching registries, for commands whose help would otherwise be too long.
func accessTopic() *cobra.Command {
	topic := &cobra.Command{Use: "access", Short: "Flags for reaching registries"}
	like := &cobra.Command{Use: "access"}
	addRegistryFlags(like).addGiveUp()
	var flags []*pflag.Flag
	like.Flags().VisitAll(func(f *pflag.Flag) { flags = append(flags, f) })
	topic.Long = "ocicache uses the credentials, certificates and mirrors of skopeo and podman; flags take precedence. If both ends of a command are in\n" +
		"registries, --src-… is for the first argument and --dest-… for the last (for pack: --have); for two repositories on one host the\n" +
		"plain flags are enough.\n\n" + twoColumns("Flags for registries:", flagLines(flags), helpWidth)
	return topic
}
