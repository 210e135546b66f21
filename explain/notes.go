package explain

import (
	"bytes"
	"path/filepath"
	"slices"

	"github.com/ocicache/ocicache/explain/contenthash"
	"github.com/ocicache/ocicache/explain/provenance"
)

// dockerfileNotes says which Dockerfiles are not the ones that the builds had: the steps are still those of the builds.
// The name "dockerfile" may say where the file is, if not in the context.
func dockerfileNotes(builds []*provenance.Build, contexts Contexts, redact bool) []string {
	dir, ok := contexts["dockerfile"]
	if !ok {
		dir, ok = contexts[mainContext]
	}
	if !ok {
		return nil
	}
	var notes []string
	seen := map[string]bool{}
	for _, b := range builds {
		if len(b.Files) == 0 || seen[b.Files[0].Name] || !filepath.IsLocal(b.Files[0].Name) {
			continue
		}
		seen[b.Files[0].Name] = true
		at := filepath.Join(dir, b.Files[0].Name)
		if now, err := contenthash.ReadInside(dir, b.Files[0].Name); err == nil && !bytes.Equal(now, b.Files[0].Data) {
			if redact {
				at = b.Files[0].Name
			}
			notes = append(notes, at+" is not the one that the build had: these are the steps of the build, not of that file")
		}
	}
	return notes
}

// absentWarnings says which files that steps take are missing from the given directories.
func absentWarnings(records []Record, builds []*provenance.Build, contexts Contexts, redact bool) []string {
	type source struct{ build, step int }
	paths := map[source][]string{}
	var order []source
	for _, r := range records {
		if len(r.Absent) == 0 || len(r.Names) == 0 {
			continue
		}
		at := source{r.Names[0].Build, r.Names[0].Step}
		if paths[at] == nil {
			order = append(order, at)
		}
		paths[at] = append(paths[at], r.Absent...)
	}
	var warnings []string
	for _, at := range order {
		w := words{build: builds[at.build], contexts: contexts, redact: redact}
		slices.Sort(paths[at])
		warnings = append(warnings, w.absent(at.step, slices.Compact(paths[at])))
	}
	return warnings
}

// strangerWarnings says which builds have nothing to do with a cache, among the new ones and those that it is said to come from.
func (g *graph) strangerWarnings(records []Record, builds, old []*provenance.Build) []string {
	if len(records) == 0 {
		return nil
	}
	var warnings []string
	for i, b := range builds {
		isOurs := slices.ContainsFunc(records, func(r Record) bool {
			return r.Kind == KindStep && slices.ContainsFunc(r.Names, func(n Name) bool { return n.Build == i })
		})
		if !isOurs && g.isStranger(newPlan(b)) {
			warnings = append(warnings, "no record of this cache is a step of that build"+platformIn(b, builds)+": is it the right provenance?")
		}
	}
	for _, b := range old {
		if m := newMatching(g, newPlan(b)); !m.hasSteps() {
			warnings = append(warnings, "no record of this cache is a step of the old build"+platformIn(b, old)+": is the cache from it?")
		}
	}
	return warnings
}

// platformIn distinguishes one of several builds from the others.
func platformIn(b *provenance.Build, all []*provenance.Build) string {
	if len(all) < 2 {
		return ""
	}
	return " (" + platformOf(b) + ")"
}

// hasSteps reports whether a record stands for a step of the build other than a source.
func (m *matching) hasSteps() bool {
	for out, found := range m.found {
		if len(found) > 0 && m.plan.Steps[out.step].Op.Source == nil {
			return true
		}
	}
	return false
}

// isStranger reports whether a cache knows less than a third of a build's operations, on any base. If only the base
// differs, it knows most of them.
func (g *graph) isStranger(p *plan) bool {
	all, known := 0, 0
	for i, s := range p.steps {
		if p.Steps[i].Op.Source != nil || len(s.keys) == 0 {
			continue
		}
		all++
		if slices.ContainsFunc(s.keys, func(c candidate) bool {
			return slices.ContainsFunc(s.outputs, func(out int) bool { return len(g.byDigest[c.key.Record(out)]) > 0 })
		}) {
			known++
		}
	}
	return all > 0 && known*3 < all
}

// doubleWarnings says which platforms have more than one build. The steps of all of them are reported, side by side.
func doubleWarnings(builds []*provenance.Build) []string {
	count := map[string]int{}
	var warnings []string
	for _, b := range builds {
		platform := platformOf(b)
		if count[platform]++; count[platform] == 2 {
			warnings = append(warnings, "more than one build for "+platform+" in what --provenance names: their steps stand side by side")
		}
	}
	return warnings
}
