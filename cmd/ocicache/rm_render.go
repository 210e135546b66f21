package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ocicache/ocicache/layout"
)

// keptError says once why a place keeps several tags.
type keptError struct {
	*layout.KeptError // the first one's

	tags     int
	together []string // these tags, and others that name the same roots
}

func (e *keptError) Error() string {
	text := fmt.Sprintf("%s: %d tags were not deleted", e.Place, e.tags)
	if len(e.Sharing) > 0 {
		text = fmt.Sprintf("%s: %d tags can't be deleted without also deleting others of the same roots", e.Place, e.tags)
	}
	return fmt.Sprintf("%s: %v", text, e.Err)
}

// Unwrap returns the error of the first tag.
func (e *keptError) Unwrap() error { return e.KeptError }

// keptTogether merges the errors in which a place gives the same reason.
func keptTogether(errs []error) (joined []error) {
	type reason struct {
		text   string
		shared bool
	}
	seen := map[reason]*keptError{}
	for _, err := range errs {
		var kept *layout.KeptError
		if !errors.As(err, &kept) {
			joined = append(joined, err)
			continue
		}
		why := reason{kept.Err.Error(), len(kept.Sharing) > 0}
		if seen[why] == nil {
			seen[why] = &keptError{KeptError: kept}
			joined = append(joined, seen[why])
		}
		seen[why].tags++
		seen[why].together = append(append(seen[why].together, kept.Tag), kept.Sharing...)
	}
	for i, err := range joined {
		if one, ok := err.(*keptError); ok && one.tags == 1 { //nolint:errorlint // it is made above
			joined[i] = one.KeptError
		}
	}
	return joined
}

func (r rmResult) render(w io.Writer) error {
	err := table(w, func(w io.Writer) {
		for _, t := range r.Tags {
			say(w, "%s\t%s\t%s\t%s\n", t.Tag, r.outcome(t), age(t.Newest, r.now), t.Digest)
		}
	})
	if err != nil {
		return err
	}
	r.renderByHand(w)
	renderUncovered(w, r.Uncovered)
	say(w, "%s: %d of %s %s", r.Path, r.Deleted, count(r.Caches, "cache"), r.deleted())
	if r.keeps > 0 {
		say(w, " (--keep counts roots, and the %d tags that it chooses from have %d)", r.Caches-r.Undated, r.keeps)
	}
	if n := r.doubtful(); n > 0 {
		say(w, " (%d of them only if the registry can delete single tags)", n)
	}
	if r.Undated > 0 {
		say(w, " (kept because their age is unknown: %d)", r.Undated)
	}
	if n := r.Unreadable - r.unreachable; n > 0 {
		say(w, " (kept because they can't be read as a cache: %d; to delete one, give rm its tag)", n)
	}
	if r.unreachable > 0 {
		say(w, " (kept because the registry did not say what they point to: %d)", r.unreachable)
	}
	switch unnamed := r.unnamed(); {
	case !r.local || r.Deleted == 0, r.DryRun && r.GCRefuses == "":
	case r.GCRefuses == noTagLeft:
		say(w, "; %s: to remove everything, delete the directory", r.GCRefuses)
	case r.GCRefuses != "":
		say(w, "; %s", mendsForGC(r.GCRefuses, r.Path))
	case unnamed == 0:
		say(w, "; nothing can be freed, as other tags point to the same caches")
	default:
		say(w, "; %s frees what no tag reaches any more, %s", mention(onPath("gc", r.Path)), whenFreed)
	}
	say(w, "\n")
	return nil
}

func (r rmResult) deleted() string {
	if r.DryRun {
		return "would be deleted"
	}
	return "deleted"
}

// outcome says what happened to a tag.
func (r rmResult) outcome(t rmTag) string {
	shared := few(t.Sharing) + " has the same root"
	if len(t.Sharing) > 1 {
		shared = few(t.Sharing) + " have the same root"
	}
	var kept *layout.KeptError
	switch {
	case t.Deleted && len(t.Sharing) > 0 && r.DryRun && !r.local:
		return r.deleted() + ", if the registry can delete single tags: " + shared
	case t.Deleted:
		return r.deleted()
	case errors.As(t.Err, &kept) && len(kept.Sharing) > 0:
		return "NOT DELETED: " + shared
	default:
		return "NOT DELETED"
	}
}

// unnamed counts the deleted tags whose roots no other tag names.
func (r rmResult) unnamed() (n int) {
	for _, t := range r.Tags {
		if t.Deleted && len(t.Sharing) == 0 {
			n++
		}
	}
	return n
}

// doubtful counts the tags for which a dry run can't tell whether they would be deleted.
func (r rmResult) doubtful() (n int) {
	for _, t := range r.Tags {
		if r.DryRun && !r.local && len(t.Sharing) > 0 {
			n++
		}
	}
	return n
}

func (r rmResult) renderByHand(w io.Writer) {
	if !slices.ContainsFunc(r.Tags, func(t rmTag) bool { return t.ByHand != "" }) {
		return
	}
	say(w, "this host only deletes tags through its own API:\n")
	for _, t := range r.Tags {
		if t.ByHand != "" {
			sayCommand(w, t.ByHand)
		}
	}
}

// few lists the first of some tags.
func few(tags []string) string {
	const shown = 3
	if len(tags) <= shown {
		return strings.Join(tags, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(tags[:shown], ", "), len(tags)-shown)
}
