package registry

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// Confidence says how well something about a registry is known.
type Confidence string

// The confidences. Only what is sure stops a transfer; the rest warns.
const (
	Sure    Confidence = "sure"    // measured, read in the source, documented, or reported by many
	Likely  Confidence = "likely"  // reported, inferred, or dependent on a setting
	Unknown Confidence = "unknown" // nobody knows; an attempt does no harm
)

// Verdict says whether a registry takes something. If that is unknown, Takes is false.
type Verdict struct {
	Takes      bool       `json:"takes"`
	Confidence Confidence `json:"confidence"`
	// About is what a refusal is about, if that is not the subject of the verdict: AboutConfigType for a form that fails
	// because of the type of its config.
	About About `json:"about,omitempty"`
	// Why says what the registry does with it, and how that may be changed.
	Why string `json:"why,omitempty"`
	// Source says how this is known.
	Source string `json:"source"`
}

// String returns the verdict in a word: yes, no, likely, unlikely or unknown.
func (v Verdict) String() string {
	switch {
	case v.Confidence == Sure && v.Takes:
		return "yes"
	case v.Confidence == Sure:
		return "no"
	case v.Confidence == Unknown:
		return "unknown"
	case v.Takes:
		return "likely"
	default:
		return "unlikely"
	}
}

// refusesSurely reports whether an attempt is pointless.
func (v Verdict) refusesSurely() bool { return !v.Takes && v.Confidence == Sure }

// Limit is the most of something that a registry takes.
type Limit struct {
	Bytes      int64      `json:"bytes"` // 0 if none is known
	Confidence Confidence `json:"confidence"`
	Source     string     `json:"source"`
}

// Profile is what one kind of registry takes.
type Profile struct {
	Name    string   `json:"name"`
	Aliases []string `json:"aliases,omitempty"` // other names for it
	Title   string   `json:"title"`
	// Hosts are the hosts that are known to be such registries. A * matches anything.
	Hosts []string `json:"hosts,omitempty"`
	// Forms has a verdict for each form of a root.
	Forms map[buildcache.Form]Verdict `json:"forms"`
	// EmptyLayers is about roots without layers, in the best form for the registry.
	EmptyLayers Verdict `json:"emptyLayers"`
	// NoMediaType is about roots without a mediaType.
	NoMediaType Verdict `json:"noMediaType"`
	MaxRoot     Limit   `json:"maxRoot"`
	MaxLayer    Limit   `json:"maxLayer"`
	// Notes say what else is good to know before a cache is sent there.
	Notes []string `json:"notes,omitempty"`
}

// ProfileByName returns the profile with a name or alias.
func ProfileByName(name string) (Profile, bool) {
	return findProfile(func(p Profile) bool { return p.Name == name || slices.Contains(p.Aliases, name) })
}

func findProfile(is func(Profile) bool) (Profile, bool) {
	profiles := Profiles()
	if i := slices.IndexFunc(profiles, is); i >= 0 {
		return profiles[i], true
	}
	return Profile{}, false
}

// Takes says whether the registry takes a form.
func (p Profile) Takes(form buildcache.Form) Verdict {
	if v, ok := p.Forms[form]; ok {
		return v
	}
	return Verdict{Confidence: Unknown}
}

// Candidates returns the forms in which a cache may be sent, best first: its own form if that is surely taken, else artifact,
// then the others by how likely they are to be taken. Forms that are surely refused are left out.
func (p Profile) Candidates(source buildcache.Form) []buildcache.Form {
	order := []buildcache.Form{buildcache.Artifact, source, buildcache.OCIIndex, buildcache.DockerList}
	rank := func(form buildcache.Form) int {
		v := p.Takes(form)
		switch {
		case v.Takes && v.Confidence == Sure && form == source:
			return 0
		case v.Takes:
			return 1
		case v.Confidence == Unknown:
			return 2
		default:
			return 3
		}
	}
	var forms []buildcache.Form
	for _, form := range order {
		if !slices.Contains(forms, form) && !p.Takes(form).refusesSurely() {
			forms = append(forms, form)
		}
	}
	slices.SortStableFunc(forms, func(a, b buildcache.Form) int { return rank(a) - rank(b) })
	return forms
}

// RefusesForm reports whether an error from a registry says that it does not take the form of a root.
func (p Profile) RefusesForm(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused) && refused.IsAboutForm()
}

// Check returns what the registry would refuse, or may refuse, in a cache: errors if that is sure, else warnings. The zero
// profile, of a registry about which nothing is known, reports nothing.
func (p Profile) Check(cache *layout.Cache) []buildcache.Problem {
	if p.Name == "" {
		return nil
	}
	root := cache.Root
	var problems []buildcache.Problem
	report := func(v Verdict, kind buildcache.Kind, where, what, remedy string) {
		if v.Takes {
			return
		}
		problems = append(problems, p.problem(v.Confidence, kind, where, what+because(v), remedy))
	}
	verdict := p.Takes(root.Form)
	kind, remedy := buildcache.RegistryForm, p.betterForm(root.Form)
	if verdict.About == AboutConfigType {
		kind = buildcache.RegistryConfigType
	}
	report(verdict, kind, "root", p.opinion(verdict, "the form "+string(root.Form)), remedy)
	if len(root.Layers) == 0 {
		report(p.EmptyLayers, buildcache.RootNoLayers, "root", p.opinion(p.EmptyLayers, "a root without layers"), "")
	}
	if root.MediaType == "" {
		report(p.NoMediaType, buildcache.RootNoMediaType, "root", p.opinion(p.NoMediaType, "a root without a mediaType"), "")
	}
	if size := int64(len(cache.RawRoot)); p.MaxRoot.Bytes > 0 && size > p.MaxRoot.Bytes {
		problems = append(problems, p.tooLarge(p.MaxRoot, buildcache.RegistryRootSize, "root", size))
	}
	return append(problems, p.checkLayers(root)...)
}

// maxLayerProblems bounds how many problems are reported about the layers of one cache.
const maxLayerProblems = 100

func (p Profile) checkLayers(root *buildcache.Root) []buildcache.Problem {
	var problems []buildcache.Problem
	for i, layer := range root.Layers {
		if p.MaxLayer.Bytes == 0 || layer.Size <= p.MaxLayer.Bytes || len(problems) == maxLayerProblems {
			continue
		}
		where := fmt.Sprintf("root.layers[%d]", i)
		problems = append(problems, p.tooLarge(p.MaxLayer, buildcache.RegistryLayerSize, where, layer.Size).On(layer.Digest))
	}
	return problems
}

func (p Profile) tooLarge(limit Limit, kind buildcache.Kind, where string, size int64) buildcache.Problem {
	detail := fmt.Sprintf("it has %d bytes, %s takes %d (%s)", size, p.Title, limit.Bytes, limit.Source)
	return p.problem(limit.Confidence, kind, where, detail, "")
}

func (p Profile) problem(c Confidence, kind buildcache.Kind, where, detail, remedy string) buildcache.Problem {
	problem := buildcache.NewProblem(kind, where, detail).WithEffect(buildcache.RegistryRefuses)
	if c == Sure {
		problem.Severity = buildcache.SeverityError
	}
	if remedy != "" {
		problem.Remedy = remedy
	}
	return problem
}

// opinion says what the registry does with something that it is not sure to take.
func (p Profile) opinion(v Verdict, what string) string {
	switch v.Confidence {
	case Sure:
		return fmt.Sprintf("%s refuses %s", p.Title, what)
	case Likely:
		return fmt.Sprintf("%s probably refuses %s", p.Title, what)
	default:
		return fmt.Sprintf("it is not known whether %s takes %s", p.Title, what)
	}
}

func because(v Verdict) string {
	if v.Why == "" {
		return ""
	}
	return ": " + v.Why
}

// betterForm returns the remedy for a form that is refused.
func (p Profile) betterForm(form buildcache.Form) string {
	best := p.Candidates(form)
	if len(best) == 0 || best[0] == form || !p.Takes(best[0]).Takes {
		return "no form of a cache is known to be taken there; use another registry"
	}
	return "convert it with --to " + string(best[0])
}
