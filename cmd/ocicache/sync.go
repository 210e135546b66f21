package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

func (a *app) syncCommand() *cobra.Command {
	change, flags := &changeFlags{}, &transferFlags{}
	var match []string
	var failFast bool
	cmd := &cobra.Command{
		Use:   "sync SRC DST",
		Short: "Bring the caches that are missing from one place to another",
		Long: `Bring the caches of a layout or a repository that are missing to another one, converting them on the way if asked.
What is there already is skipped without a transfer. A cache that fails stops nothing; the exit status is 1 then.

SRC without a tag stands for every cache in it.`,
		Example: `  ocicache sync ./cache docker://registry.example.com/team/cache --to auto
  ocicache sync docker://old.example.com/cache docker://new.example.com/cache --match 'release-*' --compression zstd`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runSync(cmd.Context(), change, flags, syncFlags{match: match, failFast: failFast}, args)
		},
	}
	change.add(cmd)
	flags.add(a, cmd)
	cmd.Flags().StringArrayVar(&match, "match", nil, "only tags that match this shell pattern (may be given several times)")
	cmd.Flags().BoolVar(&failFast, "fail-fast", false, "stop after the first cache that fails")
	return cmd
}

type syncFlags struct {
	match    []string
	failFast bool
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
	options := convert.SyncOptions{FailFast: sync.failFast}
	var err error
	if options.Options, err = change.options(); err != nil {
		return &usageError{err}
	}
	if options.Match, err = sync.matcher(); err != nil {
		return &usageError{err}
	}
	job, err := a.newSync(ctx, flags, args)
	if err != nil {
		return err
	}
	options.Jobs, options.DryRun, options.Tag = job.jobs, flags.dryRun, job.tag
	if options.Preflight, err = flags.preflight(job); err != nil {
		return err
	}
	if change.to == auto {
		if options.FormsFor, err = flags.formsFor(job); err != nil {
			return err
		}
		options.Refused = aboutForm
	}
	handler, stop := a.show()
	options.OnEvent = handler
	done, err := convert.Sync(ctx, job.src, job.dst, options)
	stop()
	if done == nil {
		return err
	}
	result := syncResult{Source: job.srcName, Destination: job.dstName, DryRun: flags.dryRun, SyncResult: done}
	if err := errors.Join(err, a.write(result, result.render)); err != nil {
		return err
	}
	return syncFailures(done)
}

// newSync opens both ends, and chooses no cache.
func (a *app) newSync(ctx context.Context, flags *transferFlags, args []string) (*transfer, error) {
	from, err := parse(args[0], flags.tag)
	if err != nil {
		return nil, err
	}
	to, err := parse(args[1], "")
	if err != nil {
		return nil, err
	}
	if err := flags.registry.check(from, to); err != nil {
		return nil, err
	}
	source, err := a.open(ctx, from, flags.base, flags.registry.options(src))
	if err != nil {
		return nil, err
	}
	t := &transfer{src: source, dstRef: to, srcName: source.String(), dstName: to.String(), jobs: a.jobsFor(from, to)}
	if same(from, to) {
		return nil, &usageError{errors.New("SRC and DST are the same place")}
	}
	return t, t.openDestination(ctx, a, flags, []layout.Reference{from, to})
}

// syncFailures returns the errors of all caches that failed, as one.
func syncFailures(result *convert.SyncResult) error {
	if result.Failed == 0 {
		return nil
	}
	var all []error
	for _, cache := range result.Caches {
		if cache.Err != nil {
			all = append(all, fmt.Errorf("tag %q: %w", cache.From, cache.Err))
		}
	}
	return &syncError{failed: result.Failed, of: len(result.Caches), err: errors.Join(all...)}
}

// syncError says that caches of a sync failed.
type syncError struct {
	failed, of int
	err        error
}

func (e *syncError) Error() string {
	return fmt.Sprintf("%s of %d failed:\n%v", english.Plural(e.failed, "cache", ""), e.of, e.err)
}

func (e *syncError) Unwrap() error { return e.err }

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
