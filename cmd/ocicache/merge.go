package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dustin/go-humanize/english"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// mergeFlags are the flags that only merge has.
type mergeFlags struct {
	limits limitFlags
	base   string
	// overwrite lets DST be replaced even if it has results that no source has.
	overwrite bool
}

func (a *app) mergeCommand() *cobra.Command {
	change, flags := &changeFlags{}, &transferFlags{}
	var merge mergeFlags
	cmd := &cobra.Command{
		Use:   "merge SRC... DST",
		Short: "Merge several caches into one that serves all of their builds",
		Long: `Merge several caches into one: of branches, platforms, matrix jobs, builders. Builds that import it hit what they would
hit with all of its sources. If a step has several results, the newest one is kept. The order of the sources does not matter,
and merging again changes nothing.

A bare path as SRC means every cache in it. DST may be one of the sources, and is skipped if it does not exist yet; if another job
moves its tag meanwhile, the merge is done again. A DST that is not a source is only replaced if the sources have all its results, or
with --overwrite.

Layers keep their compression; with --compression, a layer that sources hold in different compressions is stored once. DST gets the tag
latest and the form artifact, unless DST or --to says otherwise. --fit shrinks a result that is too large for BuildKit to import.`,
		Example: `  ocicache merge ./amd64 ./arm64 ./cache
  ocicache merge docker://registry.example.com/cache:main docker://registry.example.com/cache:pr-7 docker://registry.example.com/cache:main
  ocicache merge oci:./cache:a oci:./cache:b oci:./cache:both --compression zstd --fit`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runMerge(cmd.Context(), change, flags, merge, args)
		},
	}
	change.add(cmd)
	flags.addTarget(a, cmd)
	flags.addTrust(cmd)
	cmd.Flags().StringVar(&merge.base, "base", "", baseUsage)
	cmd.Flags().BoolVar(&merge.overwrite, "overwrite", false, "replace DST even if it has results that no source has")
	merge.limits.add(cmd.Flags(), "result")
	cmd.Flags().Lookup("to").Usage += fmt.Sprintf(" (default %s; for a registry %s)", buildcache.Artifact, auto)
	return cmd
}

// mergeResult is what merge writes with --json.
type mergeResult struct {
	Destination string `json:"destination"`
	// CacheFrom is the value of --cache-from that imports the cache.
	CacheFrom string `json:"cacheFrom,omitempty"`
	*convert.MergeResult

	to        layout.Reference
	gcRefuses string // why gc will remove nothing in DST, "" if it will
}

func (a *app) runMerge(ctx context.Context, change *changeFlags, flags *transferFlags, merge mergeFlags, args []string) error {
	var options convert.MergeOptions
	var err error
	if options.Options, err = change.options(); err == nil {
		options.Prune, err = merge.limits.rules(time.Now())
	}
	if err != nil {
		return &usageError{err}
	}
	options.Form = defaultForm(options.Form, args[len(args)-1])
	options.Overwrite = merge.overwrite
	t, from, err := a.openMerge(ctx, flags, merge, args)
	if err != nil {
		return err
	}
	if err := flags.complete(t, &options.Options); err != nil {
		return err
	}
	if err := a.openMerged(ctx, t, flags); err != nil {
		return err
	}
	handler, stop := a.show()
	options.OnEvent, options.WithTarget = handler, from.toCome != nil
	done, err := convert.Merge(ctx, from.sources, t.dst, cmp.Or(t.tag, layout.DefaultTag), options)
	stop()
	if err != nil {
		return err
	}
	done.Notes = append(done.Notes, from.hidden...)
	if err := flags.writeDigests(ctx, string(done.To.Digest)); err != nil {
		return err
	}
	result := mergeResult{Destination: t.dstName, CacheFrom: places.CacheFrom(t.dstRef, done.Tag, done.To.Digest), MergeResult: done, to: t.dstRef}
	if done.Unnamed > 0 {
		result.gcRefuses = a.foreseeFreed(ctx, t.dst)
	}
	return a.write(result, result.render)
}

// openMerge opens the place of every SRC once and finds the caches.
func (a *app) openMerge(ctx context.Context, flags *transferFlags, merge mergeFlags, args []string) (*transfer, *mergeSources, error) {
	var refs []layout.Reference
	for i, arg := range args {
		ref, err := parse(arg, "")
		if i == len(args)-1 {
			ref, err = parseDestination(arg)
		}
		if err != nil {
			return nil, nil, err
		}
		refs = append(refs, ref)
	}
	if err := errors.Join(flags.registry.check(distinct(refs)...), flags.checkDigestFile(refs...)); err != nil {
		return nil, nil, err
	}
	if err := flags.registry.checkSide(src, "SRC", baseOf(merge.base, refs[:len(refs)-1]...)...); err != nil {
		return nil, nil, err
	}
	if err := flags.registry.checkSide(dest, "DST", refs[len(refs)-1]); err != nil {
		return nil, nil, err
	}
	t := &transfer{dstRef: refs[len(refs)-1], jobs: a.jobsFor(refs...)}
	if places.IsArchive(t.dstRef) {
		return nil, nil, &usageError{&places.NotWritableError{Reference: t.dstRef}}
	}
	t.dstName = t.dstRef.String()
	from, err := a.openSources(ctx, flags, merge, refs[:len(refs)-1], t.dstRef)
	if err != nil {
		return nil, nil, err
	}
	for _, opened := range from.opened {
		if err := flags.checkDigestFileIn(opened.Source); err != nil {
			return nil, nil, err
		}
	}
	if at := from.find(t.dstRef); at >= 0 {
		t.src = from.opened[at]
	}
	return t, from, nil
}

// openMerged opens DST, unless it is also a SRC.
func (a *app) openMerged(ctx context.Context, t *transfer, flags *transferFlags) (err error) {
	if t.src == nil {
		t.src = &places.Opened{}
		return a.openDestination(ctx, t, flags)
	}
	t.tag = t.dstRef.Tag
	t.dst, err = t.src.Place()
	a.noteReadOnly(flags.dryRun, t.dstRef)
	if !t.dstRef.IsLocal() {
		t.dstName = t.src.Source.String()
	}
	return err
}

func (r mergeResult) render(w io.Writer) error {
	switch {
	case r.Unchanged:
		say(w, "%s, tag %s: nothing to do\n", r.Destination, r.Tag)
	case r.DryRun:
		say(w, "%s, tag %s: dry run, nothing was written\n", r.Destination, r.Tag)
	default:
		say(w, "%s, tag %s: merged\n", r.Destination, r.Tag)
	}
	err := tableOf(w, columns{drop: []string{"root", "config", "layers"}}, func(w io.Writer) {
		say(w, "  \trecords\tresults\tlayers\tlayer bytes\tconfig\troot\n")
		row := func(name string, e buildcache.Extent, config, root int64) {
			say(w, "  %s\t%d\t%d\t%d\t%s\t%s\t%s\n", name, e.Records, e.Results, e.Layers, size(e.Bytes), size(config), size(root))
		}
		for _, s := range r.Sources {
			name := s.Place
			if s.Tag != "" {
				name += ", tag " + s.Tag
			}
			row(name, s.Extent, s.ConfigSize, s.Size)
		}
		if r.To.Digest != "" {
			row("merged", r.Result, r.Config, r.To.Size)
		}
	})
	if err != nil {
		return err
	}
	r.renderRest(w)
	return nil
}

// renderRest says what is not in the table.
func (r mergeResult) renderRest(w io.Writer) {
	say(w, "  form %s, root %s\n", r.To.Form, orUnknown(r.To.Digest))
	if r.Before != nil && r.Before.Form != r.To.Form {
		say(w, "  the form was %s before; to keep it, use --to %s\n", r.Before.Form, r.Before.Form)
	}
	r.renderMoved(w)
	for _, c := range []struct {
		n    int
		what string
	}{
		{r.Superseded, "replaced by a newer one of the same step"},
		{r.Dropped.Results, "left out because BuildKit does not import them"},
	} {
		if c.n > 0 {
			say(w, "  %s %s\n", count(c.n, "result"), c.what)
		}
	}
	if r.Cut > 0 {
		say(w, "  %s of inputs removed that would have sent BuildKit in a circle\n", count(r.Cut, "alternative"))
	}
	renderFreed(w, r.Freed, r.Undated)
	if r.Attempts > 1 {
		say(w, "  merged %d times because the tag kept moving\n", r.Attempts)
	}
	r.renderReplaced(w)
	for _, note := range r.Notes {
		say(w, "  note: %s\n", note)
	}
	sayImport(w, "it", r.CacheFrom, !r.DryRun || r.Unchanged)
}

// renderMoved says how much of the layers was transferred.
func (r mergeResult) renderMoved(w io.Writer) {
	switch {
	case r.Unchanged:
	case r.DryRun:
		say(w, "  %s of layers to transfer, plus those that are recompressed\n", size(r.Moved))
	default:
		say(w, "  %s of layers transferred\n", size(r.Moved))
	}
}

// renderReplaced says what happened to what the tag named before.
func (r mergeResult) renderReplaced(w io.Writer) {
	replaces, are := "replaced", "are lost"
	if r.DryRun {
		replaces, are = "would replace", "would be lost"
	}
	if r.Was != "" {
		say(w, "  %s what the tag pointed to: %s\n", replaces, r.Was)
	}
	if r.NotMerged > 0 {
		say(w, "  %d of the %s that DST had %s; to keep them, give DST as a source too\n", r.NotMerged, count(r.Before.Results, "result"), are)
	}
	if r.Unnamed > 0 {
		say(w, "  no tag points to %s any more; %s\n", size(r.Unnamed), freesUnless(r.gcRefuses, r.Before.Place))
	}
}

// ruleNames are the words for the rules of pruning.
var ruleNames = map[buildcache.PruneRule]string{
	buildcache.PruneUnneeded: "not needed", buildcache.PruneBefore: "--older-than", buildcache.PruneLeaves: "--leaves",
	buildcache.PruneMaxRecords: "--keep-records", buildcache.PruneMaxBytes: "--keep-bytes", buildcache.PruneFit: "--fit",
}

// renderFreed says what each rule dropped.
func renderFreed(w io.Writer, freed []buildcache.Freed, undated int) {
	for _, f := range freed {
		if f.Extent == (buildcache.Extent{}) && f.Rule == buildcache.PruneUnneeded {
			continue
		}
		say(w, "  dropped (%s): %s, %s, %s, %s of layers\n", ruleNames[f.Rule], count(f.Results, "result"), count(f.Records, "record"),
			count(f.Blobs, "layer blob"), size(f.Bytes))
	}
	if undated > 0 {
		say(w, "  kept because their age is unknown: %s\n", count(undated, "result"))
	}
}

// hintMerge is about merging and pruning.
func (a *app) hintMerge(err error) string {
	var loss *convert.LossError
	var large *convert.TooLargeError
	var conflict *buildcache.ConflictError
	var refused *buildcache.RefusedError
	switch {
	case errors.As(err, &loss):
		return "nothing was written; to replace what DST has, use --overwrite; to keep it, give DST as a source too: " + a.withTarget(loss.Tag)
	case errors.As(err, &large):
		return "--fit drops the oldest results until it fits; --older-than, --keep-records and --keep-bytes drop what you choose; or spread the caches over several tags"
	case errors.Is(err, buildcache.ErrNoResults):
		return a.hintNothingLeft(err)
	case errors.As(err, &conflict):
		return "one of the two is damaged; " + a.ofSources("verify", "--deep") + " shows which"
	case errors.As(err, &refused):
		return a.ofSources("verify") + " lists what is wrong with it, and repair may fix it"
	}
	return ""
}

// ofSources mentions a command for each of the sources.
func (a *app) ofSources(name string, more ...string) string {
	var commands []string
	for n := 0; a.running != nil && n < a.running.Flags().NArg()-1; n++ {
		if s, ok := a.argument(n); ok {
			commands = append(commands, s.mention(name, more...))
		}
	}
	if len(commands) == 0 {
		return a.source().mention(name, more...)
	}
	return english.WordSeries(commands, "or")
}

// hintNothingLeft names the rule that leaves nothing before it suggests deleting the cache.
func (a *app) hintNothingLeft(err error) string {
	var emptied *convert.EmptiedError
	if !errors.As(err, &emptied) || emptied.Rule == buildcache.PruneUnneeded {
		return "its tag was not moved; export the cache again, or leave it out"
	}
	return fmt.Sprintf("this cache was left as it is, as nothing of it would be left; loosen %s, or if you no longer need the cache, delete it with rm",
		ruleNames[emptied.Rule])
}

// withTarget returns the running command line with DST added as a source.
func (a *app) withTarget(tag string) string {
	if a.running == nil || a.running.Flags().NArg() == 0 {
		return "ocicache merge SRC DST DST"
	}
	args := a.running.Flags().Args()
	dst := args[len(args)-1]
	source := dst
	if ref, err := layout.ParseReference(dst); err == nil && ref.Transport == layout.TransportPath {
		source = cmp.Or(withTag(dst, tag), dst) // a bare path would mean all caches there
	}
	return a.commandLine("ocicache merge", slices.Concat(args[:len(args)-1], []string{source, dst}), func(*pflag.Flag) bool { return false })
}
