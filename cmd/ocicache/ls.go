package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

func (a *app) lsCommand() *cobra.Command {
	var access *registryFlags
	cmd := &cobra.Command{
		Use:   "ls REF",
		Short: "List the tags in a place, and what they point to",
		Long: `List the tags in a place, with the form, compression and size of each cache, how much of that it shares with no other cache
(OWN: what deleting it would free), how many results it has and how old the newest one is. Entries that are not caches are listed too,
and totals at the end, for a directory also how much no tag reaches. ls reads roots and configs, but no layers.`,
		Example: `  ocicache ls ./cache
  ocicache ls docker://registry.example.com/team/cache --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runLs(cmd.Context(), access, args[0]) },
	}
	access = addRegistryFlags(cmd)
	return cmd
}

// lsResult is what ls writes with --json.
type lsResult struct {
	Path    string           `json:"path"`
	Entries []inspect.Listed `json:"entries"`
	Caches  int              `json:"caches"`
	// Bytes is the size of all caches, with shared blobs counted once. Like Unreachable, it is absent if one cache was chosen.
	Bytes *int64 `json:"bytes,omitempty"`
	// Unreachable is for directories; if it can't be told, Warning says why.
	Unreachable *inspect.Unreached `json:"unreachable,omitempty"`
	Warning     string             `json:"warning,omitempty"`
}

func (a *app) runLs(ctx context.Context, access *registryFlags, text string) error {
	from, err := a.openNamed(ctx, text, "", access)
	if err != nil {
		return err
	}
	result := lsResult{Path: from.Source.String()}
	if from.Reference.Tag == "" && from.Reference.Digest == "" {
		err = result.listAll(ctx, from.Source)
	} else {
		err = result.list(ctx, from)
	}
	if err != nil {
		return err
	}
	for _, e := range result.Entries {
		if e.Kind == layout.KindCache {
			result.Caches++
		}
	}
	now := time.Now()
	return errors.Join(a.write(result, func(w io.Writer) error { return result.render(w, now) }), result.unread(ctx, from.Source))
}

// unread returns an error that says which tags could not be read, nil for none.
func (r *lsResult) unread(ctx context.Context, src layout.Source) error {
	return failedOf(r.Entries, func(l inspect.Listed) error {
		switch {
		case l.Entry.IsUnread():
			return l.Entry.Check(ctx, src)
		case isUnread(cmp.Or(l.Err, l.Entry.Err)):
			return fmt.Errorf("tag %q: %w", l.Tag, cmp.Or(l.Err, l.Entry.Err))
		}
		return nil
	})
}

// isUnread reports whether an error is the place's, and says nothing about what was to be read there.
func isUnread(err error) bool {
	var number syscall.Errno
	_, failed := registry.FailureOf(err)
	return (failed || errors.As(err, &number)) && !errors.Is(err, layout.ErrBlobMissing)
}

// list lists the chosen entries.
func (r *lsResult) list(ctx context.Context, from *places.Opened) error {
	entries, err := from.Entries(ctx)
	if err != nil {
		return err
	}
	r.Entries, err = inspect.List(ctx, from.Source, entries)
	return err
}

// listAll lists everything in a place, including what no tag finds, with totals.
func (r *lsResult) listAll(ctx context.Context, src layout.Source) error {
	entries, err := layout.LenientEntries(ctx, src)
	if err == nil && len(entries) == 0 {
		err = layout.CheckThere(ctx, src)
	}
	if err != nil {
		return err
	}
	listing, err := inspect.ListAll(ctx, src, entries)
	if err != nil {
		return err
	}
	r.Entries, r.Bytes = listing.Entries, &listing.Bytes
	if dir, ok := src.(*layout.Dir); ok {
		r.Unreachable, r.Warning, err = unreachable(ctx, dir)
	}
	return err
}

func (r lsResult) render(w io.Writer, now time.Time) error {
	err := tableOf(w, columns{drop: []string{"OWN", "RESULTS", "KIND", "COMPRESSION", "NEWEST RESULT", "FORM"}, cut: "TAG"}, func(w io.Writer) {
		say(w, "TAG\tKIND\tFORM\tCOMPRESSION\tSIZE\tOWN\tRESULTS\tNEWEST RESULT\tROOT\n")
		for _, e := range r.Entries {
			tag := orNone(e.Tag)
			if e.Shadowed {
				tag += " (hidden by another entry)"
			}
			if e.Form == "" {
				say(w, "%s\t%s\t-\t-\t-\t-\t-\t-\t%s\n", tag, e.Kind, short(e.Digest))
				continue
			}
			results := strconv.Itoa(e.Results)
			if e.Problem != "" { // only the root can be read
				results = "-"
			}
			say(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", tag, e.Kind, e.Form, strings.Join(names(e.Compressions), ","), size(e.Size), ownSize(e.Own), results,
				age(e.Newest, now), short(e.Digest))
		}
	})
	if err != nil {
		return err
	}
	for _, e := range r.Entries {
		if e.Problem != "" {
			say(w, "%s: %s\n", orNone(e.Tag), e.Problem)
		}
	}
	r.renderTotals(w)
	return nil
}

func (r lsResult) renderTotals(w io.Writer) {
	parts := []string{count(r.Caches, "cache")}
	if r.Caches > 0 && r.Bytes != nil {
		parts[0] += " with " + size(*r.Bytes)
	}
	switch others := len(r.Entries) - r.Caches; {
	case others == 1:
		parts = append(parts, "1 other entry")
	case others > 1:
		parts = append(parts, fmt.Sprintf("%d other entries", others))
	}
	if r.Unreachable != nil && r.Unreachable.Bytes > 0 {
		unreached := size(r.Unreachable.Bytes) + " that no tag reaches"
		broken := slices.ContainsFunc(r.Entries, func(e inspect.Listed) bool { return e.Problem != "" })
		if !broken && len(r.Entries) > 0 { // otherwise it may be what the user is looking for
			freed := frees(r.Path)
			if r.Unreachable.Incomplete {
				freed = mention(onPath("gc", r.Path)) + " frees them once no blob is missing there"
			}
			unreached += " (" + freed + ")"
		}
		parts = append(parts, unreached)
	}
	say(w, "%s: %s\n", r.Path, strings.Join(parts, ", "))
	if r.Warning != "" {
		say(w, "warning: %s\n", r.Warning)
	}
}

// ownSize writes the size of what belongs to one cache alone, if known.
func ownSize(own *int64) string {
	if own == nil {
		return "-"
	}
	return size(*own)
}
