package migrate

import (
	"bytes"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// document reads the single document of a plan.
func (d *decoder) document(raw []byte) *Plan {
	var document, more yaml.Node
	if after, ok := bytes.CutPrefix(raw, []byte("%YAML 1.2")); ok { // which the library can read, but refuses for its number
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
		"migrations": func(n *yaml.Node) { migrations = target(n) }, // after the defaults, in whatever order they are
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

// changeKeys read a change. They set compressed if it has a compression, and levelled if it has a level.
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
				d.say(n, "to: %v, or auto, or keep%s", err, asked(text, append(namesOf(buildcache.Forms()), string(convert.AutoForm), keep)))
			default:
				c.To = form
			}
		}),
		"compression": d.text("compression", func(n *yaml.Node, text string) {
			compression, err := buildcache.ParseCompression(text)
			if err != nil && text != keep {
				d.say(n, "compression: %v, or keep%s", err, asked(text, append(namesOf(buildcache.Compressions()), keep)))
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

// namesOf returns names as plain strings.
func namesOf[T ~string](all []T) []string {
	words := make([]string, len(all))
	for i, name := range all {
		words[i] = string(name)
	}
	return words
}

// prune reads what is dropped on the way. It takes nothing over from the defaults.
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

// migrations reads a migration, which becomes one for each of its sources.
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
		d.checkMigration(s.at, at["to"], m)
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
			re.Longest() // to find the whole tag, if that matches
			*texts, *into = append(*texts, text), append(*into, re)
		}
	}
	d.mapping(n, "tags", keys{
		"allow": d.texts("allow", pattern(&t.Allow, &t.allow)),
		"deny":  d.texts("deny", pattern(&t.Deny, &t.deny)),
		"min":   d.whole("min", math.MaxInt32, &t.Min),
	})
}
