package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/ocicache/ocicache/explain"
)

// renderWhy says what misses, grouped by first cause. Steps that only follow others are folded, unless all steps are wanted.
func (r explainResult) renderWhy(w io.Writer, name string) error {
	say(w, "%s: %s: %s\n", name, count(len(r.Steps), "step"), r.verdictsLine())
	r.renderWarnings(w)
	if r.all {
		if err := r.renderSteps(w); err != nil {
			return err
		}
	} else {
		r.renderCauses(w)
	}
	r.renderNotes(w)
	r.renderHints(w)
	return nil
}

// renderSteps lists every step with its verdict.
func (r explainResult) renderSteps(w io.Writer) error {
	say(w, "\n")
	return table(w, func(w io.Writer) {
		sayRow(w, "where", "step", "verdict", "because")
		for _, s := range r.Steps {
			verdict := string(s.Verdict)
			if s.Made {
				verdict = "made"
			}
			say(w, "  %s\t%s\t%s\t%s\n", cmp.Or(s.Where, s.ID), shortText(s.Text, buildLabel(s)), verdict, because(s))
		}
	})
}

// because explains a verdict, "" if there is nothing to explain.
func because(s explain.StepReport) string {
	switch {
	case s.IsDouble():
		return s.Cause.Text + ", unless " + conditions(s, false)
	case s.Cause != nil && s.Cause.Own != nil:
		return s.Cause.Text + ", and changed itself: " + s.Cause.Own.Text
	case s.Cause != nil:
		return s.Cause.Text
	case s.Made:
		return "its results were made after the build began"
	case s.Verdict == explain.Maybe:
		return "hits if " + conditions(s, false)
	case s.Verdict == explain.Unknown:
		return unknown(s)
	case s.Verdict == explain.KeyOnly:
		return "has no result, and doesn't need one"
	default:
		return ""
	}
}

func (r explainResult) renderCauses(w io.Writer) {
	groups := r.misses()
	slices.SortStableFunc(groups, func(a, b *missGroup) int { return cmp.Compare(a.rank(), b.rank()) })
	for _, g := range groups {
		g.render(w)
	}
	for _, s := range r.Steps {
		switch s.Verdict {
		case explain.Maybe:
			if s.IsDouble() {
				say(w, "\n%s\n  misses, unless %s: %s\n", stepLine(s), conditions(s, false), s.Cause.Text)
			}
			if root := conditions(s, true); root != "" {
				say(w, "\n%s\n  hits if %s\n", stepLine(s), root)
			}
		case explain.Unknown:
			say(w, "\n%s\n  unknown: %s\n", stepLine(s), unknown(s))
		case explain.Hit, explain.Miss, explain.KeyOnly:
		}
	}
	r.renderFolded(w)
}

// renderHints says what would tell more.
func (r explainResult) renderHints(w io.Writer) {
	var all []string
	for _, h := range r.Hints {
		all = append(all, h.String())
	}
	if len(all) > 0 {
		say(w, "to find out more, add: %s\n", strings.Join(all, ", "))
	}
}

func followVerb(n int) string {
	if n == 1 {
		return "does"
	}
	return "do"
}

// verdictsLine counts the verdicts.
func (r explainResult) verdictsLine() string {
	parts := []string{fmt.Sprintf("%d hit", r.Count(explain.Hit)-r.Made()), fmt.Sprintf("%d miss", r.Count(explain.Miss))}
	if n := r.Made(); n > 0 {
		parts = append(parts, fmt.Sprintf("%d made after it began", n))
	}
	for _, more := range []struct {
		explain.Verdict
		words string
	}{{explain.Maybe, "undecided"}, {explain.KeyOnly, "not needed"}, {explain.Unknown, "unknown"}} {
		if n := r.Count(more.Verdict); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, more.words))
		}
	}
	return strings.Join(parts, ", ")
}

// missGroup is the steps that miss for one reason, and those that miss only because of them.
type missGroup struct {
	steps, followers []explain.StepReport
}

// rank sorts steps that run only for another step behind those that need fixing.
func (g missGroup) rank() int {
	if kind := g.steps[0].Cause.Kind; kind == explain.CausePruned || kind == explain.CauseNoResult {
		return 1
	}
	return 0
}

func (g missGroup) render(w io.Writer) {
	say(w, "\n%s\n  misses: %s\n", stepLine(g.steps[0]), g.steps[0].Cause.Text)
	if same := g.steps[1:]; len(same) > 0 {
		say(w, "  for the same reason: %s\n", lines(same))
	}
	var only, changed []explain.StepReport
	for _, s := range g.followers {
		if s.Cause.Own == nil {
			only = append(only, s)
		} else {
			changed = append(changed, s)
		}
	}
	if len(only) > 0 {
		say(w, "  and so %s: %s\n", followVerb(len(only)), lines(only))
	}
	if len(changed) > 0 {
		say(w, "  and so %s, but changed too: fix that next\n", followVerb(len(changed)))
		for _, s := range changed {
			say(w, "    %s: %s\n", stepLine(s), s.Cause.Own.Text)
		}
	}
}

// misses returns all steps that miss, as groups in the order of their first steps.
func (r explainResult) misses() []*missGroup {
	var groups []*missGroup
	byCause, byStep := map[string]*missGroup{}, map[string]*missGroup{}
	roots := r.roots()
	for _, s := range r.Steps {
		if s.Verdict != explain.Miss || roots[stepKey(s.Build, s.ID)] != stepKey(s.Build, s.ID) {
			continue
		}
		cause := s.Name + " " + s.Cause.Text // builds for the same platform are unrelated
		g, ok := byCause[cause]
		if !ok {
			g = &missGroup{}
			byCause[cause] = g
			groups = append(groups, g)
		}
		g.steps = append(g.steps, s)
		byStep[stepKey(s.Build, s.ID)] = g
	}
	for _, s := range r.Steps {
		if root := roots[stepKey(s.Build, s.ID)]; s.Verdict == explain.Miss && root != stepKey(s.Build, s.ID) {
			byStep[root].followers = append(byStep[root].followers, s)
		}
	}
	return groups
}

// stepKey distinguishes the steps of several builds.
func stepKey(build int, id string) string { return strconv.Itoa(build) + " " + id }

// roots maps each step that misses to the one with the first reason: itself, unless it follows one that misses too.
func (r explainResult) roots() map[string]string {
	missing := map[string]explain.StepReport{}
	for _, s := range r.Steps {
		if s.Verdict == explain.Miss {
			missing[stepKey(s.Build, s.ID)] = s
		}
	}
	roots := map[string]string{}
	var root func(key string) string
	root = func(key string) string {
		if known, ok := roots[key]; ok {
			return known
		}
		s := missing[key]
		roots[key] = key
		if before := stepKey(s.Build, s.Cause.Step); s.Cause.Kind == explain.CauseFollows && missing[before].Cause != nil {
			roots[key] = root(before)
		}
		return roots[key]
	}
	for key := range missing {
		root(key)
	}
	return roots
}

// renderFolded names the steps whose verdict depends only on another step's: together, if that one was named above.
func (r explainResult) renderFolded(w io.Writer) {
	var all []explain.StepReport
	named := false
	for _, s := range r.Steps {
		switch {
		case s.IsDouble():
			named = true
		case s.Verdict == explain.Maybe && conditions(s, true) == "":
			all = append(all, s)
		case s.Verdict == explain.Maybe, s.Verdict == explain.Unknown:
			named = true
		}
	}
	if len(all) > 0 && named {
		say(w, "\nif those hit, so %s: %s\n", followVerb(len(all)), lines(all))
		return
	}
	for _, s := range all {
		say(w, "\n%s\n  hits if %s\n", stepLine(s), conditions(s, false))
	}
}

// conditions says what a step's hit depends on: everything, or only files.
func conditions(s explain.StepReport, filesOnly bool) string {
	var parts []string
	for _, c := range s.If {
		if c.Files || !filesOnly {
			parts = append(parts, c.Text)
		}
	}
	return strings.Join(parts, ", and if ")
}

// unknown says why a step's verdict is unknown.
func unknown(s explain.StepReport) string {
	for _, c := range s.If {
		if len(c.Absent) > 0 {
			return c.Text
		}
	}
	return "its key can't be derived from its definition"
}

// stepLine names a step.
func stepLine(s explain.StepReport) string {
	return cmp.Or(s.Where, s.ID) + " " + shortText(s.Text, buildLabel(s))
}

// buildLabel distinguishes the builds that a step may belong to: by name, if needed, and platform.
func buildLabel(s explain.StepReport) string {
	if s.Name == "" {
		return s.Platform
	}
	return s.Name + ", " + s.Platform
}

// lines names steps by their lines. One line may be several steps, as with COPY --link.
func lines(steps []explain.StepReport) string {
	const most = 8
	var all []string
	for _, s := range steps {
		name := s.Where
		if name == "" { // an ID alone tells nobody anything
			name = strings.TrimSpace(stepLine(s))
		}
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	if more := len(all) - most; more > 0 {
		all = append(all[:most], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}

// shortText shortens the text of a step to fit on its line.
func shortText(text, platform string) string {
	const most = 72
	if r := []rune(text); len(r) > most {
		text = string(r[:most-1]) + "…"
	}
	if platform != "" {
		text += " (" + platform + ")"
	}
	return text
}
