package migrate

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// decoder reads a plan from the nodes of a document, which know where they stand, and gathers what is wrong.
type decoder struct {
	name     string // of the file
	problems []Problem
	read     int // values
}

const (
	// maxRead bounds how many values are read: aliases make many of few. Those of lists, sources and expressions, count as costOfItem.
	maxRead    = 2_000_000
	costOfItem = 10
	// maxProblems bounds how many problems are named.
	maxProblems = 100
)

// reads reports whether one more value may be read. The first one that may not is said.
func (d *decoder) reads(n *yaml.Node, cost int) bool {
	before := d.read
	d.read += cost
	if before < maxRead && d.read >= maxRead {
		d.problems = d.problems[:min(len(d.problems), maxProblems-1)]
		d.say(n, "here it has become too large: lists and aliases stand for more than %d values", maxRead/costOfItem)
	}
	return d.read < maxRead
}

func (d *decoder) say(at *yaml.Node, format string, args ...any) {
	if len(d.problems) >= maxProblems {
		return
	}
	d.problems = append(d.problems, Problem{Line: at.Line, Column: at.Column, Text: fmt.Sprintf(format, args...)})
}

// lineOfError finds the line in what the YAML library says; it tells in no other way.
var lineOfError = regexp.MustCompile(`^yaml: line (\d+): `)

// unreadable is for what is no YAML.
func (d *decoder) unreadable(err error) {
	p := Problem{Text: strings.TrimPrefix(err.Error(), "yaml: ")}
	if match := lineOfError.FindStringSubmatch(err.Error()); match != nil {
		p.Line, _ = strconv.Atoi(match[1]) // it is a number
		p.Column, p.Text = 1, strings.TrimPrefix(err.Error(), match[0])
	}
	p.Text = "this is no YAML: " + p.Text
	d.problems = append(d.problems, p)
}

// target returns what an alias stands for.
func target(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

// keys are the functions that read the values of a mapping's keys.
type keys map[string]func(*yaml.Node)

// mapping reads a mapping, and names each key that is unknown or there twice. It returns where the keys stand.
func (d *decoder) mapping(n *yaml.Node, what string, known keys) map[string]*yaml.Node {
	at := map[string]*yaml.Node{}
	d.pairs(n, what, func(key, value *yaml.Node) {
		read, ok := known[key.Value]
		if !ok {
			d.say(key, "unknown key %q in %s; there are %s", key.Value, what, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
			return
		}
		at[key.Value] = key
		read(value)
	})
	return at
}

// pairs hands each pair of a mapping on.
func (d *decoder) pairs(n *yaml.Node, what string, take func(key, value *yaml.Node)) {
	n = target(n)
	if n.Kind != yaml.MappingNode {
		d.say(n, "%s is %s; want keys and values", what, kindOf(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !d.reads(key, 1) {
			return
		}
		switch {
		case target(key).Kind != yaml.ScalarNode || key.Kind == yaml.AliasNode:
			d.say(key, "a key of %s is %s; want a word", what, kindOf(key))
		case seen[key.Value]:
			d.say(key, "the key %q is there twice in %s", key.Value, what)
		default:
			seen[key.Value] = true
			take(key, value)
		}
	}
}

// kindOf says what a node is, for a message.
func kindOf(n *yaml.Node) string {
	switch target(n).Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if target(n).ShortTag() == "!!null" {
			return "nothing"
		}
		return fmt.Sprintf("%q", target(n).Value)
	default:
		return "an alias"
	}
}

// text reads a word. A tag that looks like a number, or a date, is one too.
func (d *decoder) text(what string, into func(*yaml.Node, string)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if value := target(n); value.Kind != yaml.ScalarNode || value.ShortTag() == "!!null" || value.Value == "" {
			d.say(n, "%s is %s; want a word", what, kindOf(n))
		} else {
			into(n, value.Value)
		}
	}
}

// texts reads a list of words, or one.
func (d *decoder) texts(what string, into func(*yaml.Node, string)) func(*yaml.Node) {
	return func(n *yaml.Node) {
		list := target(n)
		if list.Kind != yaml.SequenceNode {
			d.text(what, into)(n)
			return
		}
		if len(list.Content) == 0 {
			d.say(n, "%s is an empty list", what)
		}
		for _, item := range list.Content {
			if !d.reads(item, costOfItem) {
				return
			}
			d.text(what, into)(item)
		}
	}
}

// whole reads a number from 0 to most.
func (d *decoder) whole(what string, most int, into *int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		value, err := strconv.Atoi(target(n).Value)
		if target(n).Kind != yaml.ScalarNode || err != nil || value < 0 || value > most {
			d.say(n, "%s is %s; want a whole number from 0 to %d", what, kindOf(n), most)
			return
		}
		*into = value
	}
}

// truth reads true or false.
func (d *decoder) truth(what string, into *bool) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if value := target(n); value.ShortTag() != "!!bool" || value.Decode(into) != nil {
			d.say(n, "%s is %s; want true or false", what, kindOf(n))
		}
	}
}

// document reads the one document that a plan is.
func (d *decoder) document(raw []byte) *Plan {
	var document, more yaml.Node
	if after, ok := bytes.CutPrefix(raw, []byte("%YAML 1.2")); ok { // which the library reads, but for its name
		raw = append([]byte("%YAML 1.1"), after...)
	}
	in := yaml.NewDecoder(bytes.NewReader(raw))
	err := in.Decode(&document)
	switch {
	case errors.Is(err, io.EOF):
		d.say(&document, "it is empty; a plan begins with version: %d", PlanVersion)
		return nil
	case err != nil:
		d.unreadable(err)
		return nil
	}
	plan := d.plan(document.Content[0])
	switch err := in.Decode(&more); {
	case err == nil:
		d.say(&more, "another document begins here; a plan is one")
	case !errors.Is(err, io.EOF):
		d.unreadable(err)
	}
	return plan
}

func (d *decoder) plan(n *yaml.Node) *Plan {
	p := &Plan{Registries: map[string]Registry{}, registriesAt: map[string]Problem{}}
	var migrations *yaml.Node
	at := d.mapping(n, "the plan", keys{
		"version": func(n *yaml.Node) {
			if target(n).Value != strconv.Itoa(PlanVersion) {
				d.say(n, "version is %s; this program knows version %d", kindOf(n), PlanVersion)
			}
			p.Version = PlanVersion
		},
		"registries": func(n *yaml.Node) {
			d.pairs(n, "registries", func(key, value *yaml.Node) {
				if !layout.IsHost(key.Value) {
					d.say(key, "%q is no host; want HOST or HOST:PORT, as references name it", key.Value)
				}
				p.Registries[key.Value] = d.registry(value)
				p.registriesAt[key.Value] = Problem{Line: key.Line, Column: key.Column}
			})
		},
		"defaults": func(n *yaml.Node) {
			d.mapping(n, "defaults", d.changeKeys(&p.Defaults, new(bool), new(bool)))
		},
		"migrations": func(n *yaml.Node) { migrations = target(n) }, // after the defaults, wherever they stand
	})
	if at["version"] == nil && target(n).Kind == yaml.MappingNode {
		d.say(n, "the plan has no version; want version: %d", PlanVersion)
	}
	switch {
	case migrations == nil:
	case migrations.Kind != yaml.SequenceNode:
		d.say(migrations, "migrations is %s; want a list", kindOf(migrations))
	default:
		for _, item := range migrations.Content {
			if !d.reads(item, 1) {
				break
			}
			p.Migrations = append(p.Migrations, d.migrations(item, p.Defaults)...)
		}
	}
	return p
}

// maxTransfers bounds how many blobs of a registry may be worked on at once.
const maxTransfers = 1024

func (d *decoder) registry(n *yaml.Node) Registry {
	var r Registry
	d.mapping(n, "a registry", keys{
		"rate": func(n *yaml.Node) {
			value, err := strconv.ParseFloat(target(n).Value, 64)
			if r.Rate = value; err != nil || value <= 0 || math.IsInf(value, 0) || math.IsNaN(value) {
				d.say(n, "rate is %s; want requests a second, more than 0", kindOf(n))
				r.Rate = 0
			}
		},
		"transfers": func(n *yaml.Node) {
			if d.whole("transfers", maxTransfers, &r.Transfers)(n); target(n).Value == "0" {
				d.say(n, "transfers is 0; want 1 or more")
			}
		},
		"tls_verify": func(n *yaml.Node) { r.TLSVerify = new(bool); d.truth("tls_verify", r.TLSVerify)(n) },
		"authfile":   d.text("authfile", func(_ *yaml.Node, text string) { r.AuthFile = text }),
		"cert_dir":   d.text("cert_dir", func(_ *yaml.Node, text string) { r.CertDir = text }),
	})
	return r
}

// keep is the word for what a migration leaves as it is, whatever the defaults say.
const keep = "keep"

// changeKeys read a change. compressed says whether there was a compression, levelled whether there was a level.
func (d *decoder) changeKeys(c *Change, compressed, levelled *bool) keys {
	return keys{
		"to": d.text("to", func(n *yaml.Node, text string) {
			form, err := buildcache.ParseForm(text)
			switch {
			case text == keep:
				c.To = ""
			case text == string(convert.AutoForm):
				c.To = convert.AutoForm
			case err != nil:
				d.say(n, "to: %v, or auto, or keep", err)
			default:
				c.To = form
			}
		}),
		"compression": d.text("compression", func(n *yaml.Node, text string) {
			compression, err := buildcache.ParseCompression(text)
			if err != nil && text != keep {
				d.say(n, "compression: %v, or keep", err)
			}
			c.Compression, *compressed = compression, true
		}),
		"level": func(n *yaml.Node) { *levelled = true; d.whole("level", 100, &c.Level)(n) },
		"force": d.truth("force", &c.Force),
		"for": d.text("for", func(n *yaml.Node, text string) {
			c.For = text
			if _, ok := c.rules(layout.Reference{}); !ok {
				d.say(n, "for: no rules are known for a registry %q ('ocicache registries' lists the names)", text)
			}
		}),
		"prune": func(n *yaml.Node) { d.prune(n, &c.Prune) },
	}
}

// prune reads what is dropped on the way: all of it is said here, or nothing.
func (d *decoder) prune(n *yaml.Node, into *convert.Limits) {
	*into = convert.Limits{}
	if value := target(n); value.Kind == yaml.ScalarNode && value.Value == keep {
		return
	}
	check := func(n *yaml.Node, one convert.Limits) {
		var wrong *convert.LimitError
		if _, err := one.Rules(time.Now()); errors.As(err, &wrong) {
			d.say(n, "%s: %v", strings.ReplaceAll(string(wrong.Rule), "-", "_"), wrong.Err)
		}
	}
	at := d.mapping(n, "prune", keys{
		"older_than": d.text("older_than", func(n *yaml.Node, text string) {
			into.OlderThan = text
			check(n, convert.Limits{OlderThan: text})
		}),
		"leaves": d.truth("leaves", &into.Leaves),
		"keep_records": func(n *yaml.Node) {
			if d.whole("keep_records", math.MaxInt32, &into.KeepRecords)(n); target(n).Value == "0" {
				d.say(n, "keep_records is 0; want 1 or more")
			}
		},
		"keep_bytes": d.text("keep_bytes", func(n *yaml.Node, text string) {
			into.KeepBytes = text
			check(n, convert.Limits{KeepBytes: text})
		}),
		"fit": d.truth("fit", &into.Fit),
	})
	if target(n).Kind == yaml.MappingNode && len(at) == 0 {
		d.say(n, "prune has no rules; want some, or keep")
	}
}

// migrations reads a migration, which is one for each of its sources.
func (d *decoder) migrations(n *yaml.Node, defaults Change) []Migration {
	type source struct {
		at   *yaml.Node
		text string
	}
	var sources []source
	m := Migration{Change: Change{To: defaults.To, For: defaults.For, Prune: defaults.Prune}, Tags: Tags{Min: 1}, Line: target(n).Line, file: d.name}
	compressed, levelled, forced := false, false, false
	known := d.changeKeys(&m.Change, &compressed, &levelled)
	force := known["force"]
	known["force"] = func(n *yaml.Node) { forced = true; force(n) }
	known["source"] = d.texts("source", func(n *yaml.Node, text string) { sources = append(sources, source{n, text}) })
	known["target"] = d.text("target", func(_ *yaml.Node, text string) { m.Target = text })
	known["tags"] = func(n *yaml.Node) { d.tags(n, &m.Tags) }
	before := len(d.problems)
	at := d.mapping(n, "a migration", known)
	// The level and force of the defaults belong to their compression.
	if !compressed {
		m.Compression = defaults.Compression
		if !levelled {
			m.Level = defaults.Level
		}
		if !forced {
			m.Force = defaults.Force
		}
	}
	for _, key := range []string{"source", "target"} {
		if target(n).Kind == yaml.MappingNode && at[key] == nil {
			d.say(n, "a migration has no %s", key)
		}
	}
	if len(d.problems) > before {
		return nil
	}
	var all []Migration
	for _, s := range sources {
		m.Source = s.text
		d.checkMigration(s.at, m)
		all = append(all, m)
	}
	d.checkTogether(at["target"], all)
	return all
}

// tags reads which tags are chosen.
func (d *decoder) tags(n *yaml.Node, t *Tags) {
	pattern := func(texts *[]string, into *[]*regexp.Regexp) func(*yaml.Node, string) {
		return func(n *yaml.Node, text string) {
			re, err := regexp.Compile(text)
			if err != nil {
				d.say(n, "%q is no regular expression: %s", text, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
				return
			}
			re.Longest() // so that what it finds is the whole tag, if it can be
			*texts, *into = append(*texts, text), append(*into, re)
		}
	}
	d.mapping(n, "tags", keys{
		"allow": d.texts("allow", pattern(&t.Allow, &t.allow)),
		"deny":  d.texts("deny", pattern(&t.Deny, &t.deny)),
		"min":   d.whole("min", math.MaxInt32, &t.Min),
	})
}

// checkMigration says whether source, target and change make sense together.
func (d *decoder) checkMigration(at *yaml.Node, m Migration) {
	source, err := m.parseSource()
	if err != nil {
		d.say(at, "source: %v", err)
		return
	}
	if (source.Tag != "" || source.Digest != "") && len(m.Tags.Allow)+len(m.Tags.Deny) > 0 {
		d.say(at, "source: %s names one cache already, so that there are no tags to choose from", source)
	}
	words := strings.NewReplacer(wordRepository, "", wordTag, "").Replace(m.Target)
	if word := unknownWord.FindString(words); word != "" {
		d.say(at, "target: %s stands for nothing; there are %s and %s", word, wordRepository, wordTag)
		return
	}
	if strings.Contains(m.Target, wordRepository) && m.repositoryOf(source) == "" {
		d.say(at, "target: %s has no name that %s could stand for", m.Source, wordRepository)
		return
	}
	to, err := m.targetFor(source, "tag")
	if err == nil {
		err = checkRepository(to)
	}
	if err != nil {
		d.say(at, "target: %v", err)
		return
	}
	if isInPlace(source, to) && (source.IsLocal() || m.To == "" && m.Compression == "") {
		d.say(at, "source and target are the same place")
	}
	d.checkChange(at, m, source, to)
}

// checkChange says whether a change makes sense, and where it is made. to is where the tag "tag" goes.
func (d *decoder) checkChange(at *yaml.Node, m Migration, source, to layout.Reference) {
	if m.prunesSource(source, to) {
		d.say(at, "prune: source and target are the same, which would be pruned itself; 'ocicache prune' does that")
	}
	o, err := m.options(to, time.Now())
	if err = cmp.Or(err, o.Check()); err != nil {
		d.say(at, "%v", err)
	}
}

// prunesSource reports whether a cache may be pruned where it is.
func (m Migration) prunesSource(source, to layout.Reference) bool {
	switch {
	case m.Prune == (convert.Limits{}) || placeOf(source) != placeOf(to):
		return false
	case strings.Contains(m.Target, wordTag):
		return to.Tag == "tag"
	default:
		return to.Tag == "" || to.Tag == source.Tag || source.Tag == "" && source.Digest == ""
	}
}

// parseSource reads where caches come from.
func (m Migration) parseSource() (layout.Reference, error) {
	source, err := layout.ParseReference(m.Source)
	switch {
	case err != nil:
		return source, err
	case source.Transport == layout.TransportStream:
		return source, fmt.Errorf("%w: a stream (-) is no place", layout.ErrReference)
	}
	return source, checkRepository(source)
}

// checkRepository refuses what can't be the name of a repository.
func checkRepository(ref layout.Reference) error {
	if ref.Transport == layout.TransportRegistry && hostOf(ref) == "" {
		return fmt.Errorf("%w: %s is no name of a repository", layout.ErrReference, ref)
	}
	return nil
}

// checkTogether refuses a list of sources whose caches would replace one another.
func (d *decoder) checkTogether(at *yaml.Node, all []Migration) {
	seen := map[string]Migration{}
	for _, m := range all {
		to := m.place()
		if other, ok := seen[to]; ok && !m.choosesOther(other) {
			d.say(at, "target: %s and %s both go to %s, and would replace each other's tags; use %s", other.Source, m.Source, to, wordRepository)
			return
		}
		seen[to] = m
	}
}

// options returns what a conversion to a target does at a time, from which ages count.
func (m Migration) options(to layout.Reference, now time.Time) (convert.Options, error) {
	o := convert.Options{Form: m.To, Compression: m.Compression, Level: m.Level, Force: m.Force}
	if profile, ok := m.rules(to); ok {
		o.Rules = profile
	}
	var err error
	o.Prune, err = m.Prune.Rules(now)
	return o, err
}
