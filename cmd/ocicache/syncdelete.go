package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
)

// deleteFlags let sync delete tags that the source lacks.
type deleteFlags struct {
	do   bool
	most int
}

// The names of the flags, as in rsync and rclone.
const (
	flagDelete    = "delete"
	flagMaxDelete = "max-delete"
)

func (f *deleteFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.do, flagDelete, false, "at the end, if nothing failed, delete tags not in SRC")
	cmd.Flags().IntVar(&f.most, flagMaxDelete, convert.HalfAtMost, "delete nothing if that were more than `N` (default half)")
	cmd.Flags().Lookup(flagMaxDelete).DefValue = "0" // 0 is not shown
}

// check rejects uses of --delete that can't work: it is only for whole places.
func (f deleteFlags) check(cmd *cobra.Command, from, to layout.Reference) error {
	switch {
	case cmd.Flags().Changed(flagMaxDelete) && !f.do:
		return errors.New("--max-delete needs --delete")
	case cmd.Flags().Changed(flagMaxDelete) && f.most < 0:
		return fmt.Errorf("--max-delete %d: want 0 or more", f.most)
	case f.do && (from.Tag != "" || from.Digest != "" || to.Tag != ""):
		return errors.New("--delete works on all of SRC and DST: leave out the tag, and choose with --match")
	}
	return nil
}

// syncDeletion is what happened to the tags that the source lacks.
type syncDeletion struct {
	Tags    []convert.Untagged `json:"tags"`
	Deleted int                `json:"deleted"` // in a dry run: to be deleted
	Before  int                `json:"before"`  // chosen caches in the destination before the sync
	// Unreadable is how many tags were kept because their roots are missing or can't be read.
	Unreadable int `json:"unreadable,omitempty"`
	// Unread are those that could not be read, and why.
	Unread []inspect.Unread `json:"unread,omitempty"`
	// Uncovered are entries that deleted tags hid, and that these tags now name.
	Uncovered []uncovered `json:"uncovered,omitempty"`
	// Refused says why nothing was deleted. In a dry run, Tags still lists what would be deleted.
	Refused string `json:"refused,omitempty"`
	// Error is what ended it, other than what was wrong with tags.
	Error string `json:"error,omitempty"`

	gcRefuses string // why gc will remove nothing, "" if it will
}

// deleteSurplus deletes what the source lacks, after everything that it has was copied.
func (f deleteFlags) deleteSurplus(ctx context.Context, a *app, t *transfer, done *convert.SyncResult, options convert.SyncOptions) (*syncDeletion, error) {
	if !f.do || t.dst == nil { // a dry run to a place that does not exist
		return nil, nil //nolint:nilnil // there is no result, and nothing is wrong
	}
	result := &syncDeletion{Tags: []convert.Untagged{}}
	surplus, err := convert.FindSurplus(ctx, t.src.Source, t.dst, done, options.Match)
	if surplus != nil {
		if surplus.Spared {
			done.Notes = append(done.Notes, noteSpared)
		}
		result.Before, result.Unreadable = surplus.Before, len(surplus.Unread)
		for _, entry := range surplus.Unread {
			if entry.IsUnread() || entry.Kind == layout.KindInvalid && errors.As(entry.Err, new(*layout.BlobError)) {
				result.Unread = append(result.Unread, inspect.UnreadOf(ctx, t.dst, entry))
			}
		}
		err = result.delete(ctx, t.dst, surplus, f.most, options.DryRun)
		if !options.DryRun {
			result.foreseeGC(ctx, a, t)
		}
	} else {
		result.Refused = err.Error()
	}
	var errs []error
	for _, tag := range result.Tags {
		errs = append(errs, tag.Err)
	}
	if done.Failed > 0 { // its error says more
		err = nil
	}
	errs = append(keptTogether(errs), err)
	if len(result.Unread) == 0 {
		return result, errors.Join(errs...)
	}
	for _, unread := range result.Unread {
		errs = append(errs, unread.Err)
	}
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	return result, failedAmong(errs, result.Before+result.Unreadable)
}

// foreseeGC finds out whether gc will refuse because of what is left.
func (d *syncDeletion) foreseeGC(ctx context.Context, a *app, t *transfer) {
	if t.dstRef.IsLocal() && d.Deleted > 0 {
		d.gcRefuses = a.foreseeFreed(ctx, t.dst)
	}
}

// delete deletes a surplus, unless it is too large; a dry run lists it in any case.
func (d *syncDeletion) delete(ctx context.Context, place layout.Source, surplus *convert.Surplus, most int, dryRun bool) error {
	refused := surplus.Check(most)
	if refused != nil {
		d.Refused = refused.Error()
	}
	if refused != nil && !dryRun {
		return refused
	}
	tags, err := surplus.Delete(ctx, place, dryRun)
	for _, tag := range tags {
		d.Tags = append(d.Tags, tag)
		if tag.Deleted {
			d.Deleted++
			d.Uncovered = uncover(d.Uncovered, tag, surplus.All)
		}
	}
	if err != nil {
		d.Error = err.Error()
	}
	return errors.Join(refused, err)
}

// noteSpared says why a tag that the source lacks is kept.
const noteSpared = "latest is kept in DST although SRC has no such tag: SRC has a cache without a tag, which may have been synced as latest; " +
	"to delete it, use rm"

func (d *syncDeletion) render(w io.Writer, to layout.Reference, dryRun bool) error {
	if d == nil {
		return nil
	}
	outcome, allowed := rmResult{DryRun: dryRun, local: to.IsLocal()}, ""
	if d.Refused != "" {
		allowed = ", if that many were allowed"
	}
	for _, tag := range d.Tags {
		outcome.Tags = append(outcome.Tags, rmTag{Untagged: tag})
	}
	err := table(w, func(w io.Writer) {
		for _, tag := range outcome.Tags {
			say(w, "%s\t%s%s\t%s\n", tag.Tag, outcome.outcome(tag), allowed, tag.Digest)
		}
	})
	if err != nil {
		return err
	}
	outcome.renderByHand(w)
	renderUncovered(w, d.Uncovered)
	if d.Refused != "" {
		say(w, "not in the source: %s\n", d.Refused)
		return nil
	}
	say(w, "not in the source: %d of %s %s", d.Deleted, count(d.Before, "cache"), outcome.deleted())
	if n := d.Unreadable - len(d.Unread); n > 0 {
		say(w, " (kept because they can't be read as a cache: %d; to delete one, give rm its tag)", n)
	}
	if n := len(d.Unread); n > 0 {
		say(w, " (kept because they could not be read: %d)", n)
	}
	if to.IsLocal() && !dryRun && outcome.unnamed() > 0 {
		say(w, "; %s", freesUnless(d.gcRefuses, to.Path))
	}
	say(w, "\n")
	if d.Error != "" {
		say(w, "not every tag was checked: %s\n", d.Error)
	}
	return nil
}

// hintSurplus says how to allow more deletions.
func (a *app) hintSurplus(e *convert.SurplusError) string {
	if a.running == nil || a.running.Flags().Lookup(flagMaxDelete) == nil {
		return ""
	}
	listed := "--dry-run lists what would be deleted"
	if a.onlyReads() {
		listed = "these would be deleted"
	}
	return "what was copied stays; is SRC complete? " + listed + "; to allow it: " + a.repeated(a.running.CommandPath(), flagMaxDelete, fmt.Sprint(e.Tags))
}
