package migrate

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

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
		d.say(at, "prune: source and target are the same, which would be pruned itself: that is none of a migration")
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
