package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// collectFlags say what is garbage-collected.
type collectFlags struct{ keepSince string }

// add adds the flags; with says what they only work with, "" if they always do.
func (f *collectFlags) add(flags *pflag.FlagSet, with string) {
	flags.StringVar(&f.keepSince, "keep-since", "24h",
		with+"keep what is younger than this `AGE`, such as 12h or 7d; use 0s only if every writer takes the lock")
}

// options reads the flags.
func (f *collectFlags) options(dryRun bool) (layout.GCOptions, error) {
	grace, err := parseAge(f.keepSince)
	if err != nil {
		return layout.GCOptions{}, &usageError{fmt.Errorf("--keep-since: %w", err)}
	}
	return layout.GCOptions{Grace: grace, DryRun: dryRun}, nil
}

func (a *app) gcCommand() *cobra.Command {
	var flags collectFlags
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "gc DIR",
		Short: "Remove what no tag in a directory reaches any more",
		Long: `Remove what no entry of a directory's index.json reaches any more: old exports, remains of conversions, temporary files,
leftovers of interrupted exports. Caches, images and indexes listed in index.json stay, with everything that they reference, tagged
or not.

A cache that lost its tag is removed too; the result lists the complete ones. If index.json is missing or empty while there are
caches in the directory, it was probably lost: gc then refuses to run, and 'ocicache repair' restores it.

gc waits until nobody is writing there, as BuildKit does when it deletes (cache.lock). BuildKit before v0.34 takes no lock, so
anything younger than a day stays, and so does everything while such a BuildKit seems to be writing. An export that has just written
its blobs can't be detected: don't run gc at the same time. If anything that an entry reaches is missing, gc says so and removes
nothing, as the missing part may be among what would be removed.`,
		Example: `  ocicache gc ./cache --dry-run
  ocicache gc ./cache --keep-since 0s`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := flags.options(dryRun)
			if err != nil {
				return err
			}
			return a.runGC(cmd.Context(), o, args[0])
		},
	}
	flags.add(cmd.Flags(), "")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be removed, and remove nothing")
	return cmd
}

// gcResult is what gc writes with --json.
type gcResult struct {
	Path string `json:"path"`
	*layout.GCResult
	// Error is what ended it, after it had removed something.
	Error string `json:"error,omitempty"`
}

func (a *app) runGC(ctx context.Context, o layout.GCOptions, text string) error {
	dir, err := a.openDir(ctx, text)
	if err != nil {
		return err
	}
	a.noteReadOnly(o.DryRun, layout.Reference{Transport: layout.TransportPath, Path: dir.String()})
	done, err := dir.GC(ctx, o)
	if done == nil {
		return err
	}
	result := gcResult{Path: dir.String(), GCResult: done}
	if err != nil { // what was removed is reported anyway
		result.Error = err.Error()
	}
	return errors.Join(err, a.write(result, result.render))
}

// collector is a place that can remove what nothing reaches.
type collector interface {
	fmt.Stringer
	GC(ctx context.Context, o layout.GCOptions) (*layout.GCResult, error)
}

// errNoDir says that garbage can't be collected in a place.
var errNoDir = errors.New("gc works on a whole directory")

// openDir opens a layout directory.
func (a *app) openDir(ctx context.Context, text string) (collector, error) {
	ref, err := parse(text, "")
	if err != nil {
		return nil, err
	}
	if ref.Tag != "" || ref.Digest != "" || !ref.IsLocal() {
		return nil, &usageError{fmt.Errorf("%s: %w", ref, errNoDir)}
	}
	from, err := a.open(ctx, ref, "", places.Options{})
	if err != nil {
		return nil, err
	}
	dir, ok := from.Source.(collector)
	if !ok {
		return nil, &usageError{fmt.Errorf("%s: %w", ref, errNoDir)}
	}
	return dir, nil
}

func (r gcResult) render(w io.Writer) error {
	removed := "removed"
	if r.DryRun {
		removed = "would be removed"
	}
	say(w, "%s: %s with %s %s", r.Path, count(r.Removed.Files, "blob"), size(r.Removed.Bytes), removed)
	if r.Leftovers.Files > 0 {
		say(w, ", and %s of interrupted writes with %s", count(r.Leftovers.Files, "leftover"), size(r.Leftovers.Bytes))
	}
	if r.Error != "" {
		say(w, " before it failed\n")
		return nil
	}
	say(w, "\n")
	switch {
	case r.DryRun:
		renderUnnamed(w, r.Path, r.Unnamed, ", which would be removed too")
	case len(r.Unnamed) > 0:
		listUnnamed(w, ", which were removed too", r.Unnamed)
	}
	say(w, "  kept: %s with %s, still needed\n", count(r.Kept.Files, "blob"), size(r.Kept.Bytes))
	switch {
	case r.Writing != "":
		say(w, "  kept: %s with %s, not needed, but an export without a lock seems to be running (%s)\n",
			count(r.Young.Files, "file"), size(r.Young.Bytes), r.Writing)
	case r.Young.Files > 0:
		say(w, "  kept: %s with %s, not needed, but younger than --keep-since or referenced by a file that is\n",
			count(r.Young.Files, "file"), size(r.Young.Bytes))
	}
	if len(r.Strange) > 0 {
		say(w, "  kept: %s under blobs/ and ingest/ that belong to no blob or export, such as %s\n", count(len(r.Strange), "name"), r.Strange[0])
	}
	return nil
}
