package migrate

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// PlanVersion is the only version of plans so far.
const PlanVersion = 1

// MaxPlan is the largest size of a plan, in bytes.
const MaxPlan = 16 << 20

// Plan says what to bring where.
type Plan struct {
	Version    int                 `json:"version"`
	Registries map[string]Registry `json:"registries,omitempty"` // by host, with its port if it has one
	Defaults   Change              `json:"defaults"`
	// Migrations have one source each: one with a list of sources becomes several.
	Migrations []Migration `json:"migrations"`

	registriesAt map[string]Problem // where they are in the file
}

// Registry is how to talk to one registry.
type Registry struct {
	Rate      float64 `json:"rate,omitempty"`      // requests a second, at most
	Transfers int     `json:"transfers,omitempty"` // blobs at once, at most
	TLSVerify *bool   `json:"tls_verify,omitempty"`
	AuthFile  string  `json:"authfile,omitempty"`
	CertDir   string  `json:"cert_dir,omitempty"`
}

// Change is what caches become on the way. The zero value changes nothing.
type Change struct {
	To          buildcache.Form        `json:"to,omitempty"`
	Compression buildcache.Compression `json:"compression,omitempty"`
	Level       int                    `json:"level,omitempty"`
	Force       bool                   `json:"force,omitempty"`
	For         string                 `json:"for,omitempty"`  // the rules of this registry apply
	Prune       convert.Limits         `json:"prune,omitzero"` // what is dropped on the way; ages count from the beginning of a run
}

// String returns the change in words. They differ if what becomes of a cache may differ.
func (c Change) String() string {
	words := []string{}
	if c.To != "" {
		words = append(words, string(c.To))
	}
	if c.Compression != "" {
		words = append(words, string(c.Compression))
	}
	if c.Level != 0 {
		words = append(words, fmt.Sprint("level ", c.Level))
	}
	if c.Force {
		words = append(words, "forced")
	}
	if c.For != "" {
		words = append(words, "for "+c.For)
	}
	if c.Prune != (convert.Limits{}) {
		words = append(words, c.Prune.String())
	}
	return strings.Join(words, " ")
}

// rules returns the profile that applies to a target, and whether there is one.
func (c Change) rules(target layout.Reference) (registry.Profile, bool) {
	if c.For != "" {
		if profile, ok := registry.ProfileByName(c.For); ok {
			return profile, true
		}
		return registry.ProfileForHost(c.For)
	}
	if target.Transport != layout.TransportRegistry {
		return registry.Profile{}, false
	}
	profile, _ := registry.ProfileForRepository(target.Path) // or the zero profile, which takes any form
	return profile, true
}

// Migration is one source and where its caches go.
type Migration struct {
	Source string `json:"source"`
	Target string `json:"target"` // with {repository} and {tag}
	Tags   Tags   `json:"tags"`
	Change
	Line int `json:"-"` // in the plan

	file string // the name of the plan, or of the lines
}

// Tags choose among the tags of a source.
type Tags struct {
	Allow []string `json:"allow,omitempty"` // regular expressions for whole tags; none allows all
	Deny  []string `json:"deny,omitempty"`
	// Min is how many tags have to be chosen; fewer are an error.
	Min int `json:"min"`

	allow, deny []*regexp.Regexp
}

// Chooses reports whether a tag is chosen, and if not, by which filter: "allow" or "deny".
func (t Tags) Chooses(tag string) (chosen bool, filter string) {
	match := func(re *regexp.Regexp) bool {
		found := re.FindStringIndex(tag)
		return found != nil && found[0] == 0 && found[1] == len(tag)
	}
	switch {
	case len(t.allow) > 0 && !slices.ContainsFunc(t.allow, match):
		return false, "allow"
	case slices.ContainsFunc(t.deny, match):
		return false, "deny"
	}
	return true, ""
}

// The words in a target that stand for parts of a source.
const (
	wordRepository = "{repository}"
	wordTag        = "{tag}"
)

// unknownWord matches a word in braces that stands for nothing, once the known ones have been replaced.
var unknownWord = regexp.MustCompile(`\{[^{}]*\}`)

// targetFor returns where a cache goes. The reference has a tag if the target names one.
func (m Migration) targetFor(source layout.Reference, tag string) (layout.Reference, error) {
	if tag != "" && layout.CheckNewTag(tag) != nil && hasTagInPlace(m.Target) {
		return layout.Reference{}, &BadTagError{Tag: tag, Target: m.Target}
	}
	ref, err := layout.ParseReference(fill(m.Target, m.repositoryOf(source), cmp.Or(tag, layout.DefaultTag)))
	switch {
	case err != nil:
		return ref, err
	case ref.Transport == layout.TransportStream || ref.Transport == layout.TransportArchive:
		return ref, fmt.Errorf("%w: caches can't be added to %s, only to a place that keeps them one by one", layout.ErrReference, ref)
	case ref.Digest != "":
		return ref, fmt.Errorf("%w: %s: give a tag, not a digest; the digest follows from what is written", layout.ErrReference, ref)
	}
	return ref, nil
}

// fill puts a repository and a tag into a target. It runs several times for each cache, for which a strings.Replacer is too slow.
func fill(target, repository, tag string) string {
	var filled strings.Builder
	for {
		before, rest, found := strings.Cut(target, "{")
		filled.WriteString(before)
		if !found {
			return filled.String()
		}
		target = rest
		switch {
		case strings.HasPrefix(rest, wordRepository[1:]):
			filled.WriteString(repository)
			target = rest[len(wordRepository)-1:]
		case strings.HasPrefix(rest, wordTag[1:]):
			filled.WriteString(tag)
			target = rest[len(wordTag)-1:]
		default:
			filled.WriteByte('{')
		}
	}
}

// ParsePlan reads a plan: YAML, or lines of SOURCE and TARGET. name is for messages. It fails with a *PlanError that lists
// everything that is wrong.
func ParsePlan(name string, raw []byte) (*Plan, error) {
	raw = bytes.TrimPrefix(raw, byteOrderMark)
	if len(raw) > MaxPlan {
		return nil, &PlanError{Name: name, Problems: []Problem{{Text: fmt.Sprintf("it has more than %d bytes", MaxPlan)}}}
	}
	if isPairs(raw) {
		p := &Plan{Version: PlanVersion}
		return p, p.AddPairs(name, raw)
	}
	d := &decoder{name: name}
	plan := d.document(raw)
	if len(d.problems) > 0 {
		return nil, &PlanError{Name: name, Problems: d.sorted()}
	}
	return plan, nil
}

// byteOrderMark is how some editors begin files.
var byteOrderMark = []byte("\uFEFF")

// isPairs reports whether a plan is made of lines of SOURCE and TARGET: its first line has two words, and the first is not YAML.
func isPairs(raw []byte) bool {
	for line := range bytes.Lines(raw) {
		words := bytes.Fields(withoutComment(line))
		if len(words) > 0 {
			return len(words) == 2 && !isYAML(words[0])
		}
	}
	return false
}

// isYAML reports whether the first word of a file is YAML: a key, a list item, the start of a document, or a directive.
func isYAML(word []byte) bool {
	return bytes.HasSuffix(word, []byte(":")) || bytes.HasPrefix(word, []byte("%")) || slices.Contains([]string{"-", "---"}, string(word))
}

// withoutComment cuts a comment off a line. A # inside a word does not begin one.
func withoutComment(line []byte) []byte {
	if at := bytes.IndexByte(line, '#'); at == 0 || at > 0 && (line[at-1] == ' ' || line[at-1] == '\t') {
		return line[:at]
	}
	return line
}

// AddPairs adds a migration with the plan's defaults for each line of SOURCE and TARGET. What follows a # is a comment.
func (p *Plan) AddPairs(name string, raw []byte) error {
	d, before := &decoder{}, len(p.Migrations)
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(raw, byteOrderMark)))
	lines.Buffer(nil, MaxPlan)
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(string(withoutComment(lines.Bytes())))
		at := &yaml.Node{Line: n, Column: 1}
		switch len(words) {
		case 0:
		case 2:
			m := Migration{Source: words[0], Target: words[1], Tags: Tags{Min: 1}, Change: p.Defaults, Line: n, file: name}
			d.checkMigration(at, nil, m)
			p.Migrations = append(p.Migrations, m)
		default:
			d.say(at, "it has %d words; want SOURCE TARGET", len(words))
		}
	}
	if err := lines.Err(); err != nil {
		d.problems = append(d.problems, Problem{Text: err.Error()})
	}
	if len(p.Migrations) == before && len(d.problems) == 0 {
		d.problems = append(d.problems, Problem{Text: "it has no lines; want SOURCE TARGET in each"})
	}
	if len(d.problems) > 0 {
		return &PlanError{Name: name, Problems: d.sorted()}
	}
	return nil
}

// Hosts returns the registries that a plan names, sorted.
func (p *Plan) Hosts() []string {
	hosts := map[string]bool{}
	for _, m := range p.Migrations {
		source, err := layout.ParseReference(m.Source)
		if err != nil {
			continue // it was checked
		}
		for _, host := range hostsOf(source) {
			hosts[host] = true
		}
		if target, err := m.targetFor(source, ""); err == nil {
			for _, host := range hostsOf(target) {
				hosts[host] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(hosts))
}
