package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/meant"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// checkMigration adds a problem if source, target and change make no sense together. form is where the form is given, nil if it
// comes from the defaults.
func (d *decoder) checkMigration(at, form *yaml.Node, m Migration) {
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
	if wrong := m.misspelled(to); wrong != "" {
		d.say(at, "target: %s", wrong)
		return
	}
	if isInPlace(source, to) && (source.IsLocal() || m.To == "" && m.Compression == "") {
		d.say(at, "source and target are the same place")
	}
	d.checkChange(at, form, m, source, to)
}

// misspelled says what is wrong with the spelling of a target, and what was probably meant, or "".
func (m Migration) misspelled(to layout.Reference) string {
	err := places.CheckName(to)
	var host *places.HostError
	var spelling *layout.SpellingError
	switch {
	case errors.As(err, &host):
		host.Path = m.Target // as it is in the plan
		return fmt.Sprintf("%v; %s", host, meant.Ask([]string{string(layout.TransportRegistry) + "://" + m.Target}))
	case errors.As(err, &spelling) && spelling.Meant != "":
		return fmt.Sprintf("%v; %s", err, meant.Ask([]string{spelling.Meant}))
	case err != nil:
		return err.Error()
	}
	return ""
}

// checkChange adds a problem if a change makes no sense, or not for this target. to is where the tag "tag" goes.
func (d *decoder) checkChange(at, form *yaml.Node, m Migration, source, to layout.Reference) {
	if m.prunesSource(source, to) {
		d.say(at, "prune: source and target are the same, which would be pruned itself: that is none of a migration")
	}
	if _, ok := m.rules(to); m.To == convert.AutoForm && !ok {
		d.noRules(at, form, m, to)
		return
	}
	o, err := m.options(to, time.Now())
	if err = cmp.Or(err, o.Check()); err != nil {
		d.say(at, "%v", err)
	}
}

// noRules says that the best form for a target can't be known, and what to write instead.
func (d *decoder) noRules(at, form *yaml.Node, m Migration, to layout.Reference) {
	to.Tag = ""
	const what, advice = "to: auto%s is the form that a registry takes best, and %s is none; ", `write "to: keep", a form, or "for:" with the registry that the caches go to later`
	switch {
	case form != nil:
		d.say(form, what+advice, "", to)
	case m.file != d.name: // a line of a source and a target
		d.say(at, what+"as a migration of the plan it can have a form of its own: "+advice, " in the defaults", to)
	default:
		d.say(at, what+"for this migration "+advice, " in the defaults", to)
	}
}

// prunesSource reports whether a migration may prune a cache where it lies.
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
		return source, fmt.Errorf("%w: standard input (-) can't be used here", layout.ErrReference)
	}
	return source, checkRepository(source)
}

// checkRepository refuses what can't be the name of a repository.
func checkRepository(ref layout.Reference) error {
	if ref.Transport != layout.TransportRegistry {
		return nil
	}
	if err := registry.CheckName(ref.Path); err != nil {
		return fmt.Errorf("%w: %s: %w", layout.ErrReference, ref, err)
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

// options returns what a conversion to a target does. Ages count back from now.
func (m Migration) options(to layout.Reference, now time.Time) (convert.Options, error) {
	o := convert.Options{Form: m.To, Compression: m.Compression, Level: m.Level, Force: m.Force}
	if profile, ok := m.rules(to); ok {
		o.Rules = profile
	}
	var err error
	o.Prune, err = m.Prune.Rules(now)
	return o, err
}
