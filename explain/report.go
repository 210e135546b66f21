package explain

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain/provenance"
	"github.com/ocicache/ocicache/layout"
)

// Report says what a cache is to some builds, in a form that can be written as
// JSON. Steps are named by the IDs that provenance gives them.
type Report struct {
	Records []RecordReport `json:"records"`
	Steps   []StepReport   `json:"steps"`
	Total   Total          `json:"total"`
	// Foreign is how many records match no step of the builds.
	Foreign int `json:"foreign"`
	// Missing are the local directories that the builds copy from but that were not given, so that contents are not proved.
	Missing []string `json:"contextsMissing,omitempty"`
	// Warnings say why BuildKit may hit less than the verdicts say, or nothing at all.
	Warnings []string `json:"warnings,omitempty"`
	// Verify says which verification tells more about a warning: VerifyCache or VerifyLayers, "" for none.
	Verify Verify `json:"-"`
	// Notes say what else is worth knowing about the verdicts.
	Notes []string `json:"notes,omitempty"`
	// Hints name what would tell more.
	Hints []Hint `json:"wouldTell,omitempty"`
	// Unread are layers that could not be read, and why.
	Unread []string `json:"unread,omitempty"`
}

// Verify is how much of a cache should be verified.
type Verify string

// What may be verified: what the cache says about itself, or every byte of its layers too.
const (
	VerifyCache  Verify = "cache"
	VerifyLayers Verify = "layers"
)

// RecordReport is what is known of one record.
type RecordReport struct {
	Index  int           `json:"index"`
	Digest digest.Digest `json:"digest"`
	Naming
}

// StepReport is what is known of one step.
type StepReport struct {
	ID       string     `json:"id"`
	Build    int        `json:"build"`               // which of the builds it belongs to: IDs are unique within one build only
	Name     string     `json:"buildName,omitempty"` // of the build, if there are several for its platform
	Platform string     `json:"platform,omitempty"`  // of the build, if there are several
	Text     string     `json:"text"`
	Where    string     `json:"where,omitempty"`
	Records  []int      `json:"records"`
	Results  int        `json:"results"`
	Newest   *time.Time `json:"newest,omitempty"` // of the results
	Layers   int        `json:"layers"`           // of the newest result
	Bytes    int64      `json:"bytes"`            // of all these layers
	Added    int64      `json:"added"`            // of the uppermost of them; of an image, of all
	Layer    *int       `json:"layer,omitempty"`  // index of the uppermost of them in the config
	Verdict  Verdict    `json:"verdict,omitempty"`
	Measured bool       `json:"measured,omitempty"`
	Made     bool       `json:"made,omitempty"` // of a Hit: its results were made after the build began
	// Elsewhere says that a Miss did not run: the builder had its result from somewhere other than this cache.
	Elsewhere bool          `json:"elsewhere,omitempty"`
	If        []ConditionOf `json:"if,omitempty"`
	Cause     *CauseOf      `json:"cause,omitempty"`
	step      int
	started   bool // the build says when it began
	line      int  // sorts steps; a step without a line has that of the next one
	newest    result
}

// ConditionOf is a Condition with the ID of its step.
type ConditionOf struct {
	Step  string   `json:"step"`
	Files bool     `json:"files,omitempty"` // files of the step are meant
	Paths []string `json:"paths,omitempty"` // none for all of them
	// Absent are those of the paths that the given directory lacks.
	Absent []string `json:"absent,omitempty"`
	// Same says that both are the same step, of which BuildKit runs one.
	Same bool   `json:"same,omitempty"`
	Text string `json:"text"`

	context string // of files of a local source, its name
}

// CauseOf is a Cause in words, with the ID of its step.
type CauseOf struct {
	Kind   CauseKind     `json:"kind"`
	Step   string        `json:"step,omitempty"`
	Diff   []Difference  `json:"diff,omitempty"`
	Paths  []string      `json:"paths,omitempty"` // which of the step's files, none for all of them
	Files  []FileChange  `json:"files,omitempty"`
	Before string        `json:"before,omitempty"`
	Layer  digest.Digest `json:"layer,omitempty"`
	Text   string        `json:"text"`
	// Own is what has changed in a step itself that follows another one.
	Own *CauseOf `json:"own,omitempty"`

	context string // of files of a local source, its name
}

// ReportOptions are for NewReport. The zero value is usable.
type ReportOptions struct {
	WhyOptions
	// Why decides on the steps; without it they are only named.
	Why bool
	// Next asks what another build of the same steps would find after those described, whose own results count.
	Next bool
	// Redact hides values of variables, commands and other text from the builds.
	Redact bool
}

// NewReport names the records of a cache by the steps of some builds, usually
// one for each platform, and if asked to, says why they miss.
func NewReport(ctx context.Context, c *layout.Cache, builds []*provenance.Build, o ReportOptions) (*Report, error) {
	last, given := builds, o.Contexts
	builds, notes, err := o.next(builds)
	if err != nil {
		return nil, err
	}
	naming := o.Options
	if o.Why {
		naming.Layers = nil // layers are read only where verdicts depend on them
	}
	names, err := NameRecords(ctx, c, builds, naming)
	if err != nil {
		return nil, err
	}
	g, err := newGraph(c)
	if err != nil {
		return nil, err
	}
	r := &Report{Records: []RecordReport{}, Steps: []StepReport{}, Missing: missingContexts(builds, given)}
	r.Warnings = g.warnings(c, names, builds, o)
	r.Notes = slices.Concat(dockerfileNotes(builds, given, o.Redact), ignoreNotes(builds, given, o.Redact), notes)
	for i, b := range builds {
		platform := ""
		if len(builds) > 1 {
			platform = platformOf(b)
		}
		w := words{build: b, redact: o.Redact, contexts: o.Contexts, old: o.Old}
		steps := w.steps(i, names, platform, nameOf(i, builds))
		g.addBases(steps, newPlan(b))
		if o.Why {
			o.last = last[i]
			verdicts, warnings, err := decide(ctx, c, b, o.WhyOptions)
			if err != nil {
				return nil, err
			}
			r.Warnings = append(r.Warnings, warnings...)
			w.addVerdicts(steps, verdicts)
		}
		slices.SortStableFunc(steps, func(x, y StepReport) int { return cmp.Compare(x.line, y.line) })
		r.Steps = append(r.Steps, steps...)
	}
	r.warnOfSteps(c, builds, o)
	r.Total = g.total(r.Steps)
	r.addRecords(names, builds, o.Redact)
	if o.Why {
		r.Hints = r.hints(o)
	}
	if o.Layers != nil {
		r.Unread = o.Layers.unread()
	}
	return r, nil
}

// addRecords adds what records stand for.
func (r *Report) addRecords(names []Record, builds []*provenance.Build, redact bool) {
	for _, n := range names {
		r.Records = append(r.Records, RecordReport{n.Index, n.Digest, n.naming(builds, redact)})
		if n.Kind == KindForeign {
			r.Foreign++
		}
	}
}

// warnings says why verdicts and names may be misleading.
func (g *graph) warnings(c *layout.Cache, names []Record, builds []*provenance.Build, o ReportOptions) []string {
	var all []string
	if o.Why {
		all = append(importWarnings(c), g.madeWarning(names, builds)...)
	}
	all = append(all, g.strangerWarnings(names, builds, o.Old)...)
	all = append(all, doubleWarnings(builds)...)
	return append(all, absentWarnings(names, builds, o.Contexts, o.Redact)...)
}

// importWarnings says what keeps BuildKit from importing the whole cache.
func importWarnings(c *layout.Cache) []string {
	if len(c.RawRoot) > buildcache.MaxImport || len(c.RawConfig) > buildcache.MaxImport {
		return []string{"root or config is over the 1 MiB that BuildKit imports: nothing hits this cache"}
	}
	if hasErrors(c) {
		return []string{"the cache has errors by which BuildKit loses hits"}
	}
	return nil
}

// warnOfSteps says what the steps reveal to be wrong, and whether verifying tells more about it.
func (r *Report) warnOfSteps(c *layout.Cache, builds []*provenance.Build, o ReportOptions) {
	r.Warnings = append(append(r.Warnings, r.goneWarnings()...), unknownContexts(builds, o.Contexts)...)
	if r.Verify == "" && o.Why && hasErrors(c) {
		r.Verify = VerifyCache
	}
}

// hasErrors reports whether the root or the config has an error that costs BuildKit hits.
func hasErrors(c *layout.Cache) bool {
	return buildcache.HasErrors(buildcache.Validate(c.Root, int64(len(c.RawRoot)), c.Config))
}

// nameOf returns a name that distinguishes a build from others for the same platform, "" if there are none.
func nameOf(build int, builds []*provenance.Build) string {
	for i, b := range builds {
		if i != build && platformOf(b) == platformOf(builds[build]) {
			return cmp.Or(builds[build].Name, fmt.Sprintf("build %d", build+1))
		}
	}
	return ""
}

func platformOf(b *provenance.Build) string {
	if b.Target != "" {
		return b.Target
	}
	return b.Builder.String()
}

// missingContexts returns the names of local sources that were not given.
func missingContexts(builds []*provenance.Build, given Contexts) []string {
	var missing []string
	for _, b := range builds {
		for _, s := range b.Steps {
			if s.Op.Source == nil || !s.Op.Source.IsLocal() {
				continue
			}
			_, name := s.Op.Source.Scheme()
			if _, ok := given[name]; !ok && !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
		}
	}
	return missing
}

// steps returns the steps of a build with what the cache has of them.
func (w *words) steps(build int, names []Record, platform, name string) []StepReport {
	all := []StepReport{}
	at := map[int]int{}
	order := w.lineOrder()
	for i, s := range w.build.Steps {
		if s.Op.IsResult() || s.Op.Source != nil && s.Op.Source.IsLocal() {
			continue
		}
		at[i] = len(all)
		all = append(all, StepReport{
			ID: w.build.Steps[i].ID, Build: build, Name: name, Platform: platform, Text: w.title(i), Where: w.where(i), Records: []int{}, step: i,
			line: order[i], started: !w.build.Started.IsZero(),
		})
	}
	for _, r := range names {
		for _, name := range r.Names {
			if i, ok := at[name.Step]; ok && name.Build == build && name.User < 0 {
				all[i].add(r)
			}
		}
	}
	return all
}

// lineOrder returns the position of each step's line, or that of the next step that has one.
func (w *words) lineOrder() []int {
	order := make([]int, len(w.build.Steps))
	next := math.MaxInt
	for step := len(order) - 1; step >= 0; step-- {
		if at, ok := w.build.Where(step); ok {
			next = at.File<<24 | min(at.Start, 1<<24-1)
		}
		order[step] = next
	}
	return order
}

func (s *StepReport) add(r Record) {
	s.Records = append(s.Records, r.Index)
	s.Results += r.Results
	if r.Results > 0 && (s.Newest == nil || r.Newest.After(*s.Newest)) {
		s.Newest, s.Layers, s.Bytes, s.Added = &r.Newest, r.Layers, r.Bytes, r.Added
		if r.Layer >= 0 {
			s.newest, s.Layer = r.newest, &r.Layer
		}
	}
}

func (w *words) addVerdicts(steps []StepReport, verdicts []StepVerdict) {
	at := map[int]int{}
	for i := range steps {
		at[steps[i].step] = i
	}
	for _, v := range verdicts {
		i, ok := at[v.Step]
		if !ok {
			continue
		}
		s := &steps[i]
		s.Verdict, s.Measured, s.Made = v.Verdict, v.Measured, v.Made
		for _, c := range v.If {
			s.If = append(s.If, w.condition(c))
		}
		if v.Cause != nil {
			s.Cause = w.cause(v.Step, v.Cause)
			if s.Elsewhere = v.Elsewhere; v.Elsewhere {
				s.Cause.Text += " (it did not run all the same: the builder had it, and not from this cache)"
			}
		}
	}
}

// Misses returns the least number of steps that miss. Of steps that are the same, one does.
func (r *Report) Misses() int {
	if slices.ContainsFunc(r.Steps, StepReport.IsDouble) {
		return r.Count(Miss) + 1
	}
	return r.Count(Miss)
}

// IsDouble reports whether a step misses unless another one, which is the same, runs in its place.
func (s StepReport) IsDouble() bool { return s.Verdict == Maybe && s.Cause != nil }

// Count returns how many steps have a verdict.
func (r *Report) Count(v Verdict) int {
	n := 0
	for _, s := range r.Steps {
		if s.Verdict == v {
			n++
		}
	}
	return n
}

// Made returns how many steps hit results that were made after their build began.
func (r *Report) Made() int {
	n := 0
	for _, s := range r.Steps {
		if s.Made {
			n++
		}
	}
	return n
}
