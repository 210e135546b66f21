package main

import (
	"cmp"
	"context"
	"io"
	"time"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
)

// stepsHint says how to find out what records stand for.
const stepsHint = "named by what 'docker buildx history export -o FILE' writes:"

// detail returns what is in a cache, and its records if they have names or are to be listed.
func (n *namer) detail(ctx context.Context, src layout.Source, entry layout.Entry, listed bool) (inspect.Detailed, *explain.Named, error) {
	cache, err := layout.Load(ctx, src, entry)
	if err != nil {
		return inspect.Detailed{}, nil, err
	}
	detailed, err := inspect.DetailOf(ctx, src, cache)
	if err != nil || len(n.builds) == 0 && !listed {
		return detailed, nil, err
	}
	named, err := n.name(ctx, cache)
	if err != nil {
		return detailed, nil, err
	}
	detailed.Names, detailed.Warnings = onPage(named), named.Warnings
	return detailed, named, nil
}

// renderSteps lists records in the order of the build's lines, if they are to be listed.
func renderSteps(w io.Writer, named *explain.Named, listed bool, now time.Time) error {
	for _, warning := range named.Warnings {
		say(w, "\nwarning: %s\n", warning)
	}
	if !listed {
		return nil
	}
	say(w, "\n")
	records := named.InOrder()
	if len(records) > 0 && records[0].Naming == nil {
		return renderRecords(w, records, now)
	}
	return tableOf(w, columns{drop: []string{"KEY", "LAYER", "RESULTS", "ADDED", "MADE", "RECORD"}, cut: "STEP"}, func(w io.Writer) {
		sayRow(w, "WHERE", "STEP", "KNOWN BY", "RECORD", "KEY", "RESULTS", "MADE", "LAYER", "ADDED")
		for _, r := range records {
			say(w, "  %s\t%s\t%s\t[%d]\t%s\t%d\t%s\t%s\t%s\n", cmp.Or(r.Where, "-"), namesOf(r.Naming), howOf(r.Naming), r.Index, short(r.Digest),
				r.Results, age(r.Newest, now), layerOf(r), size(r.Added))
		}
	})
}

// renderRecords lists records without names.
func renderRecords(w io.Writer, records []explain.NamedRecord, now time.Time) error {
	err := tableOf(w, columns{drop: []string{"LAYER", "ADDED", "MADE"}}, func(w io.Writer) {
		sayRow(w, "RECORD", "KEY", "RESULTS", "MADE", "LAYER", "ADDED")
		for _, r := range records {
			say(w, "  [%d]\t%s\t%d\t%s\t%s\t%s\n", r.Index, short(r.Digest), r.Results, age(r.Newest, now), layerOf(r), size(r.Added))
		}
	})
	say(w, "to see which steps these are, give --provenance FILE, written by 'docker buildx history export -o FILE'\n")
	return err
}

// layerOf returns the uppermost layer of a record's newest result.
func layerOf(r explain.NamedRecord) string {
	if r.Layer == nil {
		return "-"
	}
	return ordinal(*r.Layer)
}
