package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/provenance"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
)

// Help texts shared with explain.
const (
	provenanceUsage = "provenance of the build: a `FILE`, - or an image"
	redactUsage     = "hide commands, images, paths and values"
	provenanceHelp  = "--provenance takes the same as in 'ocicache explain', such as a file from 'docker buildx history export -o FILE'."
)

// namingFlags let a command name records by the steps of builds.
type namingFlags struct {
	provenance []string
	redact     bool
}

func (f *namingFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.provenance, "provenance", nil, provenanceUsage)
	flags.BoolVar(&f.redact, "redact", false, "with --provenance, "+redactUsage)
}

// given reports whether there is anything to name records by.
func (f *namingFlags) given() bool { return len(f.provenance) > 0 }

func (f *namingFlags) check() error {
	if f.redact && !f.given() {
		return &usageError{errors.New("--redact needs --provenance")}
	}
	return nil
}

// namer names the records of caches by the steps of builds.
type namer struct {
	builds []*provenance.Build
	redact bool
}

// namer reads the builds.
func (a *app) namer(ctx context.Context, flags *namingFlags, registry *registryFlags) (*namer, error) {
	builds, err := a.provenanceOf(ctx, flagProvenance, flags.provenance, registry)
	return &namer{builds, flags.redact}, err
}

func (n *namer) name(ctx context.Context, c *layout.Cache) (*explain.Named, error) {
	return explain.NameInWords(ctx, c, n.builds, n.redact)
}

// onPage returns names in the form that pages and graphs use, none if no build is known.
func onPage(named *explain.Named) []inspect.RecordName {
	var names []inspect.RecordName
	for _, r := range named.Records {
		if r.Naming != nil {
			names = append(names, inspect.RecordName{Where: r.Where, Text: namesOf(r.Naming), How: string(r.How)})
		}
	}
	return names
}

// namesOf says on one line what a record stands for.
func namesOf(n *explain.Naming) string {
	names := shortText(strings.Join(n.Names, ", "), strings.Join(n.Platforms, ", "))
	switch n.Kind {
	case explain.KindForeign:
		return "(of another build)"
	case explain.KindContent:
		return "files: " + names
	case explain.KindStep, explain.KindSource:
	}
	return names
}

// stepOf says on one line what step a record stands for, and where that is.
func stepOf(n *explain.Naming) string {
	text := strings.TrimSpace(n.Where + " " + namesOf(n))
	if n.How == explain.ByPosition {
		text += " (by position)"
	}
	return text
}

// howOf says how it is known what a record stands for.
func howOf(n *explain.Naming) string {
	if n.How == "" {
		return "-"
	}
	return string(n.How)
}
