package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ocicache/ocicache/explain"
)

// explainResult is what explain writes with --json.
type explainResult struct {
	Path string `json:"path"`
	Tag  string `json:"tag,omitempty"`
	Why  bool   `json:"why"`
	*explain.Report

	all bool // list all steps and fold none
	of  subject
}

func (r explainResult) render(w io.Writer, now time.Time) error {
	name := r.Path
	if r.Tag != "" {
		name += ", tag " + r.Tag
	}
	if r.Why {
		return r.renderWhy(w, name)
	}
	say(w, "%s: %s\n", name, r.recordsLine())
	r.renderWarnings(w)
	say(w, "\n")
	err := tableOf(w, columns{drop: []string{"results", "layers", "records", "made"}, cut: "step"}, func(w io.Writer) {
		sayRow(w, "where", "step", "records", "results", "made", "layers", "added")
		for _, s := range r.Steps {
			say(w, "  %s\t%s\t%s\t%d\t%s\t%d\t%s\n", cmp.Or(s.Where, s.ID), shortText(s.Text, buildLabel(s)), indexes(s.Records), s.Results,
				age(s.Newest, now), s.Layers, size(s.Added))
		}
		say(w, "  in all\t\t\t\t\t%d\t%s\n", r.Total.Layers, size(r.Total.Bytes))
	})
	if err != nil {
		return err
	}
	r.renderContents(w)
	r.renderNotes(w)
	return nil
}

func (r explainResult) renderWarnings(w io.Writer) {
	for _, warning := range r.Warnings {
		say(w, "warning: %s\n", warning)
	}
	switch r.Verify {
	case explain.VerifyCache:
		say(w, "  %s lists the errors\n", r.of.mention("verify"))
	case explain.VerifyLayers:
		say(w, "  %s checks the bytes of all layers\n", r.of.mention("verify", "--deep"))
	}
}

// recordsLine says how many records are named.
func (r explainResult) recordsLine() string {
	text := fmt.Sprintf("%s, %d from a step of this build", count(len(r.Records), "record"), len(r.Records)-r.Foreign)
	if r.Foreign > 0 {
		text += fmt.Sprintf(", %d from other builds", r.Foreign)
	}
	return text
}

// renderContents lists the records that stand for files.
func (r explainResult) renderContents(w io.Writer) {
	first := true
	for _, record := range r.Records {
		if record.Kind != explain.KindContent {
			continue
		}
		if first {
			say(w, "\n  files\n")
			first = false
		}
		how := "by position"
		switch {
		case len(record.Absent) > 0:
			how = "not in the given context"
		case record.Differs:
			how = "with other files than now: from an older build"
		case record.How != explain.ByPosition:
			how = "confirmed by " + map[explain.How]string{
				explain.ByContent: "the context", explain.ByLayers: "layers", explain.ByDefinition: "the definition",
			}[record.How]
		}
		say(w, "  [%d] %s, for %s (%s)\n", record.Index, shortText(strings.Join(record.Names, ", "), ""), record.Where, how)
	}
}

// renderNotes says what was not compared, and what else to know.
func (r explainResult) renderNotes(w io.Writer) {
	for _, name := range r.Missing {
		if r.Why { // hints say what would really help
			break
		}
		if name == "context" {
			say(w, "note: without --context DIR, files of the build context are not compared\n")
		} else {
			say(w, "note: without --context %s=DIR, its files are not compared\n", name)
		}
	}
	for _, note := range r.Notes {
		say(w, "note: %s\n", note)
	}
	for _, problem := range r.Unread {
		say(w, "note: not compared: %s\n", problem)
	}
	before := map[string]int{}
	for _, record := range r.Records {
		if record.Before != "" {
			before[record.Before]++
		}
	}
	for _, version := range slices.Sorted(maps.Keys(before)) {
		say(w, "note: %s with keys of BuildKit before %s, which newer versions don't make\n", count(before[version], "record"), version)
	}
}

func indexes(all []int) string {
	if len(all) == 0 {
		return "-"
	}
	parts := make([]string, len(all))
	for i, n := range all {
		parts[i] = fmt.Sprintf("[%d]", n)
	}
	return strings.Join(parts, " ")
}
