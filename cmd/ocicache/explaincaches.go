package main

import (
	"io"

	"github.com/dustin/go-humanize/english"

	"github.com/ocicache/ocicache/explain"
)

// explainCachesResult is what explain writes with --json of two caches.
type explainCachesResult struct {
	Old string `json:"old"`
	New string `json:"new"`
	*explain.Compared
}

// kindWords says what each kind of new record is.
var kindWords = []struct {
	kind  explain.ChangeKind
	words string // of several, and what follows
	one   string // of one
}{
	{
		explain.NewOperation, "new operations, on steps that both caches have: a command, a variable, an option was changed or added",
		"new operation, on steps that both caches have: a command, a variable, an option was changed or added",
	},
	{explain.NewContent, "known operations with other files, or first on another base", "known operation with other files, or first on another base"},
	{
		explain.NewPlace, "known operations in another place: the order, or what they stand on, was changed",
		"known operation in another place: the order, or what it stands on, was changed",
	},
	{explain.NewSource, "new sets of files, or bases", "new set of files, or base"},
	{explain.Follows, "steps that only follow one of these", "step that only follows one of these"},
}

func (r explainCachesResult) render(w io.Writer) error {
	say(w, "%s and %s: %s in both, %d only in the second, %d only in the first\n", r.Old, r.New, count(r.Same, "record"), len(r.Compared.New), r.Gone)
	if len(r.Compared.New) > 0 {
		say(w, "  records of the second:\n")
	}
	for _, of := range kindWords {
		var at []int
		for _, c := range r.Compared.New {
			if c.Kind == of.kind {
				at = append(at, c.Index)
			}
		}
		if len(at) > 0 {
			say(w, "    %s: %s\n", english.Plural(len(at), of.one, of.words), shortText(indexes(at), ""))
		}
	}
	if r.Gone > 0 {
		var at []int
		for _, c := range r.GoneRecords {
			at = append(at, c.Index)
		}
		say(w, "  records of the first that are gone: %s\n", shortText(indexes(at), ""))
	}
	say(w, "Digests alone do not tell which steps these are, nor that a step was told not to use the cache; --provenance does.\n")
	return nil
}
