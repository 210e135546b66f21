package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

func (a *app) tagCommand() *cobra.Command {
	var access *registryFlags
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "tag REF NEW",
		Short: "Give a cache another tag",
		Long: `Give a cache another tag in the same place; it keeps the tags that it has. NEW is just the tag, such as v1. If NEW points to another
cache, it is moved; images are never replaced. For a cache without a tag, use its digest, as listed by 'ocicache repair' and
'ocicache gc --dry-run'.`,
		Example: `  ocicache tag oci:./cache:main stable
  ocicache tag oci:./cache@sha256:… rescued
  ocicache tag docker://registry.example.com/team/cache@sha256:… main`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runTag(cmd.Context(), access, args[0], args[1], dryRun)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be done, and change nothing")
	access = addRegistryFlags(cmd)
	return cmd
}

// tagResult is what tag writes with --json.
type tagResult struct {
	Path      string `json:"path"`
	DryRun    bool   `json:"dryRun,omitempty"`
	CacheFrom string `json:"cacheFrom,omitempty"`
	*convert.TagResult

	place layout.Reference
}

func (a *app) runTag(ctx context.Context, access *registryFlags, text, tag string, dryRun bool) error {
	if err := layout.CheckTag(tag); err != nil {
		return &usageError{layout.CheckNewTag(tag)}
	}
	from, err := a.openChanged(ctx, text, "", access)
	if err != nil {
		return err
	}
	place, err := from.Place()
	if err != nil {
		return &usageError{err}
	}
	if err := checkNewTag(ctx, from, tag); err != nil {
		return err
	}
	entry, err := from.Cache(ctx)
	if err != nil {
		return err
	}
	move := convert.Tag
	if dryRun {
		move = convert.PlanTag
		if from.Reference.IsLocal() {
			err = layout.CheckCreate(from.Reference.Path)
		}
	}
	if err != nil {
		return err
	}
	done, err := move(ctx, place, entry, tag)
	if err != nil {
		return err
	}
	result := tagResult{
		Path: from.Source.String(), DryRun: dryRun, CacheFrom: places.CacheFrom(from.Reference, tag, done.Digest), TagResult: done, place: from.Reference,
	}
	return a.write(result, result.render)
}

// checkNewTag rejects a tag that not every place accepts, unless the directory already has it.
func checkNewTag(ctx context.Context, from *places.Opened, tag string) error {
	refused := layout.CheckNewTag(tag)
	if refused == nil {
		return nil
	}
	if from.Reference.IsLocal() {
		if there, err := layout.Find(ctx, from.Source, tag); err != nil || there != nil {
			return err
		}
	}
	if ref, err := layout.ParseReference(tag); err == nil && ref.Transport != layout.TransportPath {
		refused = fmt.Errorf("%s: NEW must be just a tag, not a reference", ref)
	}
	return &usageError{refused}
}

func (r tagResult) render(w io.Writer) error {
	switch {
	case r.Unchanged:
		say(w, "%s, tag %s: already points to %s\n", r.Path, r.Tag, r.Digest)
		return nil
	case r.DryRun:
		say(w, "%s, tag %s: would be %s, nothing was written\n", r.Path, r.Tag, r.Digest)
	default:
		say(w, "%s, tag %s: %s\n", r.Path, r.Tag, r.Digest)
	}
	if r.Was != "" {
		replaced := "replaced"
		if r.DryRun {
			replaced = "instead of"
		}
		say(w, "  %s what the tag pointed to: %s\n", replaced, r.Was)
	}
	sayImport(w, "it", importOf(r.place, r.Tag, r.Digest), !r.DryRun)
	return nil
}
