package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

func (a *app) syncCommand() *cobra.Command {
	change, flags := &changeFlags{}, &transferFlags{}
	var sync syncFlags
	cmd := &cobra.Command{
		Use:   "sync SRC DST",
		Short: "Copy the caches that are missing from one place to another",
		Long: `Copy the caches that are missing from one place to another, converting them on the way if asked. SRC without a tag means every cache
in it. A cache that fails does not stop the others, but the exit status is 1. What is dropped from a cache is not sent; SRC is not changed.`,
		Example: `  ocicache sync ./cache docker://registry.example.com/team/cache --to auto
  ocicache sync docker://old.example.com/cache docker://new.example.com/cache --match 'release-*' --compression zstd
  ocicache sync ./cache docker://registry.example.com/team/cache --keep-bytes 5GB --delete --dry-run`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			sync.cmd = cmd
			return a.runSync(cmd.Context(), change, flags, sync, args)
		},
	}
	change.add(cmd)
	flags.add(a, cmd)
	flags.addTrust(cmd)
	sync.add(cmd)
	sync.limits.add(cmd.Flags(), "result")
	sync.remove.add(cmd)
	cmd.Flags().BoolVar(&sync.failFast, "fail-fast", false, "stop after the first cache that fails")
	cmd.Flags().BoolVar(&sync.deep, "deep", false, "also read what is already there, and what a registry was sent")
	cmd.Flags().BoolVar(&sync.look, "check", false, "ask the registry for every layer that should be there in the end")
	cmd.Flags().IntVar(&sync.parallel, "parallel", 0, "caches to copy at once (default 4 with a registry, else 1)")
	return cmd
}

// atOnce returns how many caches to work on at once: several if a registry is involved, because most of the time is spent waiting for it.
func (f syncFlags) atOnce(ends ...layout.Reference) int {
	if f.parallel == 0 && slices.ContainsFunc(ends, func(ref layout.Reference) bool { return !ref.IsLocal() }) {
		return 4
	}
	return f.parallel
}

type syncFlags struct {
	tagFilter
	cmd      *cobra.Command
	limits   limitFlags
	remove   deleteFlags
	failFast bool
	deep     bool
	look     bool
	parallel int
}

// syncResult is what sync writes with --json.
type syncResult struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	DryRun      bool   `json:"dryRun,omitempty"`
	// CacheFrom are the values of --cache-from that import the caches now in DST, in order.
	CacheFrom []string `json:"cacheFrom"`
	*convert.SyncResult
	// Deletion is what happened to the tags that the source lacks, if they were to be deleted.
	Deletion *syncDeletion `json:"deletion,omitempty"`

	to   layout.Reference
	rows *syncRows // of all caches if the result does not hold all of them, else nil
}

// all returns the caches with what the table needs of them.
func (r syncResult) all() iter.Seq[convert.SyncEntry] {
	if r.rows == nil {
		return slices.Values(r.Caches)
	}
	return r.rows.all(r.Caches)
}

// options converts the flags to options.
func (f syncFlags) options(change *changeFlags, dst string) (options convert.SyncOptions, err error) {
	options = convert.SyncOptions{FailFast: f.failFast, Deep: f.deep, Look: f.look}
	if f.parallel < 0 {
		return options, fmt.Errorf("--parallel %d: want 1 or more", f.parallel)
	}
	if options.Options, err = change.options(); err != nil {
		return options, err
	}
	if options.Compression != "" {
		options.Form = defaultForm(options.Form, dst)
	}
	if options.Prune, err = f.limits.rules(time.Now()); err != nil {
		return options, err
	}
	options.Match, err = f.matcher()
	return options, err
}

// errPruneInPlace says that another command does what was asked for.
var errPruneInPlace = errors.New("this would prune SRC itself; to do that, use prune; to keep SRC, give DST another tag")

// isInPlace reports whether a tag of DST may be the same as one of SRC. If SRC is given by digest, convert checks what the tag names.
func isInPlace(from, to layout.Reference) bool {
	apart := from.Digest != "" && to.Tag != "" || from.Tag != "" && to.Tag != "" && from.Tag != to.Tag
	return places.Same(from, to) && !apart
}

func (a *app) runSync(ctx context.Context, change *changeFlags, flags *transferFlags, sync syncFlags, args []string) error {
	options, err := sync.options(change, args[1])
	if err != nil {
		return &usageError{err}
	}
	flags.direct = sync.remove.do // a mirror may not have what is new
	t, err := a.newTransfer(ctx, flags, args)
	if err != nil {
		return err
	}
	if err := sync.checkEnds(t.src.Reference, t.dstRef); err != nil {
		return &usageError{err}
	}
	if options.Tags = sync.tagsOf(t.src); options.Tags == nil || sync.needsEntries(t.dstRef) {
		if err := sync.choose(ctx, t.src, &options); err != nil {
			return err
		}
	}
	if err := a.openDestination(ctx, t, flags); err != nil {
		return err
	}
	if err := flags.complete(t, &options.Options); err != nil {
		return err
	}
	options.Tag, options.Parallel = t.tag, sync.atOnce(t.src.Reference, t.dstRef)
	hidden, err := hiddenNotes(ctx, t.src, options.Match)
	if err != nil {
		return err
	}
	rows := a.rowsOnly(flags, sync, &options)
	done, err := a.syncAll(ctx, t, sync, options)
	if done == nil {
		return err
	}
	result := syncResult{Source: t.srcName, Destination: t.dstName, DryRun: flags.dryRun, CacheFrom: []string{}, SyncResult: done, to: t.dstRef, rows: rows}
	done.Notes = append(done.Notes, hidden...)
	done.Notes = append(done.Notes, a.roomNotes(flags.dryRun && t.dstRef.IsLocal(), t.dstRef.Path, t.src.Source, done.Moved)...)
	if a.json {
		result.nameForBuildKit()
	}
	err = errors.Join(err, flags.writeDigests(ctx, result.digests()...))
	var kept error
	if err == nil {
		result.Deletion, kept = sync.remove.deleteSurplus(ctx, a, t, done, options)
	}
	return cmp.Or(errors.Join(err, a.write(result, result.render)), done.Err(), kept)
}

// rowsOnly makes a sync keep only a row of each finished cache, if no more than that is shown; else it returns nil.
func (a *app) rowsOnly(flags *transferFlags, sync syncFlags, options *convert.SyncOptions) *syncRows {
	if a.json || flags.digestFile != "" || sync.remove.do {
		return nil
	}
	rows := &syncRows{}
	options.OnEntry, options.Keep = rows.add, rows.keeps
	return rows
}

// nameForBuildKit fills in the value of --cache-from for each cache that is there.
func (r *syncResult) nameForBuildKit() {
	for _, cache := range r.Caches {
		if cache.Err == nil {
			r.CacheFrom = append(r.CacheFrom, places.CacheFrom(r.to, cache.To, cache.ToDigest))
		}
	}
}

// checkEnds fails if SRC and DST do not fit what was asked for.
func (f syncFlags) checkEnds(from, to layout.Reference) error {
	switch {
	case places.SameFile(from, to):
		return errors.New("SRC and DST are the same place")
	case f.limits.given() && isInPlace(from, to):
		return errPruneInPlace
	}
	return f.remove.check(f.cmd, from, to)
}

// syncAll copies the caches.
func (a *app) syncAll(ctx context.Context, t *transfer, flags syncFlags, options convert.SyncOptions) (*convert.SyncResult, error) {
	handler, stop := a.show()
	defer stop()
	options.OnEvent = handler
	options.OnBegin = func(ctx context.Context, _ layout.Entry) (context.Context, error) {
		for _, ref := range []layout.Reference{t.src.Reference, t.dstRef} {
			if isRegistry(ref) && a.hosts.HasGivenUp(registry.HostOf(ref.Path)) {
				return nil, errGivenUp
			}
		}
		return ctx, nil
	}
	done, err := convert.Sync(ctx, t.src.Source, t.dst, options)
	byTags := options.Tags != nil
	if byTags && (errors.Is(err, errChoosesNone) || done != nil && err == nil && done.Tried == 0) {
		if err := flags.choose(ctx, t.src, &options); err != nil { // to say what is wrong
			return nil, err
		}
		return convert.Sync(ctx, t.src.Source, t.dst, options)
	}
	return done, err
}

// digests returns the lines for --digestfile: the digest of each cache that is there now, and its name.
func (r syncResult) digests() []string {
	lines := []string{}
	for _, cache := range r.Caches {
		if cache.Err == nil {
			lines = append(lines, string(cache.ToDigest)+" "+r.Destination+":"+cache.To)
		}
	}
	return lines
}

// errGivenUp skips caches that need a registry that was given up on.
var errGivenUp = errors.New("gave up on the registry")

// errChoosesNone says that the tags of a place don't tell by themselves which caches are chosen.
var errChoosesNone = errors.New("the chosen tags have no caches")

// tagsOf returns a function that lists the tags of a source, if it is read tag by tag; else nil. The function fails with
// errChoosesNone where choose would fail.
func (f syncFlags) tagsOf(src *places.Opened) func(context.Context) ([]string, error) {
	lister, lists := src.Source.(layout.Lister)
	_, lenient := src.Source.(layout.Lenient)
	if !lists || !lenient || src.Reference.Tag != "" || src.Reference.Digest != "" {
		return nil
	}
	return func(ctx context.Context) ([]string, error) {
		tags, err := lister.Tags(ctx)
		if err != nil {
			return nil, err
		}
		chosen, err := f.matcher()
		if err != nil {
			return nil, err
		}
		for _, pattern := range f.match {
			if !slices.ContainsFunc(tags, func(tag string) bool { return matches(pattern, tag) }) {
				return nil, errChoosesNone
			}
		}
		if len(tags) == 0 || chosen != nil && !slices.ContainsFunc(tags, chosen) {
			return nil, errChoosesNone
		}
		return tags, nil
	}
}

// needsEntries reports whether everything in the source has to be known first: to make sure that it is one cache, or that it exists
// before a layout is made for it, or to find out what it lacks.
func (f syncFlags) needsEntries(to layout.Reference) bool {
	return to.Tag != "" || to.IsLocal() || f.remove.do
}

// choose reads everything in the source at once, instead of tag by tag.
func (f syncFlags) choose(ctx context.Context, src *places.Opened, options *convert.SyncOptions) (err error) {
	options.Tags = nil
	if options.Entries, err = src.LenientEntries(ctx); err != nil {
		return err
	}
	return f.check(ctx, src, options.Entries)
}

// check fails if there is no cache, or if a --match chooses nothing.
func (f syncFlags) check(ctx context.Context, src *places.Opened, entries []layout.Entry) error {
	if !slices.ContainsFunc(entries, mayBeCache) {
		_, err := src.Cache(ctx) // says what there is instead
		return err
	}
	if err := f.checkEach(src.Source, entries); err != nil {
		return err
	}
	chosen, err := f.matcher()
	if err != nil || chosen == nil {
		return err
	}
	isChosen := func(e layout.Entry) bool { return mayBeCache(e) && chosen(e.Tag) }
	if !slices.ContainsFunc(entries, isChosen) {
		return f.noneLeft(src.Source, entries)
	}
	return nil
}

// mayBeCache reports whether an entry is not an image: it is a cache, or can't be read.
func mayBeCache(e layout.Entry) bool { return !e.Kind.IsImage() }

// renderPruned says what was dropped on the way.
func (r syncResult) renderPruned(w io.Writer) {
	for _, c := range r.Caches {
		if c.Pruned == nil || c.Pruned.Before == c.Pruned.Kept && c.Pruned.Undated == 0 && c.Pruned.Exceeds == 0 && !c.Pruned.Estimated {
			continue
		}
		say(w, "%s, pruned on the way:\n", orNone(c.To))
		renderPruning(w, *c.Pruned)
	}
}

// renderEntry says what happened to a cache.
func (r syncResult) renderEntry(w io.Writer, c convert.SyncEntry) {
	what, instead, named := "copied", "replacing", orNone(c.ToDigest.String())
	switch {
	case c.Interrupted:
		what, instead, named = "interrupted", "not replacing", "-"
	case c.Error != "":
		what, instead, named = "FAILED", "not replacing", "-"
	case c.Skipped:
		what = "already there"
	case r.DryRun:
		what = "would be copied"
	}
	if c.Was != "" {
		what += ", " + instead + " " + short(c.Was)
	}
	say(w, "%s\t%s\t%s\t%s\n", orNone(c.To), what, named, size(c.Moved))
}

// lookThrough reports whether any cache was already there, and returns the first one that is there now.
func (r syncResult) lookThrough() (skipped bool, first convert.SyncEntry) {
	for c := range r.all() {
		skipped = skipped || c.Skipped
		if first.ToDigest == "" && c.Error == "" && !c.Interrupted {
			first = c
		}
	}
	return skipped, first
}

// renderImports says how to import the first cache, and which caches BuildKit will not import in full.
func (r syncResult) renderImports(w io.Writer, first convert.SyncEntry) {
	sayImport(w, cmp.Or(first.To, "it"), importOf(r.to, first.To, first.ToDigest), !r.DryRun || first.Skipped)
	for _, c := range r.Caches {
		if c.NotInFull != "" {
			say(w, "note: %s: %s\n", orNone(c.To), c.NotInFull)
		}
	}
}

func (r syncResult) render(w io.Writer) error {
	moved := "transferred"
	if r.DryRun {
		moved = "to transfer"
	}
	if slices.ContainsFunc(r.Caches, func(c convert.SyncEntry) bool { return c.Foreseen > 0 }) {
		moved += ", plus layers that are recompressed"
	}
	err := table(w, func(w io.Writer) {
		for c := range r.all() {
			r.renderEntry(w, c)
		}
	})
	if err != nil {
		return err
	}
	r.renderPruned(w)
	say(w, "%s to %s: %s, %d failed, %s %s", r.Source, r.Destination, count(r.Tried, "cache"), r.Failed, size(r.Moved), moved)
	if r.Interrupted > 0 {
		say(w, " (interrupted: %s)", count(r.Interrupted, "cache"))
	}
	if r.NotTried > 0 {
		say(w, " (not tried: %s)", count(r.NotTried, "cache"))
	}
	if r.Others > 0 {
		say(w, " (skipped because it is not a cache: %s)", english.Plural(r.Others, "entry", "entries"))
	}
	skipped, first := r.lookThrough()
	if skipped && r.Checked == convert.CheckedRoots {
		say(w, " (already there: checked by root only; use --check to ask about every layer)")
	}
	say(w, "\n")
	r.renderImports(w, first)
	for _, note := range r.Notes {
		say(w, "note: %s\n", note)
	}
	return r.Deletion.render(w, r.to, r.DryRun)
}
