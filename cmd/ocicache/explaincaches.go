package main

import (
	"io"

	"github.com/dustin/go-humanize/english"

	"github.com/ocicache/ocicache/explain"
)

// explainCachesResult is what explain writes for two caches with --json.
type explainCachesResult struct {
	Old string `json:"old"`
	New string `json:"new"`
	*explain.Compared
}

// kindWords says what each kind of new record is.
var kindWords = []struct {
	kind  explain.ChangeKind
	words string // for several, and what follows
	one   string // for one
}{
	{
		explain.NewOperation, "new operations on steps that both caches have: a command, variable or option was changed or added",
		"new operation on steps that both caches have: a command, variable or option was changed or added",
	},
	{explain.NewContent, "known operations with different files or a different base", "known operation with different files or a different base"},
	{
		explain.NewPlace, "known operations in another position: their order, or the steps before them, changed",
		"known operation in another position: its order, or the steps before it, changed",
	},
	{explain.NewSource, "new sets of files or bases", "new set of files or base"},
	{explain.Follows, "steps that only depend on one of these", "step that only depends on one of these"},
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
	say(w, "Digests alone don't tell which steps these are, or whether a step was told not to use the cache; --provenance does.\n")
	return nil
}
