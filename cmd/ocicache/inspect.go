package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

func (a *app) inspectCommand() *cobra.Command {
	var tag, base string
	var access *registryFlags
	cmd := &cobra.Command{
		Use:   "inspect REF",
		Short: "Show what is in caches",
		Long: `Show what is in caches: form, config, layers, records and results, ages and sizes, and the bytes in a layout that no
tag reaches. It reads roots, configs and a few bytes of each layer.

A bare path stands for every cache in it.`,
		Example: `  ocicache inspect ./cache
  ocicache inspect oci:./cache:main --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runInspect(cmd.Context(), args[0], tag, base, access)
		},
	}
	cmd.Flags().StringVar(&tag, "tag", "", "the cache to show")
	cmd.Flags().StringVar(&base, "base", "", baseUsage)
	access = addRegistryFlags(cmd)
	return cmd
}

// inspectResult is what inspect writes with --json.
type inspectResult struct {
	Path   string             `json:"path"`
	Caches []*inspect.Summary `json:"caches"`
	// Unreachable is absent where one cache was chosen, or where it can't be told.
	Unreachable *inspect.Unreached `json:"unreachable,omitempty"`
	// Warning says what can't be told.
	Warning string `json:"warning,omitempty"`
}

func (a *app) runInspect(ctx context.Context, text, tag, base string, access *registryFlags) error {
	ref, err := parse(text, tag)
	if err != nil {
		return err
	}
	if err := access.check(ref); err != nil {
		return err
	}
	from, err := a.open(ctx, ref, base, access.options(either))
	if err != nil {
		return err
	}
	entries, err := from.Caches(ctx)
	if err != nil {
		return err
	}
	result := inspectResult{Path: from.Source.String(), Caches: []*inspect.Summary{}}
	for _, entry := range entries {
		summary, err := inspect.Summarize(ctx, from.Source, entry)
		if err != nil {
			return err
		}
		result.Caches = append(result.Caches, summary)
	}
	if dir, ok := from.Source.(*layout.Dir); ok && places.MeansAll(ref) {
		if err := result.addUnreachable(ctx, dir); err != nil {
			return err
		}
	}
	now := time.Now()
	return a.write(result, func(w io.Writer) error { return result.render(w, now) })
}

func (r *inspectResult) addUnreachable(ctx context.Context, dir *layout.Dir) error {
	unreached, err := inspect.Unreachable(ctx, dir)
	var blob *layout.BlobError
	switch {
	case errors.As(err, &blob):
		r.Warning = "which blobs no tag reaches can't be told: " + err.Error()
	case err != nil:
		return err
	default:
		r.Unreachable = &unreached
	}
	return nil
}

func (r *inspectResult) render(w io.Writer, now time.Time) error {
	for i, s := range r.Caches {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := renderSummary(w, r.Path, s, now); err != nil {
			return err
		}
	}
	switch {
	case r.Warning != "":
		fmt.Fprintf(w, "\nwarning: %s\n", r.Warning)
	case r.Unreachable != nil && len(r.Unreachable.Blobs) > 0:
		fmt.Fprintf(w, "\n%s with %s that no tag reaches\n", count(len(r.Unreachable.Blobs), "blob"), size(r.Unreachable.Bytes))
	}
	return nil
}

func renderSummary(w io.Writer, path string, s *inspect.Summary, now time.Time) error {
	name := path + ", untagged"
	if s.Tag != "" {
		name = path + ", tag " + s.Tag
	}
	fmt.Fprintln(w, name)
	err := table(w, func(w io.Writer) {
		row := func(what, value string) { fmt.Fprintf(w, "  %s\t%s\n", what, value) }
		row("form", fmt.Sprintf("%s (%s)", s.Form, orNone(s.MediaType)))
		row("root", fmt.Sprintf("%s, %s", s.Digest, size(s.Size)))
		row("config", fmt.Sprintf("%s, %s", s.Config.Digest, size(s.Config.Size)))
		row("records", fmt.Sprintf("%d, with %s", s.Records, count(s.Results, "result")))
		row("results made", ages(s.Oldest, s.Newest, now))
		row("layers", totals(s.Totals))
		for _, limit := range s.Limits {
			row("note", limit)
		}
		if s.OverLimit {
			row("problem", "root or config is over the 1 MiB that BuildKit imports: nothing can hit this cache")
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	return table(w, func(w io.Writer) { renderLayers(w, s, now) })
}

func renderLayers(w io.Writer, s *inspect.Summary, now time.Time) {
	fmt.Fprintf(w, "  #\tON\tBLOB\tCOMPRESSION\tSIZE\tDIFFID\tCREATED\tRESULTS\tMEDIA TYPE\n")
	for _, l := range s.Layers {
		compression := string(l.Compression)
		switch {
		case l.Missing:
			compression = "MISSING"
		case l.Unlisted:
			compression += " (not in the root)"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", ordinal(l.Index), ordinal(l.Parent), short(l.Digest), compression,
			size(l.Size), short(l.DiffID), age(l.CreatedAt, now), l.Results, l.MediaType)
	}
}

// ordinal writes an index, or a dash for none.
func ordinal(i int) string {
	if i < 0 {
		return "-"
	}
	return strconv.Itoa(i)
}

func age(t *time.Time, now time.Time) string {
	if t == nil {
		return "-"
	}
	return humanize.RelTime(*t, now, "ago", "from now")
}

func ages(oldest, newest *time.Time, now time.Time) string {
	if oldest == nil {
		return "unknown"
	}
	return fmt.Sprintf("%s to %s (%s)", oldest.Format(time.RFC3339), newest.Format(time.RFC3339), age(newest, now))
}

func totals(t inspect.Totals) string {
	text := fmt.Sprintf("%d in %s, %s", t.Layers, count(t.Blobs, "blob"), size(t.Bytes))
	if t.Duplicates > 0 {
		text += fmt.Sprintf(" (%d times a blob that lies on another parent as well)", t.Duplicates)
	}
	if t.Missing > 0 {
		text += fmt.Sprintf(", %s MISSING", count(t.Missing, "blob"))
	}
	return text
}
