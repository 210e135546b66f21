package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// unknownProfileError says that no profile has the given name.
type unknownProfileError struct{ name string }

func (e *unknownProfileError) Error() string {
	return fmt.Sprintf("unknown registry %q", e.name)
}

// unlistedError says that nothing is known about a host.
type unlistedError struct{ error }

// Unwrap returns nothing, because asking is not wrong usage.
func (e *unlistedError) Unwrap() error { return nil }

// registriesResult is what registries writes with --json about all of them.
type registriesResult struct {
	Registries []registry.Profile `json:"registries"`
}

func (a *app) registriesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "registries [NAME|HOST]",
		Short: "Show which registries accept which forms of caches",
		Long: `Show which registries accept which forms of caches, or everything known about one registry and how it is known.
"yes" and "no" are certain, "likely" and "unlikely" are not; only a certain "no" stops a transfer.`,
		Example: `  ocicache registries
  ocicache registries quay.io`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeProfile,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				result := registriesResult{registry.Profiles()}
				return a.write(result, func(w io.Writer) error { return renderProfiles(w, result.Registries) })
			}
			profile, err := profileFor(args[0])
			if err != nil && profilesMeant(args[0]) == "" && layout.IsHost(args[0]) {
				err = &unlistedError{err}
			}
			if err != nil {
				return err
			}
			return a.write(profile, func(w io.Writer) error { return renderProfile(w, profile) })
		},
	}
}

func renderProfiles(w io.Writer, profiles []registry.Profile) error {
	return tableOf(w, columns{drop: []string{"HOSTS", "REGISTRY", "MAX LAYER", "MAX ROOT"}}, func(w io.Writer) {
		say(w, "NAME\tREGISTRY\tDOCKER-LIST\tOCI-INDEX\tARTIFACT\tMAX ROOT\tMAX LAYER\tHOSTS\n")
		for _, p := range profiles {
			say(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, p.Title, p.Takes(buildcache.DockerList),
				p.Takes(buildcache.OCIIndex), p.Takes(buildcache.Artifact), most(p.MaxRoot), most(p.MaxLayer),
				strings.Join(p.Hosts, " "))
		}
	})
}

// most formats a limit for a table.
func most(limit registry.Limit) string {
	if limit.Bytes == 0 {
		return "-"
	}
	return size(limit.Bytes)
}

func renderProfile(w io.Writer, p registry.Profile) error {
	say(w, "%s (%s)\n", p.Title, p.Name)
	err := table(w, func(w io.Writer) {
		row := func(what, answer, why, source string) {
			say(w, "  %s\t%s\t%s\n", what, answer, strings.Join(present(why, source), "; "))
		}
		for _, form := range buildcache.Forms() {
			v := p.Takes(form)
			row(string(form), v.String(), v.Why, v.Source)
		}
		row("no layers", p.EmptyLayers.String(), p.EmptyLayers.Why, p.EmptyLayers.Source)
		row("no mediaType", p.NoMediaType.String(), p.NoMediaType.Why, p.NoMediaType.Source)
		row("largest root", most(p.MaxRoot), "", p.MaxRoot.Source)
		row("largest layer", most(p.MaxLayer), "", p.MaxLayer.Source)
	})
	if len(p.Hosts) > 0 { // on a line of its own, or the column of the answers would be as wide
		say(w, "  hosts: %s\n", strings.Join(p.Hosts, " "))
	}
	for _, note := range p.Notes {
		say(w, "  note: %s\n", note)
	}
	return err
}

// present returns the texts that are not empty.
func present(texts ...string) []string {
	var kept []string
	for _, text := range texts {
		if text != "" {
			kept = append(kept, text)
		}
	}
	return kept
}
