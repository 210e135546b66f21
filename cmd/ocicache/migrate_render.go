package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/migrate"
)

// initResult is what migrate init writes with --json.
type initResult struct {
	Sources []*migrate.Found `json:"sources"`
	Plan    string           `json:"plan"`
}

// foundLine says what is in a source.
func foundLine(f *migrate.Found) string {
	text := fmt.Sprintf("%s, %s in %s", count(f.Caches, "cache"), size(f.Bytes), count(f.Layers, "layer"))
	text += counted(f.Forms) + counted(f.Compressions)
	if f.Others > 0 {
		text += fmt.Sprintf("; not caches: %s", english.Plural(f.Others, "entry", "entries"))
	}
	if f.Broken > 0 {
		text += fmt.Sprintf("; unreadable: %s", english.Plural(f.Broken, "entry", "entries"))
	}
	return text
}

// counted lists how many there are of each kind.
func counted[T ~string](of map[T]int) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		shown := string(name)
		if shown == "" {
			shown = "unknown"
		}
		words = append(words, fmt.Sprintf("%d %s", of[name], shown))
	}
	if len(words) == 0 {
		return ""
	}
	return "; " + strings.Join(words, ", ")
}

// checkResult is what migrate check writes.
type checkResult struct{ *migrate.Summary }

func (r checkResult) render(w io.Writer) error {
	if err := renderMigrations(w, r.Summary, "to copy", "would fail"); err != nil {
		return err
	}
	if len(r.Registries) > 0 {
		say(w, "\n")
		err := tableOf(w, columns{}, func(w io.Writer) {
			say(w, "registry\tcaches to read\tto write\tlayers, about\trequests, at most\taccess\n")
			for _, use := range r.Registries {
				access := "ok"
				if use.Error != "" {
					access = "FAILED"
				}
				say(w, "%s\t%d\t%d\t%s\t%s\t%s\n", use.Host, use.Read, use.Write, size(use.Bytes), humanize.Comma(use.Requests), access)
			}
		})
		if err != nil {
			return err
		}
	}
	renderPrunedAll(w, r.Freed)
	renderPruningNotes(w, r.Summary)
	renderCauses(w, r.Causes, true)
	say(w, "\n%s planned: %d to copy, %d already there, %d done before, %d would fail%s; the check took %s\n",
		count(r.Planned, "cache"), r.Done, r.There, r.Before, r.Failed+r.NotTried, failedSources(r.Summary), english.Plural(int(r.Requests), "request", ""))
	return nil
}

// renderPrunedAll says what was dropped on the way, for all caches together.
func renderPrunedAll(w io.Writer, freed []buildcache.Freed) {
	if len(freed) > 0 {
		say(w, "\npruned on the way:\n")
		renderFreed(w, freed, 0)
	}
}

// renderPruningNotes says where the rules for pruning were not met exactly.
func renderPruningNotes(w io.Writer, s *migrate.Summary) {
	if s.Exceeding > 0 {
		say(w, "\nafter recompression, the layers of %s exceed keep_bytes, by up to %s in all: it goes by their sizes at the source\n", count(s.Exceeding, "cache"), size(s.Exceeds))
	}
	if s.Estimated > 0 {
		say(w, "\nfor %s this is an estimate: fit may drop more when layers are recompressed, as their descriptors grow\n", count(s.Estimated, "cache"))
	}
}

// failedSources says for how many sources nothing is known of their caches, or too little.
func failedSources(s *migrate.Summary) string {
	if s.Sources == 0 {
		return ""
	}
	return "; also, " + count(s.Sources, "source") + " failed"
}

// renderMigrations says how each migration went. On a narrow terminal, columns with numbers stay, so that the numbers still add up.
func renderMigrations(w io.Writer, s *migrate.Summary, done, left string) error {
	const before, beside = "done before", "left out"
	var drop []string
	if s.Before == 0 {
		drop = append(drop, before)
	}
	if !slices.ContainsFunc(s.Migrations, func(m *migrate.Result) bool { return notMeant(m) != "-" }) {
		drop = append(drop, beside)
	}
	return tableOf(w, columns{drop: drop}, func(w io.Writer) {
		say(w, "source\ttarget\t%s\talready there\t%s\t%s\t%s\n", done, before, left, beside)
		for _, m := range s.Migrations {
			say(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\n", m.Source, m.Target, m.Done, m.There, m.Before, leftOf(s, m), notMeant(m))
		}
	})
}

// leftOf says how many caches of a migration are not at their targets, and why. In a check, nothing fails and nothing is tried.
func leftOf(s *migrate.Summary, m *migrate.Result) string {
	switch {
	case m.Error != "":
		return "ALL (" + string(m.Cause) + ")"
	case s.Dry:
		return fmt.Sprint(m.Left())
	}
	return m.LeftInWords()
}

// notMeant says what the plan leaves out of a source.
func notMeant(m *migrate.Result) string {
	var words []string
	for _, filter := range slices.Sorted(maps.Keys(m.LeftOutBy)) {
		words = append(words, fmt.Sprintf("%d by %s", m.LeftOutBy[filter], filter))
	}
	if m.Others > 0 {
		words = append(words, fmt.Sprintf("%d not caches", m.Others))
	}
	if m.OtherShards > 0 {
		words = append(words, fmt.Sprintf("%d in other shards", m.OtherShards))
	}
	if m.NotMeant > 0 {
		words = append(words, fmt.Sprintf("%d by --only", m.NotMeant))
	}
	if len(words) == 0 {
		return "-"
	}
	return strings.Join(words, ", ")
}

// renderCauses says what failed, by cause.
func renderCauses(w io.Writer, causes []migrate.CauseGroup, dry bool) {
	for _, c := range causes {
		again, what := "", c.InWords()
		if dry {
			what = fmt.Sprintf("%d would fail", c.Count)
		}
		if c.Hopeless {
			again = ", will not be tried again unless the source or the plan changes"
		}
		say(w, "\n%s: %s%s\n", c.Cause, what, again)
		for _, name := range c.Caches {
			say(w, "  %s\n", name)
		}
		if more := c.Count - len(c.Caches); more > 0 {
			say(w, "  and %d more\n", more)
		}
		renderError(w, c)
	}
}

// renderError shows the error of the first cache of a group, naming the cache if there are others, and what may help.
func renderError(w io.Writer, c migrate.CauseGroup) {
	text, last, indent := c.Error, "", "  "
	for _, name := range c.Caches {
		text = strings.TrimPrefix(text, name+": ")
	}
	if c.Count > 1 && c.First != "" {
		say(w, "  for example, %s:\n", c.First)
		indent += indent
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); line != last { // a registry may repeat itself for each blob
			say(w, "%s%s\n", indent, line)
		}
		last = line
	}
	if c.Advice != "" {
		say(w, "  hint: %s\n", c.Advice)
	}
}

// listing says where to find all failures with their errors.
type listing struct{ text, command string }

// render says so if not all of them are shown above.
func (l listing) render(w io.Writer, causes []migrate.CauseGroup) {
	if l.text == "" || !slices.ContainsFunc(causes, func(c migrate.CauseGroup) bool { return c.Count > 1 }) {
		return
	}
	say(w, "\n%s\n", l.text)
	if l.command != "" {
		sayCommand(w, l.command)
	}
}

// runResult is what migrate run writes.
type runResult struct {
	*migrate.Summary
	listing listing // for all failures; the zero value if they are written anyway
}

func (r runResult) render(w io.Writer) error {
	if err := renderMigrations(w, r.Summary, "copied", "not copied"); err != nil {
		return err
	}
	renderPrunedAll(w, r.Freed)
	renderPruningNotes(w, r.Summary)
	renderCauses(w, r.Causes, false)
	r.listing.render(w, r.Causes)
	shard := ""
	if r.Shard != "" {
		shard = "shard " + r.Shard + ": "
	}
	if r.Stopped {
		shard = "interrupted: " + shard
	}
	interrupted := ""
	if r.Interrupted > 0 {
		interrupted = fmt.Sprintf(", %d interrupted", r.Interrupted)
	}
	say(w, "\n%s%s planned: %d copied, %d already there, %d done before, %d failed, %d not tried%s%s; %s transferred in %s\n",
		shard, count(r.Planned, "cache"), r.Done, r.There, r.Before, r.Failed, r.NotTried, interrupted, failedSources(r.Summary), size(r.Moved),
		time.Duration(r.Took).Round(time.Second/10))
	return nil
}

// hintResume returns the command that resumes an interrupted run, or "" for other commands.
func (a *app) hintResume() string {
	switch {
	case a.running == nil || a.running.CommandPath() != "ocicache migrate run":
		return ""
	case !a.hasState():
		return "run it again, and it skips what is already there; with --state FILE, a run continues where the last one ended"
	default:
		return "to continue: " + a.repeated(a.running.CommandPath(), "", "")
	}
}

func (a *app) hasState() bool {
	state := a.running.Flags().Lookup("state")
	return state != nil && state.Value.String() != ""
}

// atLeast qualifies a sum if it is unknown what some attempts took.
func atLeast(r *migrate.Report) string {
	if r.Unmeasured > 0 {
		return "at least "
	}
	return ""
}

// lost says how many of the bytes sent were not confirmed.
func lost(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return fmt.Sprintf(", %s of it not confirmed", size(bytes))
}

// reportResult is what migrate report writes.
type reportResult struct{ *migrate.Report }

func (r reportResult) render(w io.Writer) error {
	say(w, "%s\n\n", r.Headline())
	err := table(w, func(w io.Writer) {
		row := func(what string, n int) { say(w, "%s\t%d\n", what, n) }
		row("caches", r.Caches)
		row("copied", r.Done)
		row("already there", r.There)
		row("failed", r.Failed)
		row("not tried", r.NotTried)
		if r.NotReached > 0 {
			say(w, "  not reached\t%d, when %s interrupted at %s\n", r.NotReached, english.PluralWord(r.Cut, "the last run was", "the last runs were"), r.CutOff.UTC().Format(time.RFC3339))
		}
		row("interrupted, or still running", r.Interrupted)
		row("failed sources", r.Sources)
		say(w, "transferred\t%s%s in all attempts%s\n", atLeast(r.Report), size(r.Moved), lost(r.Lost))
		say(w, "not transferred\t%s, which targets already had, or got with other caches\n", size(r.Saved))
		say(w, "requests\t%s%s in all attempts\n", atLeast(r.Report), humanize.Comma(r.Requests))
		say(w, "time\t%s, for %s\n", time.Duration(r.Worked), count(r.Runs, "run"))
	})
	if err != nil {
		return err
	}
	renderPrunedAll(w, r.Freed)
	renderCauses(w, r.Causes, false)
	listing{text: "--json lists each of these with its error, as unfinished"}.render(w, r.Causes)
	if len(r.Slowest) > 0 {
		say(w, "\nslowest:\n")
		err = table(w, func(w io.Writer) {
			for _, c := range r.Slowest {
				say(w, "  %s\t%s s\t%s\t%s\n", c.Name(), fmt.Sprintf("%.1f", c.Seconds()), size(c.Moved), count(int(c.Requests), "request"))
			}
		})
	}
	renderAgain(w, r.Report)
	if r.Skipped > 0 {
		say(w, "\n%s skipped that don't belong to a state\n", count(r.Skipped, "line"))
	}
	return err
}
