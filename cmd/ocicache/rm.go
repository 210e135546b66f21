package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

type rmFlags struct {
	filter    tagFilter
	olderThan string
	keep      int
	dryRun    bool
	access    *registryFlags
	given     func(flag string) bool // whether a flag was given
}

func (a *app) rmCommand() *cobra.Command {
	flags := &rmFlags{keep: -1}
	cmd := &cobra.Command{
		Use:   "rm REF",
		Short: "Delete tags of caches",
		Long: `Delete the tag in REF, or all tags of caches in a place that pass every given flag: they match --match and not --exclude, their
newest result is older than --older-than, and they are not among the newest ones that --keep keeps. Caches of unknown age are only
deleted if no age is given. Images are never touched.

Blobs stay: in a directory until 'ocicache gc', in a registry until its garbage collection. In a registry, a tag is not deleted
if that would also delete another tag of the same root. If a host only deletes tags through its own API, the commands for that are
printed, and the exit status is 6.`,
		Example: `  ocicache rm oci:./cache:pr-7
  ocicache rm docker://registry.example.com/team/cache --match 'pr-*' --older-than 30d --dry-run
  ocicache rm ./cache --keep 5 --exclude main --exclude 'release-*'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runRm(cmd.Context(), flags, args[0]) },
	}
	f := cmd.Flags()
	flags.filter.add(cmd)
	f.StringVar(&flags.olderThan, "older-than", "", "only caches whose newest result is older than this `AGE`, such as "+convert.AgeExamples)
	f.IntVar(&flags.keep, "keep", -1, "of the caches that match, keep this many of the newest, with all their tags")
	f.Lookup("keep").DefValue = "0" // 0 is not shown
	f.BoolVar(&flags.dryRun, "dry-run", false, "show what would be deleted, and delete nothing")
	flags.given = f.Changed
	flags.access = addRegistryFlags(cmd)
	return cmd
}

// rmResult is what rm writes with --json.
type rmResult struct {
	Path    string  `json:"path"`
	DryRun  bool    `json:"dryRun,omitempty"`
	Tags    []rmTag `json:"tags"`    // the oldest first
	Deleted int     `json:"deleted"` // in a dry run: to be deleted
	Caches  int     `json:"caches"`  // that the choice was made from
	// Undated is how many caches were kept because their age is unknown.
	Undated int `json:"undated,omitempty"`
	// Unreadable is how many tags were kept because their roots are missing or can't be read, so that it is unknown what they name.
	Unreadable int `json:"unreadable,omitempty"`
	// Uncovered are entries that deleted tags hid, and that these tags now name.
	Uncovered []uncovered `json:"uncovered,omitempty"`
	// GCRefuses says why gc will remove nothing of what the deleted tags named, "" if it will, or if nothing was deleted.
	GCRefuses string `json:"gcRefuses,omitempty"`
	// Error is what ended it, other than what was wrong with tags.
	Error string `json:"error,omitempty"`

	local bool
	now   time.Time
	// keeps is how many roots --keep keeps, if these have all tags that it chooses from; 0 if not.
	keeps  int
	unread []error // why roots could not be read, if the roots themselves are not at fault
	// unreachable is how many of the unreadable tags have roots that the place does not return. They are not deleted by name either.
	unreachable int
}

// noTagLeft says why gc refuses once the last tag is deleted.
const noTagLeft = "no tag is left, so gc would think that index.json was lost"

// foreseeGC finds out whether gc will refuse, or would, because of what is left: no tags, or tags that lack something.
func (r *rmResult) foreseeGC(ctx context.Context, a *app, place layout.Source) (err error) {
	if !r.local || r.Deleted == 0 {
		return nil
	}
	if r.DryRun {
		if place, err = r.without(ctx, place); err != nil {
			return err
		}
	}
	r.GCRefuses = a.foreseeFreed(ctx, place)
	return nil
}

// without returns a view of a directory in which the tags that would be deleted are gone.
func (r *rmResult) without(ctx context.Context, place layout.Source) (layout.Source, error) {
	dir, ok := place.(*layout.Dir)
	if !ok {
		return place, nil
	}
	index, err := dir.Index(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range r.Tags {
		if t.Deleted {
			index.Untag(t.Tag, t.Digest)
		}
	}
	return dir.Assume(index), nil
}

// foreseeGC returns why a directory's tags will make gc refuse to remove anything, or "".
func foreseeGC(ctx context.Context, place layout.Source) (string, error) {
	left, err := place.Entries(ctx)
	if err == nil && len(left) == 0 {
		return foreseeNameless(ctx, place)
	}
	for i := 0; i < len(left) && err == nil; i++ {
		var entry layout.Entry
		if entry, err = layout.Classify(ctx, place, left[i]); err == nil && entry.Kind == layout.KindDangling {
			return fmt.Sprintf("the root of the tag %s is missing, so gc refuses to run", orNone(entry.Tag)), nil
		}
	}
	dir, ok := place.(collector)
	if err != nil || !ok {
		return "", err
	}
	_, err = dir.GC(ctx, layout.GCOptions{DryRun: true})
	var incomplete *layout.IncompleteError
	if errors.As(err, &incomplete) {
		return fmt.Sprintf("the blob %s that a tag needs is missing or damaged, so gc refuses to run", incomplete.Missing[0].Digest), nil
	}
	return "", err
}

// foreseeNameless is foreseeGC for a directory without tags: gc takes them for lost only if there are caches.
func foreseeNameless(ctx context.Context, place layout.Source) (string, error) {
	unnamer, ok := place.(layout.Unnamer)
	if !ok {
		return noTagLeft, nil
	}
	roots, err := unnamer.UnnamedRoots(ctx)
	if err != nil || len(roots) == 0 {
		return "", err
	}
	return noTagLeft, nil
}

// foreseeFreed is foreseeGC for a result that is written in any case: a failure is only noted.
func (a *app) foreseeFreed(ctx context.Context, place layout.Source) string {
	why, err := foreseeGC(ctx, place)
	if err != nil {
		a.note("can't tell whether gc will free what no tag points to any more: " + err.Error())
	}
	return why
}

// freesUnless says what will happen to blobs that no tag names any more in a directory, given why gc refuses, "" if it does not.
func freesUnless(refuses, dir string) string {
	if refuses != "" {
		return mendsForGC(refuses, dir)
	}
	return frees(dir)
}

// mendsForGC says what helps if a tag makes gc refuse.
func mendsForGC(why, dir string) string {
	return why + ": " + mention(onPath("repair", dir, "--write")) + " may fix it, or delete that tag too with rm"
}

// rmTag is a chosen tag, and what happened to it.
type rmTag struct {
	convert.Untagged

	Newest *time.Time `json:"newest,omitempty"` // of the results, absent if unknown
}

func (a *app) runRm(ctx context.Context, flags *rmFlags, text string) error {
	choice, err := flags.choice()
	if err != nil {
		return &usageError{err}
	}
	from, err := a.openChanged(ctx, text, "", flags.access)
	if err != nil {
		return err
	}
	if err := choice.check(from.Reference); err != nil {
		return &usageError{err}
	}
	a.noteReadOnly(flags.dryRun, from.Reference)
	result := rmResult{Path: from.Source.String(), DryRun: flags.dryRun, Tags: []rmTag{}, local: from.Reference.IsLocal(), now: time.Now()}
	chosen, all, err := result.choose(ctx, from, choice)
	if err != nil {
		return err
	}
	err = result.delete(ctx, from.Source, chosen, all)
	err = errors.Join(err, result.foreseeGC(ctx, a, from.Source))
	if err != nil && len(result.Tags) == 0 {
		return err
	}
	if other := errors.Join(append(result.unread, err)...); other != nil {
		result.Error = other.Error()
	}
	failed := errors.Join(err, result.err())
	if failed != nil && result.Deleted == 0 && len(result.Tags) == 1 && result.Unreadable == 0 && result.Tags[0].ByHand == "" && !a.json {
		return failed // the error says everything
	}
	return errors.Join(a.write(result, result.render), failed)
}

// choice converts the flags to a choice.
func (f *rmFlags) choice() (rmChoice, error) {
	choice := rmChoice{filter: f.filter, keep: f.keep}
	var err error
	if f.given("keep") && f.keep < 1 {
		return choice, fmt.Errorf("--keep %d: want 1 or more; to delete every match, leave it out", f.keep)
	}
	if choice.match, err = f.filter.matcher(); err != nil || f.olderThan == "" {
		return choice, err
	}
	if choice.before, err = convert.ParseSince(f.olderThan, time.Now()); err != nil {
		return choice, fmt.Errorf("--older-than: %w", err)
	}
	return choice, nil
}

// rmChoice says which caches to delete.
type rmChoice struct {
	filter tagFilter
	match  func(tag string) bool
	before time.Time
	keep   int // less than 0 for no limit
}

// check rejects a choice that makes no sense for a reference.
func (c rmChoice) check(ref layout.Reference) error {
	switch {
	case ref.Digest != "":
		return errors.New("rm deletes tags; give a tag instead of a digest")
	case ref.Tag == "" && !c.chooses():
		return errors.New("nothing chosen: give a tag in REF, or use --match, --older-than or --keep")
	case ref.Tag != "" && len(c.filter.match) > 0:
		return errors.New("--match chooses among all tags, but REF has one: leave one of the two out")
	}
	return nil
}

// byAge reports whether the choice depends on the ages of caches.
func (c rmChoice) byAge() bool { return c.keep >= 0 || !c.before.IsZero() }

// chooses reports whether the flags choose something, rather than only leaving something out.
func (c rmChoice) chooses() bool { return len(c.filter.match) > 0 || !c.before.IsZero() || c.keep >= 0 }

// choose returns the entries to delete, and all entries.
func (r *rmResult) choose(ctx context.Context, from *places.Opened, choice rmChoice) (chosen []inspect.Listed, all []layout.Entry, err error) {
	if all, err = layout.LenientEntries(ctx, from.Source); err != nil {
		return nil, nil, err
	}
	if len(all) == 0 {
		if err := layout.CheckThere(ctx, from.Source); err != nil {
			return nil, nil, err
		}
	}
	entries := layout.WithoutShadowed(all)
	if from.Reference.Tag != "" {
		if entries, err = from.Entries(ctx); err != nil {
			return nil, nil, err
		}
	}
	listed, err := inspect.List(ctx, from.Source, entries)
	if err != nil {
		return nil, nil, err
	}
	if err := choice.filter.checkAny(from.Source, entriesOf(listed)); err != nil {
		return nil, nil, err
	}
	if from.Reference.Tag != "" {
		if err := checkNamed(ctx, from.Source, listed[0].Entry, all); err != nil {
			return nil, nil, err
		}
	} else {
		listed = r.readable(listed, choice.match)
	}
	listed = slices.DeleteFunc(listed, func(l inspect.Listed) bool { return l.Tag == "" || choice.match != nil && !choice.match(l.Tag) })
	r.Caches = len(listed)
	if choice.byAge() {
		listed = r.dated(listed)
	}
	r.keeps = choice.keepsAll(listed)
	return choice.among(listed), all, nil
}

// dated leaves out caches of unknown age. If that is because something could not be read, the command has not done all that it was asked
// to.
func (r *rmResult) dated(listed []inspect.Listed) []inspect.Listed {
	return slices.DeleteFunc(listed, func(l inspect.Listed) bool {
		if l.Newest != nil {
			return false
		}
		r.Undated++
		if l.Problem != "" {
			r.unread = append(r.unread, fmt.Errorf("%s: the tag %q is kept because its age can't be read: %s", r.Path, l.Tag, l.Problem))
		}
		return true
	})
}

func entriesOf(listed []inspect.Listed) []layout.Entry {
	entries := make([]layout.Entry, len(listed))
	for i, l := range listed {
		entries[i] = l.Entry
	}
	return entries
}

// among returns the caches to delete, oldest first.
func (c rmChoice) among(chosen []inspect.Listed) []inspect.Listed {
	slices.SortStableFunc(chosen, compareAges)
	if c.keep >= 0 {
		chosen = olderThanNewest(chosen, c.keep)
	}
	return slices.DeleteFunc(chosen, func(l inspect.Listed) bool { return !c.before.IsZero() && !l.Newest.Before(c.before) })
}

// compareAges sorts caches by age, oldest first and those of unknown age last.
func compareAges(a, b inspect.Listed) int {
	switch {
	case a.Newest == nil && b.Newest == nil:
		return cmp.Compare(a.Tag, b.Tag)
	case a.Newest == nil:
		return 1
	case b.Newest == nil:
		return -1
	}
	return cmp.Or(a.Newest.Compare(*b.Newest), cmp.Compare(a.Tag, b.Tag))
}

// delete deletes the tags of entries, or says which it would delete.
func (r *rmResult) delete(ctx context.Context, place layout.Source, chosen []inspect.Listed, all []layout.Entry) (err error) {
	var done []convert.Untagged
	if r.DryRun {
		done, err = convert.PlanUntag(place, entriesOf(chosen), all)
	} else {
		done, err = convert.Untag(ctx, place, entriesOf(chosen), all)
	}
	for i, t := range done {
		r.Tags = append(r.Tags, rmTag{t, chosen[i].Newest})
		if t.Deleted {
			r.Deleted++
			r.Uncovered = uncover(r.Uncovered, t, all)
		}
	}
	return err
}

// err returns what went wrong with tags that still exist, even if the result says how to delete them by other means.
func (r *rmResult) err() error {
	var errs []error
	for _, t := range r.Tags {
		if t.Err != nil {
			errs = append(errs, t.Err)
		}
	}
	errs = slices.Concat(r.unread, keptTogether(errs))
	if r.unreachable > 0 {
		return failedAmong(errs, r.Caches+r.Unreadable)
	}
	return errors.Join(errs...)
}
