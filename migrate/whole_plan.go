package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// Check checks a plan as a whole, with the pairs that were added to it. It fails with a *PlanError if the plan has no migrations, or if
// caches of several would surely replace one another, or be taken for those of one source. name is for messages.
func (p *Plan) Check(name string) error {
	if len(p.Migrations) == 0 {
		return &PlanError{Name: name, Problems: []Problem{{Text: "it has no migrations"}}}
	}
	d := &decoder{}
	seen := map[string]Migration{}
	for _, m := range p.Migrations {
		to := m.place()
		other, ok := seen[to]
		if !ok {
			seen[to] = m
			continue
		}
		if reason := m.collides(other); reason != "" {
			at := &yaml.Node{Line: m.Line, Column: 1}
			if m.file != name {
				at, reason = &yaml.Node{}, fmt.Sprintf("%s, line %d: %s", m.file, m.Line, reason)
			}
			d.say(at, "%s", reason)
		}
	}
	if len(d.problems) > 0 {
		return &PlanError{Name: name, Problems: d.sorted()}
	}
	return nil
}

// CheckFiles fails if files with credentials, or directories with certificates, that a plan has for registries of its migrations can't be
// read. The error lists all of them, and wraps a *places.NotThereError for one that does not exist. name is for messages.
func (p *Plan) CheckFiles(name string) error {
	var wrong []error
	for _, host := range p.Hosts() {
		said := p.Registries[host]
		for _, named := range []struct {
			key, path string
			check     func(string) error
		}{{"authfile", said.AuthFile, registry.CheckAuthFile}, {"cert_dir", said.CertDir, registry.CheckCertDir}} {
			if named.path == "" {
				continue
			}
			err := named.check(named.path)
			if errors.Is(err, fs.ErrNotExist) {
				err = &places.NotThereError{Path: named.path}
			}
			if err != nil {
				at := p.registriesAt[host]
				at.Text = fmt.Sprintf("%s of %s", named.key, host)
				wrong = append(wrong, fmt.Errorf("plan %s: %v: %w", name, at, err))
			}
		}
	}
	return errors.Join(wrong...)
}

// place returns the target with {repository} filled in.
func (m Migration) place() string {
	source, err := layout.ParseReference(m.Source)
	if err != nil {
		return m.Target // it was reported
	}
	return strings.ReplaceAll(m.Target, wordRepository, m.repositoryOf(source))
}

// collides says why a migration can't go where another one goes, or "" if tags may keep them apart.
func (m Migration) collides(other Migration) string {
	switch {
	case m.Source == other.Source && slices.Equal(m.Tags.Allow, other.Tags.Allow) && slices.Equal(m.Tags.Deny, other.Tags.Deny):
		return fmt.Sprintf("%s goes to %s twice (line %d)", m.Source, m.place(), other.Line)
	case m.from() == other.from() && m.tag() != other.tag():
		return ""
	case m.from() != other.from() && strings.Contains(m.Target, wordRepository) && strings.Contains(other.Target, wordRepository):
		return fmt.Sprintf("%s and %s (line %d) have one name, and would both go to %s; write their targets without %s",
			m.Source, other.Source, other.Line, m.place(), wordRepository)
	case m.tag() != "" && m.tag() == other.tag():
		return fmt.Sprintf("%s and %s (line %d) both go to %s, and would replace each other", m.Source, other.Source, other.Line, m.place())
	}
	return ""
}

// choosesOther reports whether two migrations to one place surely write different tags, and were meant to go there.
func (m Migration) choosesOther(other Migration) bool {
	meant := !strings.Contains(m.Target, wordRepository) || m.from() == other.from()
	return meant && m.tag() != "" && other.tag() != "" && m.tag() != other.tag()
}

// from returns the place that the source is in.
func (m Migration) from() layout.Reference {
	source, err := layout.ParseReference(m.Source)
	if err != nil {
		return layout.Reference{Path: m.Source}
	}
	if source.Transport == layout.TransportPath {
		source.Transport = layout.TransportLayout
	}
	source.Tag, source.Digest = "", ""
	return source
}

// tag returns the one tag that a migration writes, or "" if there may be others.
func (m Migration) tag() string {
	source, err := layout.ParseReference(m.Source)
	if err != nil {
		return ""
	}
	target, err := m.targetFor(source, source.Tag)
	if err != nil || source.Tag == "" && strings.Contains(m.Target, wordTag) {
		return ""
	}
	return cmp.Or(target.Tag, source.Tag)
}

// Warnings returns what is probably wrong in a plan: settings for registries that none of its migrations names.
func (p *Plan) Warnings() []Problem {
	hosts := p.Hosts()
	d := &decoder{}
	for _, host := range slices.Sorted(maps.Keys(p.Registries)) {
		if !slices.Contains(hosts, host) {
			at := p.registriesAt[host]
			at.Text = fmt.Sprintf("no migration names the registry %q, as HOST or HOST:PORT", host)
			d.problems = append(d.problems, at)
		}
	}
	return d.sorted()
}
