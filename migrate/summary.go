package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dustin/go-humanize/english"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// Summary is what a run did, or what a check found would be done.
type Summary struct {
	Shard string `json:"shard,omitempty"`
	Only  Cause  `json:"only,omitempty"`
	Dry   bool   `json:"-"` // from a check
	Plan  *Plan  `json:"-"`
	// Stopped says that the run ended early: what it did not reach counts as not tried, as far as sources were listed.
	Stopped bool `json:"stopped,omitempty"`
	Counts
	Migrations []*Result `json:"migrations"`
	// Causes are the failures by cause; those with the most caches first.
	Causes []CauseGroup `json:"causes,omitempty"`
	// Registries are what a plan means for each registry, according to a check.
	Registries []RegistryUse `json:"registries,omitempty"`
	// Requests counts the requests for caches; in a check, all requests.
	Requests int64 `json:"requests"`
	// Moved is how many bytes all attempts have sent, Saved how many did not have to be sent, and had not been sent before for the same cache.
	Moved int64          `json:"moved"`
	Saved int64          `json:"saved"`
	Took  layout.Seconds `json:"seconds"`
	// Freed is what rules dropped from caches on their way, by rule.
	Freed []buildcache.Freed `json:"freed,omitempty"`
	// Exceeding is how many caches have more bytes of layers, after recompressing, than the rule about bytes allows, and Exceeds how many the
	// largest of them has. Estimated is how many caches a check could only estimate: more may be dropped from them to make them fit.
	Exceeding int   `json:"exceeding,omitempty"`
	Exceeds   int64 `json:"exceeds,omitempty"`
	Estimated int   `json:"estimated,omitempty"`
}

// addPruning adds what pruning on the way said about a cache, other than what it dropped.
func (s *Summary) addPruning(p *convert.Pruning) {
	switch {
	case p == nil:
		return
	case p.Exceeds > 0:
		s.Exceeding++
		s.Exceeds = max(s.Exceeds, p.Exceeds)
	}
	if p.Estimated {
		s.Estimated++
	}
}

// Counts are what became of caches.
type Counts struct {
	Planned int `json:"planned"` // caches that were to be at their targets
	Became
	Before      int `json:"before"`    // done by an earlier run, and unchanged at the source
	Others      int `json:"others"`    // entries that are not caches, and were skipped
	LeftOut     int `json:"leftOut"`   // by tags
	OtherShards int `json:"elsewhere"` // those of other shards
	NotMeant    int `json:"notMeant"`  // left out by Options.Only
}

func (c *Counts) add(d Counts) {
	c.Planned += d.Planned
	c.plus(d.Became)
	c.Before += d.Before
	c.Others += d.Others
	c.LeftOut += d.LeftOut
	c.OtherShards += d.OtherShards
	c.NotMeant += d.NotMeant
}

// rest returns how many planned caches have no outcome yet.
func (c Counts) rest() int {
	return max(c.Planned-c.Done-c.There-c.Before-c.caches(), 0)
}

// Result is what became of a migration.
type Result struct {
	Source string `json:"source"`
	Target string `json:"target"`
	As     string `json:"as,omitempty"`
	Counts
	LeftOutBy map[string]int `json:"leftOutBy,omitempty"` // by the filter that left them out
	Cause     Cause          `json:"cause,omitempty"`     // why the source could not be worked on
	Error     string         `json:"error,omitempty"`
}

// CauseGroup are the caches that failed for one kind of reason.
type CauseGroup struct {
	Cause Cause `json:"cause"`
	Count int   `json:"count"`
	// Failed and NotTried are how many of Count failed and were not tried; sources count too.
	Failed   int  `json:"failed,omitempty"`
	NotTried int  `json:"notTried,omitempty"`
	Hopeless bool `json:"hopeless"` // trying again does not help
	// First is one of them, with its tag, and Error is its error; Caches are some of them.
	First  string   `json:"first"`
	Error  string   `json:"error"`
	Caches []string `json:"caches"`
	// Advice says what in a plan may help, "" for nothing.
	Advice string `json:"advice,omitempty"`

	first Record
}

// Err returns the error of the first of them, nil if it is known only from a state.
func (g CauseGroup) Err() error { return g.first.err }

// Ends returns the source and the target of the first of them, as far as a plan can tell.
func (g CauseGroup) Ends() (source, target layout.Reference) {
	source, err := layout.ParseReference(g.first.Source)
	if err == nil && source.Digest == "" {
		source.Tag = cmp.Or(source.Tag, g.first.Tag)
	}
	target, _ = layout.ParseReference(g.first.Target) // "" names nothing
	return source, target
}

// InWords says how many of them failed and how many were not tried.
func (g CauseGroup) InWords() string { return inWords(g.Failed, g.NotTried, 0) }

// shownCaches is how many caches a group names.
const shownCaches = 5

// RegistryUse is what a plan means for one registry.
type RegistryUse struct {
	Host  string `json:"host"`
	Error string `json:"error,omitempty"`
	Read  int    `json:"read"`  // caches to read there
	Write int    `json:"write"` // caches to write there
	// Bytes is roughly how many bytes of layers that is; layers to be recompressed count as they are at the source.
	Bytes int64 `json:"bytes"`
	// Requests is the most requests that the caches take, not counting those for looking.
	Requests int64 `json:"requests"`
}

// IncompleteError says that not everything planned is at its target.
type IncompleteError struct{ Summary *Summary }

func (e *IncompleteError) Error() string {
	s, text := e.Summary, ""
	if left := s.caches(); left > 0 {
		text = fmt.Sprintf("%d of %s not at %s", left, english.Plural(s.Planned, "planned cache", ""), english.PluralWord(s.Planned, "its target", "their targets"))
	}
	if s.Sources > 0 {
		if text != "" {
			text += "; "
		}
		text += english.Plural(s.Sources, "source", "") + " could not be worked on"
	}
	return text
}

// Err returns an *IncompleteError if not everything planned is there, else nil.
func (s *Summary) Err() error {
	if s.Left() == 0 {
		return nil
	}
	return &IncompleteError{Summary: s}
}

// groups collects failures by cause.
type groups map[Cause]*CauseGroup

func (g groups) add(r Record) {
	group := g[r.Cause]
	if group == nil {
		group = &CauseGroup{Cause: r.Cause, Hopeless: r.Cause.IsHopeless(), First: r.Name(), Error: r.Error, Advice: adviceFor(r), first: r}
		g[r.Cause] = group
	}
	if group.Count++; r.Event == EventNotTried {
		group.NotTried++
	} else {
		group.Failed++
	}
	if len(group.Caches) < shownCaches {
		group.Caches = append(group.Caches, r.Name())
	}
}

// adviceFor returns what in a plan may help against a failure, or "".
func adviceFor(r Record) string {
	var auth *registry.AuthError
	switch {
	case r.Cause == CauseAccess && errors.As(r.err, &auth):
		return auth.NextStep()
	case r.Cause == CauseTLS:
		return fmt.Sprintf("in the plan, registries: {%q: {tls_verify: false}} allows plain HTTP and any certificate, for lines of SOURCE and TARGET "+
			"--tls-verify=false does; cert_dir names who is trusted", hostAtFault(r))
	case r.Cause == CauseNotThere && meantHost(r) != "":
		return "did you mean docker://" + meantHost(r) + "?"
	case r.Cause == CauseEmptied:
		return "in the plan, tags.deny leaves such caches out, and prune: keep brings them over whole"
	case r.Cause == CauseRefused && !keepsForm(r.As) && !strings.HasPrefix(r.As, string(convert.AutoForm)):
		return "where it is the form that is refused, to: auto in the plan gives them one that the target takes"
	case r.Cause == CauseRefused && keepsForm(r.As):
		return "these keep their forms; with to: auto in the plan they get one that the target takes"
	}
	return ""
}

// meantHost returns the path that a failure says begins like the name of a registry, or "".
func meantHost(r Record) string {
	for _, text := range []string{r.Source, r.Target} {
		ref, err := layout.ParseReference(text) // parsed because a target has a tag
		host, _, _ := strings.Cut(ref.Path, "/")
		if err == nil && layout.IsHost(host) && strings.Contains(r.Error, (&places.HostError{Path: ref.Path}).Error()) {
			return ref.Path
		}
	}
	return ""
}

// keepsForm reports whether a change, in words, names no form.
func keepsForm(as string) bool {
	word, _, _ := strings.Cut(as, " ")
	_, err := buildcache.ParseForm(word)
	return err != nil && word != string(convert.AutoForm)
}

// hostAtFault returns the registry that a failure names, for advice, or the word HOST.
func hostAtFault(r Record) string {
	for _, text := range []string{r.Target, r.Source} {
		text = strings.NewReplacer(wordRepository, "x", wordTag, "x").Replace(text)
		if ref, err := layout.ParseReference(text); err == nil && hostOf(ref) != "" && strings.Contains(r.Error, hostOf(ref)) {
			return hostOf(ref)
		}
	}
	return "HOST"
}

func (g groups) sorted() []CauseGroup {
	var all []CauseGroup
	for _, group := range g {
		slices.Sort(group.Caches)
		all = append(all, *group)
	}
	slices.SortFunc(all, func(a, b CauseGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Cause, b.Cause))
	})
	return all
}

// uses collects what a plan means for registries.
type uses map[string]*RegistryUse

func (u uses) of(host string) *RegistryUse {
	if u[host] == nil {
		u[host] = &RegistryUse{Host: host}
	}
	return u[host]
}

func (u uses) sorted() []RegistryUse {
	var all []RegistryUse
	for _, host := range slices.Sorted(maps.Keys(u)) {
		all = append(all, *u[host])
	}
	return all
}
