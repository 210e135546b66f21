package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dustin/go-humanize/english"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

type repairFlags struct {
	write, deep bool
	byPosition  bool
	root        string
	base        []string
	tag         string
	access      *registryFlags
}

func (a *app) repairCommand() *cobra.Command {
	flags := &repairFlags{}
	cmd := &cobra.Command{
		Use:   "repair REF",
		Short: "Repair broken caches",
		Long: `Show what is broken in caches and how it can be repaired; with --write, repair it. BuildKit hits everything that is left.

repair points a tag whose root is missing at --root or, if it is the only entry, at the newest untagged root; resolves duplicate and
lost tags; rewrites a lost index.json, and saves what can be read of a damaged one; unwraps a cache from an index around it; takes
missing and damaged blobs from --base; drops layers that can't be found, with the results that need them; corrects wrong or missing
sizes, media types and diffIDs; and finds layers that were recompressed without changing their digests in the config. Complete caches
without a tag are listed. What interrupted work leaves, no tag and not all layers, is only repaired with --root or --base. In a
registry, layers are not read without --deep, so damage in them is not found.

The exit status is 3 if something was found and not repaired, which without --write is everything.`,
		Example: `  ocicache repair ./cache
  ocicache repair ./cache --base docker://registry.example.com/team/cache --write
  ocicache repair ./cache --root sha256:… --tag rescued --write`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runRepair(cmd.Context(), flags, args[0]) },
	}
	f := cmd.Flags()
	f.BoolVar(&flags.write, "write", false, "repair it, instead of only showing what would be done")
	f.BoolVar(&flags.deep, "deep", false, "unpack every layer and compare its diffID; in a registry, read every layer")
	f.BoolVar(&flags.byPosition, "by-position", false, "match layers by their position if nothing else works; wrong if a tool has changed their order")
	f.StringVar(&flags.root, "root", "", "`DIGEST` of the root for a tag whose root is missing, or for a --tag that doesn't exist")
	f.StringArrayVar(&flags.base, "base", nil, "`PLACE` of any kind to look for missing blobs (can be repeated)")
	f.StringVar(&flags.tag, "tag", "", "`TAG` of the cache to repair")
	flags.access = addRegistryFlags(cmd)
	return cmd
}

// repairResult is what repair writes with --json.
type repairResult struct {
	Path string `json:"path"`
	// Layout is what was repaired in the list of tags.
	Layout  []convert.Repair        `json:"layout,omitempty"`
	Caches  []*convert.RepairResult `json:"caches"`
	Written bool                    `json:"written"` // with --write
	// Others is how many entries are not caches, which are left alone.
	Others int `json:"others,omitempty"`
	// Error is what ended it, other than what was wrong with caches.
	Error string `json:"error,omitempty"`
	// Unnamed are the complete caches of a directory that no tag names afterwards.
	Unnamed []layout.UnnamedCache `json:"unnamed,omitempty"`

	isFar    bool   // in a registry
	deep     bool   // layers were unpacked
	withBase string // the same command with --base; "" if it has one already
}

// wouldBase reports whether a base could have supplied what is lost of a cache. A registry keeps what it has, damaged or not.
func (r *repairResult) wouldBase(c *convert.RepairResult) bool {
	if r.withBase == "" || c.Written || c.Lost.Results == 0 && len(c.Left) == 0 {
		return false
	}
	return slices.ContainsFunc(c.Repairs, func(done convert.Repair) bool { return r.isMissing(done.Kind) }) ||
		slices.ContainsFunc(c.Left, func(p buildcache.Problem) bool { return r.isMissing(p.Kind) })
}

// isMissing reports whether a base would supply what a problem is about.
func (r *repairResult) isMissing(kind buildcache.Kind) bool {
	switch kind { //nolint:exhaustive // no others are
	case buildcache.BlobMissing, buildcache.ConfigMissing, buildcache.RootMissing:
		return true
	case buildcache.BlobDamaged, buildcache.ConfigDamaged, buildcache.RootDamaged, buildcache.RootInvalid:
		return !r.isFar
	}
	return false
}

// errRootUnused says that --root names a root that no tag needs.
var errRootUnused = errors.New("--root: no tag is missing its root, so none gets this one; to move a tag, use tag; " +
	"to make a new one, add --tag TAG")

func (a *app) runRepair(ctx context.Context, flags *repairFlags, text string) error {
	options := convert.RepairOptions{Write: flags.write, Deep: flags.deep, ByPosition: flags.byPosition, Root: digest.Digest(flags.root)}
	if flags.root != "" {
		if err := buildcache.CheckDigest(options.Root); err != nil {
			return &usageError{fmt.Errorf("--root: %w", err)}
		}
	}
	from, err := a.openChanged(ctx, text, flags.tag, flags.access)
	if err != nil {
		return err
	}
	options.Tag = from.Reference.Tag
	place, err := from.Place()
	if err == nil && flags.write && from.Reference.Digest != "" {
		err = errors.New("repairing changes the digest; give the cache a tag first, and use that")
	}
	if err != nil {
		return &usageError{err}
	}
	for _, base := range flags.base {
		opened, err := a.openNamed(ctx, base, "", flags.access)
		if err != nil {
			return fmt.Errorf("--base: %w", err)
		}
		options.Base = append(options.Base, opened.Source)
	}
	handler, stop := a.show()
	options.OnEvent = handler
	result := repairResult{Path: from.Source.String(), Caches: []*convert.RepairResult{}, Written: flags.write, isFar: from.Reference.IsFar(), deep: flags.deep}
	if len(flags.base) == 0 {
		result.withBase = a.repeated(a.running.CommandPath(), flagBase, "PLACE")
		if !flags.write {
			result.withBase += " --write"
		}
	}
	err = result.repair(ctx, from, place, options)
	stop()
	for _, c := range result.Caches {
		a.fitRemedies(from, c.Left)
	}
	return a.writeRepaired(result, options.Root, err)
}

// writeRepaired writes what was done, even before an error, and returns what went wrong. If nothing was done, the error says
// everything, except in JSON.
func (a *app) writeRepaired(result repairResult, root digest.Digest, err error) error {
	failed := result.err()
	told := result.isChanged() || failed != nil && len(result.Caches) > 1 || a.json && len(result.Caches) > 0
	if err == nil && failed == nil && root != "" && !result.uses(root) {
		err, told = &usageError{errRootUnused}, result.isChanged()
	}
	if err != nil {
		result.Error = err.Error()
	}
	if err = errors.Join(err, failed); err != nil && !told {
		return err
	}
	if err := errors.Join(err, a.write(result, result.render)); err != nil {
		return err
	}
	if result.isBroken() {
		return errFound
	}
	return nil
}

// err returns an error that says which caches could not be inspected or repaired, nil for none.
func (r *repairResult) err() error {
	return failedOf(r.Caches, func(c *convert.RepairResult) error { return c.Err })
}

// uses reports whether a tag has a root now, or would.
func (r *repairResult) uses(root digest.Digest) bool {
	is := func(done convert.Repair) bool { return done.Digest == root }
	return slices.ContainsFunc(r.Layout, is) || slices.ContainsFunc(r.Caches, func(c *convert.RepairResult) bool {
		return c.From == root || c.To == root || slices.ContainsFunc(c.Repairs, is)
	})
}

// isChanged reports whether anything was repaired, would be, or can't be.
func (r *repairResult) isChanged() bool {
	return len(r.Layout) > 0 || slices.ContainsFunc(r.Caches, func(c *convert.RepairResult) bool { return len(c.Repairs) > 0 || len(c.Left) > 0 })
}

// repair repairs the list of tags, and then every chosen cache.
func (r *repairResult) repair(ctx context.Context, from *places.Opened, place layout.Place, o convert.RepairOptions) error {
	if o.Root != "" {
		root, err := layout.FindDigest(ctx, place, o.Root)
		if err == nil {
			err = root.Check(ctx, place)
		}
		if err != nil {
			return fmt.Errorf("--root: %w", err)
		}
	}
	place, done, err := convert.RepairIndex(ctx, place, o)
	var hopeless *convert.HopelessError
	if errors.As(err, &hopeless) {
		hopeless.Result.Tag = "" // it was one in a view only
		r.Caches = append(r.Caches, hopeless.Result)
		return nil
	}
	if r.Layout = done; err != nil {
		return err
	}
	now := *from
	now.Source = place
	entries, err := r.entries(ctx, &now, place, o)
	if err != nil {
		return err
	}
	if err := r.repairEach(ctx, place, entries, o); err != nil {
		return err
	}
	if len(r.Layout) == 0 && !slices.ContainsFunc(r.Caches, func(c *convert.RepairResult) bool { return !c.Foreign }) {
		_, err := from.Caches(ctx) // says what there is instead
		return err
	}
	return r.addUnnamed(ctx, place, o)
}

// repairEach repairs caches one after the other. It goes on after a failure and records it in the result.
func (r *repairResult) repairEach(ctx context.Context, place layout.Place, entries []layout.Entry, o convert.RepairOptions) error {
	defer r.forgetMended()
	for _, entry := range entries {
		if entry.Kind == layout.KindImage {
			r.Others++
			continue
		}
		done, err := convert.RepairCache(ctx, place, entry, o)
		if err != nil && (done == nil || ctx.Err() != nil) {
			if done != nil && done.Written {
				r.Caches = append(r.Caches, done)
			}
			return err
		}
		if entry.Kind != layout.KindIndex || len(done.Repairs) > 0 || err != nil {
			r.Caches = append(r.Caches, done)
		} else {
			r.Others++
		}
	}
	return nil
}

// forgetMended leaves out of what stayed damaged because another cache needed it what was mended or removed with that one.
func (r *repairResult) forgetMended() {
	mended := map[digest.Digest]bool{}
	for _, c := range slices.Backward(r.Caches) {
		c.Kept = slices.DeleteFunc(c.Kept, func(blob digest.Digest) bool { return mended[blob] })
		for _, done := range c.Repairs {
			mended[done.Digest] = mended[done.Digest] || c.Written && !slices.Contains(c.Kept, done.Digest)
		}
	}
}

// entries returns what to repair once the list of tags is repaired. A tag that does not exist is made for --root.
func (r *repairResult) entries(ctx context.Context, from *places.Opened, place layout.Place, o convert.RepairOptions) ([]layout.Entry, error) {
	if places.MeansAll(from.Reference) {
		done, entries, err := convert.RepairTags(ctx, place, o)
		r.Layout = append(r.Layout, done...)
		return entries, err
	}
	entries, err := from.LenientEntries(ctx)
	var none *layout.NotFoundError
	if tag := from.Reference.Tag; o.Root != "" && tag != "" && errors.As(err, &none) {
		return []layout.Entry{{Tag: tag, Kind: layout.KindDangling}}, nil
	}
	return entries, err
}

// addUnnamed adds the complete caches of a directory that no tag names.
func (r *repairResult) addUnnamed(ctx context.Context, place layout.Source, o convert.RepairOptions) (err error) {
	if dir, ok := place.(*layout.Dir); ok {
		r.Unnamed, err = convert.WholeUnnamed(ctx, dir, r.Caches, o)
	}
	return err
}

// isBroken reports whether anything still needs repair.
func (r *repairResult) isBroken() bool {
	if len(r.Layout) > 0 && !r.Written {
		return true
	}
	for _, c := range r.Caches {
		if len(c.Left) > 0 || len(c.Repairs) > 0 && !c.Written {
			return true
		}
	}
	return false
}

func (r repairResult) render(w io.Writer) error {
	would := "would repair: "
	if r.Written {
		would = "repaired: "
	}
	for _, done := range r.Layout {
		say(w, "%s: %s%s: %s\n", r.Path, would, done.Kind, done.What)
	}
	for _, c := range r.Caches {
		r.renderCache(w, c)
	}
	if r.Others > 0 {
		say(w, "%s: images are not looked into, nor repaired: %s\n", r.Path, english.Plural(r.Others, "entry", "entries"))
	}
	isMended := func(done convert.Repair) bool { return done.Kind == buildcache.IndexInvalid }
	fate := removedByGC(r.Path)
	switch {
	case !r.Written && slices.ContainsFunc(r.Layout, isMended):
		renderUntaggable(w, r.Path, r.Unnamed)
		return nil
	case r.isBroken(): // gc may refuse
		fate = ""
	}
	renderUnnamed(w, r.Path, r.Unnamed, fate)
	return nil
}

// renderLost says what is lost with layers that can't be found.
func (r repairResult) renderLost(w io.Writer, c *convert.RepairResult) {
	if c.Lost.Results == 0 || c.Rest == nil {
		return
	}
	of := func(lost, rest int, noun string) string { return fmt.Sprintf("%d of %s", lost, count(lost+rest, noun)) }
	say(w, "  lost: %s, %s, %s", of(c.Lost.Results, c.Rest.Results, "result"), of(c.Lost.Records, c.Rest.Records, "record"),
		of(c.Lost.Layers, c.Rest.Layers, "layer"))
	say(w, "\n")
	if undo := r.undo(c); undo != "" {
		say(w, "  to undo this: %s\n", undo)
	}
}

// renderInterrupted says of what interrupted work leaves what helps better than a repair.
func (r repairResult) renderInterrupted(w io.Writer, c *convert.RepairResult) {
	if !r.wasUnnamed(c) || c.Written {
		return
	}
	say(w, "  it had no tag, and blobs are missing: %s, and nothing is lost\n", inspect.RemedyAgain)
	if len(c.Left) == 0 && r.withBase != "" { // with a base it does not
		say(w, "  --write alone refuses to drop what is missing; with --root %s it is done\n", c.From)
	}
}

// wasUnnamed reports whether a repaired cache had no tag and has blobs missing, as interrupted writers leave it.
func (r repairResult) wasUnnamed(c *convert.RepairResult) bool {
	isMissing := func(kind buildcache.Kind) bool {
		return kind == buildcache.BlobMissing || kind == buildcache.ConfigMissing
	}
	dropped := func(done convert.Repair) bool { return isMissing(done.Kind) }
	left := func(p buildcache.Problem) bool { return isMissing(p.Kind) }
	gotTag := func(done convert.Repair) bool { return done.Kind == buildcache.RootMissing }
	named := func(done convert.Repair) bool { return gotTag(done) && done.Digest == c.From }
	return (slices.ContainsFunc(c.Repairs, dropped) || slices.ContainsFunc(c.Left, left)) && (slices.ContainsFunc(r.Layout, named) || slices.ContainsFunc(c.Repairs, gotTag))
}

// nothing says that a cache needed no repair, as far as was looked; if the list of tags did, it was nothing else.
func (r repairResult) nothing() string {
	found := "nothing to repair"
	if len(r.Layout) > 0 {
		found = "nothing else to repair"
	}
	if !r.deep {
		found += "; the layers were read, but not unpacked: --deep does that"
	}
	return found
}

// fateOfTag says what a repair did not do to the tag of a cache that it can't repair.
func fateOfTag(c *convert.RepairResult) string {
	if c.Tag == "" {
		return "and it gets no tag"
	}
	return "its tag was not moved"
}

func (r repairResult) renderCache(w io.Writer, c *convert.RepairResult) {
	name := r.Path
	if c.Tag != "" {
		name += ", tag " + c.Tag
	}
	switch {
	case c.Err != nil && c.Written:
		say(w, "%s: repaired, root %s, but not finished: %s\n", name, c.To, strings.TrimPrefix(c.Error, name+": "))
	case c.Err != nil:
		say(w, "%s: NOT REPAIRED: %s\n", name, strings.TrimPrefix(c.Error, name+": "))
	case len(c.Left) > 0:
		say(w, "%s: NOT REPAIRED, %s; found:\n", name, fateOfTag(c))
	case c.Foreign:
		say(w, "%s: skipped: %s is missing or unreadable, and was not a cache\n", name, c.From)
		return
	case len(c.Repairs) == 0 && c.Checked == convert.CheckedBlobs:
		say(w, "%s: no damage found, but the registry was only asked whether it has the layers; to read them, use --deep\n", name)
	case len(c.Repairs) == 0:
		say(w, "%s: %s\n", name, r.nothing())
	case c.Written:
		say(w, "%s: repaired, root %s\n", name, c.To)
	default:
		say(w, "%s: dry run, nothing was written\n", name)
	}
	for _, alike := range alikeBy(c.Repairs, func(done convert.Repair) buildcache.Kind { return done.Kind }) {
		renderRepairs(w, alike)
	}
	r.renderLost(w, c)
	for _, blob := range c.Kept {
		say(w, "  kept because something else needs it, or may need it: %s\n", blob)
	}
	for _, alike := range groups(c.Left) {
		renderLeft(w, alike)
	}
	r.renderInterrupted(w, c)
	if r.wouldBase(c) {
		say(w, "  %s takes what is missing from another PLACE that has it\n", mention(r.withBase))
	}
}
