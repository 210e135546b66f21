package migrate

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ocicache/ocicache/layout"
)

// archiveSuffix ends the names of archives, and is left out of {repository}. An archive that is compressed as a whole can't be a source.
const archiveSuffix = ".tar"

// repositoryOf returns what {repository} stands for: the path of a repository without its host; for a local place the last element of its
// path, without leading dots and without the suffix of an archive, in lower case if it goes to a registry. It is "" if nothing is left.
func (m Migration) repositoryOf(source layout.Reference) string {
	if source.Transport == layout.TransportRegistry {
		_, repository, _ := strings.Cut(source.Path, "/")
		return repository
	}
	path := source.Path
	if base := filepath.Base(path); base == "." || base == ".." {
		if whole, err := filepath.Abs(path); err == nil {
			path = whole
		}
	}
	base := filepath.Base(path)
	if at := len(base) - len(archiveSuffix); at > 0 && strings.EqualFold(base[at:], archiveSuffix) {
		base = base[:at]
	}
	base = strings.TrimLeft(base, "./")
	if strings.HasPrefix(m.Target, string(layout.TransportRegistry)+"://") {
		base = strings.ToLower(base)
	}
	return base
}

// notInNames matches what can't be in the name of a repository, or only once at a time between letters or digits.
var notInNames = regexp.MustCompile(`[^A-Za-z0-9/]+`)

// names gives each source a name of its own. It maps names to the places that they stand for.
type names map[string]layout.Reference

// targetOf returns the target of a source in a draft: with {repository}, unless its name is unusable there, or taken.
func (n names) targetOf(source, to string) string {
	m := Migration{Source: source, Target: to}
	if !strings.Contains(to, wordRepository) {
		return to
	}
	d := &decoder{}
	d.checkMigration(&yaml.Node{}, nil, m)
	if len(d.problems) == 0 && n.take(m.place(), m) {
		return to
	}
	name := "cache"
	if ref, err := layout.ParseReference(source); err == nil {
		if name = strings.Trim(notInNames.ReplaceAllString(m.repositoryOf(ref), "-"), "-/"); name == "" {
			name = "cache"
		}
	}
	for i := 1; ; i++ {
		m.Target = strings.ReplaceAll(to, wordRepository, name)
		if i > 1 {
			m.Target = strings.ReplaceAll(to, wordRepository, fmt.Sprintf("%s-%d", name, i))
		}
		if n.take(m.Target, m) {
			return m.Target
		}
	}
}

// take takes a name for a source. It returns false if another source has it.
func (n names) take(name string, m Migration) bool {
	if of, ok := n[name]; ok && of != m.from() {
		return false
	}
	n[name] = m.from()
	return true
}
