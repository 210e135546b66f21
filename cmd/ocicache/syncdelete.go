package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// deleteFlags let sync delete what the source does not have.
type deleteFlags struct {
	do   bool
	most int
}

// The names of the flags, which rsync and rclone have, too.
const (
	flagDelete    = "delete"
	flagMaxDelete = "max-delete"
)

func (f *deleteFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.do, flagDelete, false, "last, if none failed, delete tags that SRC does not have")
	cmd.Flags().IntVar(&f.most, flagMaxDelete, convert.HalfAtMost, "delete none where more than `N` would go (default half)")
	cmd.Flags().Lookup(flagMaxDelete).DefValue = "0" // which is not shown
}

// check refuses what --delete can't go by: it is for places as a whole.
func (f deleteFlags) check(cmd *cobra.Command, from, to layout.Reference) error {
	switch {
	case cmd.Flags().Changed(flagMaxDelete) && !f.do:
		return errors.New("--max-delete is for --delete, which is not given")
	case cmd.Flags().Changed(flagMaxDelete) && f.most < 0:
		return fmt.Errorf("--max-delete %d: want 0 or more", f.most)
	case f.do && (from.Tag != "" || from.Digest != "" || to.Tag != ""):
		return errors.New("--delete is for SRC and DST as a whole: without a tag, --match chooses")
	}
	return nil
}

// syncDeletion is what became of the tags that the source does not have.
type syncDeletion struct {
	Tags    []convert.Untagged `json:"tags"`
	Deleted int                `json:"deleted"` // with a dry run: to delete
	Before  int                `json:"before"`  // caches in the destination before the sync, of those that are chosen
	// Unreadable are tags whose roots are not there or can't be read: they are kept.
	Unreadable int `json:"unreadable,omitempty"`
	// Refused says why nothing was deleted.
	Refused string `json:"refused,omitempty"`
}

// deleteSurplus deletes what the source does not have, after all that it has was brought over.
func (f deleteFlags) deleteSurplus(ctx context.Context, t *transfer, done *convert.SyncResult, options convert.SyncOptions) (*syncDeletion, error) {
	if !f.do || t.dst == nil { // a dry run to where nothing is
		return nil, nil //nolint:nilnil // there is no result, and nothing is wrong
	}
	result := &syncDeletion{Tags: []convert.Untagged{}}
	surplus, err := convert.FindSurplus(ctx, t.src.Source, t.dst, done, options.Match)
	if surplus != nil {
		if surplus.Spared {
			done.Notes = append(done.Notes, noteSpared)
		}
		result.Before, result.Unreadable = surplus.Before, len(surplus.Unread)
		if err = surplus.Check(f.most); err == nil {
			result.Tags, err = surplus.Delete(ctx, t.dst, options.DryRun)
		}
	}
	if err != nil {
		result.Refused = err.Error()
	}
	var errs []error
	for _, tag := range result.Tags {
		if tag.Deleted {
			result.Deleted++
		}
		errs = append(errs, tag.Err)
	}
	if done.Failed > 0 { // which says more
		err = nil
	}
	return result, errors.Join(append(keptTogether(errs), err)...)
}

// noteSpared says why a tag stays that the source lacks.
const noteSpared = "latest is kept in DST, though SRC has no such tag: SRC has a cache without a tag, and may have been synced when that became latest; " +
	"rm deletes it by its name"

func (d *syncDeletion) render(w io.Writer, to layout.Reference, dryRun bool) error {
	if d == nil {
		return nil
	}
	outcome := rmResult{DryRun: dryRun, local: to.IsLocal()}
	for _, tag := range d.Tags {
		outcome.Tags = append(outcome.Tags, rmTag{Untagged: tag})
	}
	err := table(w, func(w io.Writer) {
		for _, tag := range outcome.Tags {
			say(w, "%s\t%s\t%s\n", tag.Tag, outcome.outcome(tag), tag.Digest)
		}
	})
	if err != nil {
		return err
	}
	outcome.renderByHand(w)
	if d.Refused != "" {
		say(w, "not in the source: %s\n", d.Refused)
		return nil
	}
	say(w, "not in the source: %d of %s %s", d.Deleted, count(d.Before, "cache"), outcome.deleted())
	if d.Unreadable > 0 {
		say(w, " (kept, as they can't be read as a cache: %d; rm deletes them by their names)", d.Unreadable)
	}
	if to.IsLocal() && !dryRun && outcome.unnamed() > 0 {
		say(w, "; %s", frees(to.Path))
	}
	say(w, "\n")
	return nil
}

// hintSurplus says how more is allowed to go.
func (a *app) hintSurplus(e *convert.SurplusError) string {
	if a.running == nil || a.running.Flags().Lookup(flagMaxDelete) == nil {
		return ""
	}
	return "what was brought over stays; is SRC whole? --dry-run lists what would go, and this allows it: " +
		a.repeated(a.running.CommandPath(), flagMaxDelete, fmt.Sprint(e.Tags))
}
