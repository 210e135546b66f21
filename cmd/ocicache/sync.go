package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

func (a *app) syncCommand() *cobra.Command {
	change, flags := &changeFlags{}, &transferFlags{}
	var sync syncFlags
	cmd := &cobra.Command{
		Use:   "sync SRC DST",
		Short: "Bring the caches that are missing from one place to another",
		Long: `Bring the caches of a layout or a repository that are missing to another one, converting them on the way if asked.
What is there already, with all its layers, is skipped without a transfer; what is not whole is mended. A cache that fails stops nothing; the exit status is 1 then.

SRC without a tag stands for every cache in it.`,
		Example: `  ocicache sync ./cache docker://registry.example.com/team/cache --to auto
  ocicache sync docker://old.example.com/cache docker://new.example.com/cache --match 'release-*' --compression zstd`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runSync(cmd.Context(), change, flags, sync, args)
		},
	}
	change.add(cmd)
	flags.add(a, cmd)
	cmd.Flags().StringArrayVar(&sync.match, "match", nil, "only tags that match this shell pattern (may be given several times)")
	cmd.Flags().BoolVar(&sync.failFast, "fail-fast", false, "stop after the first cache that fails")
	cmd.Flags().BoolVar(&sync.deep, "deep", false, "read what is there already, instead of only looking whether it is")
	return cmd
}

type syncFlags struct {
	match    []string
	failFast bool
	deep     bool
}

// matcher returns a function that chooses tags.
func (f syncFlags) matcher() (func(string) bool, error) {
	for _, pattern := range f.match {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, fmt.Errorf("--match %q: %w", pattern, err)
		}
	}
	if len(f.match) == 0 {
		return nil, nil
	}
	return func(tag string) bool {
		for _, pattern := range f.match {
			if ok, err := path.Match(pattern, tag); ok && err == nil {
				return true
			}
		}
		return false
	}, nil
}

// syncResult is what sync writes with --json.
type syncResult struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	DryRun      bool   `json:"dryRun,omitempty"`
	*convert.SyncResult
}

func (a *app) runSync(ctx context.Context, change *changeFlags, flags *transferFlags, sync syncFlags, args []string) error {
	options := convert.SyncOptions{FailFast: sync.failFast, Deep: sync.deep}
	var err error
	if options.Options, err = change.options(); err != nil {
		return &usageError{err}
	}
	if options.Match, err = sync.matcher(); err != nil {
		return &usageError{err}
	}
	t, err := a.newTransfer(ctx, flags, args)
	if err != nil {
		return err
	}
	if places.SameFile(t.src.Reference, t.dstRef) {
		return &usageError{errors.New("SRC and DST are the same place")}
	}
	if options.Entries, err = t.src.Entries(ctx); err != nil {
		return err
	}
	if err := sync.check(t.src, options.Entries, options.Match); err != nil {
		return err
	}
	if err := a.openDestination(ctx, t, flags); err != nil {
		return err
	}
	if err := flags.complete(t, &options.Options); err != nil {
		return err
	}
	options.Tag = t.tag
	handler, stop := a.show()
	options.OnEvent = handler
	done, err := convert.Sync(ctx, t.src.Source, t.dst, options)
	stop()
	if done == nil {
		return err
	}
	result := syncResult{Source: t.srcName, Destination: t.dstName, DryRun: flags.dryRun, SyncResult: done}
	if err := errors.Join(err, a.write(result, result.render)); err != nil {
		return err
	}
	return done.Err()
}

// check fails where --match chooses nothing.
func (f syncFlags) check(src *places.Opened, entries []layout.Entry, match func(string) bool) error {
	if match == nil || slices.ContainsFunc(entries, func(e layout.Entry) bool { return match(e.Tag) }) {
		return nil
	}
	return &layout.NotFoundError{
		Place: src.Source.String(), Tag: strings.Join(f.match, ", "),
		Tags: layout.TagsOf(entries, func(k layout.Kind) bool { return k == layout.KindCache }),
	}
}

func (r syncResult) render(w io.Writer) error {
	err := table(w, func(w io.Writer) {
		for _, c := range r.Caches {
			what := "brought over"
			switch {
			case c.Error != "":
				what = "FAILED"
			case c.Skipped:
				what = "there already"
			case r.DryRun:
				what = "would be brought over"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", orNone(c.To), what, orNone(c.ToDigest.String()), size(c.Moved))
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s to %s: %s, %d failed, %s moved", r.Source, r.Destination, count(len(r.Caches), "cache"), r.Failed, size(r.Moved))
	if r.Others > 0 {
		fmt.Fprintf(w, " (passed over, because it is no cache: %s)", english.Plural(r.Others, "entry", "entries"))
	}
	fmt.Fprintln(w)
	return nil
}
