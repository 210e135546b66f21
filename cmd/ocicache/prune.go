package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

type pruneFlags struct {
	limits  limitFlags
	dryRun  bool
	gc      bool
	collect collectFlags
	tag     string
	naming  namingFlags
	access  *registryFlags
}

func (a *app) pruneCommand() *cobra.Command {
	flags := &pruneFlags{}
	cmd := &cobra.Command{
		Use:   "prune REF",
		Short: "Drop old results from caches, and everything that only they need",
		Long: `Drop results from a cache by age, size or number, and with them exactly the records, layers and blobs that no other result
needs. Builds hit what is left as before. Rules are applied one after the other, in the order of their flags below; each
applies to one cache.

The tag moves last, once the result is checked by the rules of BuildKit's importer. Blobs are not deleted right away: in a directory,
'ocicache gc' or --gc here frees those older than --keep-since. Without a tag REF means every cache there; if one fails, the
others are still pruned, and the exit status is 1. With --dry-run, --gc shows what it would remove.

With --provenance, prune shows which steps lose their results, and which keep them. ` + provenanceHelp,
		Example: `  ocicache prune ./cache --older-than 30d --keep-bytes 5GB --gc
  ocicache prune docker://registry.example.com/team/cache:main --keep-records 2000
  ocicache prune oci:./cache:main --leaves --dry-run
  ocicache prune ./cache --older-than 30d --dry-run --provenance build.dockerbuild`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("keep-since") && !flags.gc {
				return &usageError{errors.New("--keep-since needs --gc")}
			}
			return a.runPrune(cmd.Context(), flags, args[0])
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&flags.tag, "tag", "", "`TAG` of the cache to prune")
	flags.limits.add(f, "cache")
	f.BoolVar(&flags.dryRun, "dry-run", false, "show what would be dropped, and write nothing")
	f.BoolVar(&flags.gc, "gc", false, "in a directory, also remove what no tag reaches any more, like 'ocicache gc'")
	flags.collect.add(f, "with --gc, ")
	flags.naming.add(f)
	flags.access = addRegistryFlags(cmd)
	return cmd
}

// rules reads the flags.
func (f *pruneFlags) rules() (buildcache.PruneRules, error) {
	rules, err := f.limits.rules(time.Now())
	if err == nil && rules == (buildcache.PruneRules{}) {
		if f.access.set.Changed("keep-records") {
			return rules, errors.New("--keep-records 0: want 1 or more; to delete a cache, use rm")
		}
		err = errors.New("no rule given: use --older-than, --leaves, --keep-records, --keep-bytes or --fit")
	}
	return rules, err
}

// pruneResult is what prune writes with --json.
type pruneResult struct {
	Path   string           `json:"path"`
	Caches []prunedCache    `json:"caches"`
	GC     *layout.GCResult `json:"gc,omitempty"`
	// GCRefuses says why gc will remove nothing of what no tag names any more, "" if it will, or if there is nothing.
	GCRefuses string `json:"gcRefuses,omitempty"`
	// Error is what ended it, other than what was wrong with caches: --gc removed nothing, or not everything.
	Error string `json:"error,omitempty"`

	collects bool // with --gc
}

func (a *app) runPrune(ctx context.Context, flags *pruneFlags, text string) error {
	rules, err := flags.rules()
	if err != nil {
		return &usageError{err}
	}
	collect, err := flags.collect.options(flags.dryRun)
	if err != nil {
		return err
	}
	names, err := a.pruneNames(ctx, flags, text)
	if err != nil {
		return err
	}
	from, err := a.openChanged(ctx, text, flags.tag, flags.access)
	if err != nil {
		return err
	}
	place, err := from.Place()
	if err != nil {
		return &usageError{err}
	}
	dir, isDir := from.Source.(collector)
	if flags.gc && !isDir {
		return &usageError{fmt.Errorf("--gc: %s: %w", from.Reference, errNoDir)}
	}
	a.noteReadOnly(flags.dryRun, from.Reference)
	result := pruneResult{Path: from.Source.String(), Caches: []prunedCache{}, collects: flags.gc}
	err = a.pruneAll(ctx, from, place, convert.PruneOptions{Rules: rules, DryRun: flags.dryRun, Explain: names.explain()}, &result)
	names.addTo(&result)
	if err == nil && flags.gc && result.done() > 0 {
		if result.GC, err = dir.GC(ctx, result.collection(collect)); err == nil {
			result.forgetPruned()
		}
	}
	if err == nil && isDir {
		a.foreseePruned(ctx, place, &result)
	}
	return a.writePruned(result, err)
}

// foreseePruned finds out whether gc will free what was pruned. If that fails, the result stands all the same.
func (a *app) foreseePruned(ctx context.Context, place layout.Source, result *pruneResult) {
	if !slices.ContainsFunc(result.Caches, func(c prunedCache) bool { return c.Unnamed > 0 }) {
		return
	}
	result.GCRefuses = a.foreseeFreed(ctx, place)
}

// writePruned writes what was done, even before an error, and returns what went wrong. If a single cache failed, the error says
// everything, except in JSON.
func (a *app) writePruned(result pruneResult, err error) error {
	if err != nil {
		result.Error = err.Error()
	}
	failed := result.err()
	told := len(result.Caches) > 1 || len(result.Caches) > 0 && (a.json || failed == nil)
	if err == nil && failed == nil || told {
		err = errors.Join(err, a.write(result, result.render))
	}
	return errors.Join(err, failed)
}

// pruneAll prunes every chosen cache.
func (a *app) pruneAll(ctx context.Context, from *places.Opened, place layout.Place, o convert.PruneOptions, result *pruneResult) error {
	if from.Reference.Digest != "" {
		return &usageError{errors.New("pruning changes the digest, so give a tag instead")}
	}
	entries, err := covered(ctx, from)
	if err != nil {
		return err
	}
	handler, stop := a.show()
	defer stop()
	o.OnEvent = handler
	pruned, err := convert.PruneAll(ctx, place, entries, o)
	for _, c := range pruned {
		result.Caches = append(result.Caches, prunedCache{PruneResult: c})
	}
	return err
}

// covered returns the chosen caches, including those that can't be read.
func covered(ctx context.Context, from *places.Opened) ([]layout.Entry, error) {
	if !places.Covers(from.Reference) {
		return from.Caches(ctx)
	}
	entries, err := from.LenientEntries(ctx)
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e layout.Entry) bool { return e.Kind.IsImage() })
	if len(entries) == 0 {
		return from.Covered(ctx) // says what there is instead
	}
	return entries, nil
}

// done counts the caches that did not fail.
func (r *pruneResult) done() (n int) {
	for _, c := range r.Caches {
		if c.Err == nil {
			n++
		}
	}
	return n
}

// err returns an error that says which caches failed, nil for none.
func (r *pruneResult) err() error {
	return failedOf(r.Caches, func(c prunedCache) error { return c.Err })
}

// collection returns what to garbage-collect after the pruning, or what would be.
func (r *pruneResult) collection(o layout.GCOptions) layout.GCOptions {
	for _, c := range r.Caches {
		if move, ok := c.Moves(); ok && o.DryRun {
			o.Planned = append(o.Planned, move)
		}
	}
	return o
}

// forgetPruned removes what was pruned on purpose from the caches that gc removed for lack of a tag.
func (r *pruneResult) forgetPruned() {
	r.GC.Unnamed = slices.DeleteFunc(r.GC.Unnamed, func(u layout.UnnamedCache) bool {
		return slices.ContainsFunc(r.Caches, func(c prunedCache) bool { return c.From.Digest == u.Digest })
	})
}

func (r pruneResult) render(w io.Writer) error {
	for _, c := range r.Caches {
		name := r.Path
		if c.Tag != "" {
			name += ", tag " + c.Tag
		}
		switch {
		case c.Err != nil:
			say(w, "%s: NOT PRUNED: %s\n", name, strings.TrimPrefix(c.Error, name+": "))
			continue
		case c.Unchanged:
			say(w, "%s: nothing to drop\n", name)
		case c.DryRun:
			say(w, "%s: dry run, nothing was written\n", name)
		default:
			say(w, "%s: pruned\n", name)
		}
		renderPruning(w, c.Pruning)
		if err := c.renderSteps(w); err != nil {
			return err
		}
		if c.From.Digest != c.To.Digest {
			say(w, "  root %s\n", c.To.Digest)
		}
		if c.Unnamed > 0 && !r.collects {
			say(w, "  no tag points to %s any more; %s\n", size(c.Unnamed), freesUnless(r.GCRefuses, r.Path))
		}
	}
	if r.GC == nil {
		return nil
	}
	return gcResult{Path: r.Path, GCResult: r.GC, Error: r.Error}.render(w)
}

// renderPruning says what each rule dropped, and what is left.
func renderPruning(w io.Writer, p convert.Pruning) {
	renderFreed(w, p.Freed, p.Undated)
	say(w, "  left: %d of %s, %d of %s, %d of %s, %s of %s of layers\n", p.Kept.Results, count(p.Before.Results, "result"),
		p.Kept.Records, count(p.Before.Records, "record"), p.Kept.Blobs, count(p.Before.Blobs, "layer blob"), size(p.Kept.Bytes), size(p.Before.Bytes))
	if p.Exceeds > 0 {
		say(w, "  after recompression, the layers have %s, which exceeds --keep-bytes: it goes by their sizes in SRC\n", size(p.Exceeds))
	}
	if p.Estimated {
		say(w, "  this is an estimate: --fit may drop more when layers are recompressed, as their descriptors grow\n")
	}
}
