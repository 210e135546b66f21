package migrate

import (
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// place is a place in its one spelling: two references to the same place have equal ones. It names no cache in it.
type place struct {
	far  layout.Transport // "" for this machine
	host string           // of a registry
	path string
}

// placeOf returns the place of a reference: a local path is made absolute, and its links are resolved as far as it exists.
func placeOf(ref layout.Reference) place {
	if ref.IsLocal() {
		return place{path: resolved(ref.Path)}
	}
	if host := hostOf(ref); host != "" {
		return place{far: ref.Transport, host: host, path: registry.NameOf(ref.Path)}
	}
	return place{far: ref.Transport, path: ref.Path}
}

// resolved returns an absolute path without links. What does not exist yet, or can't be looked at, stays as it is spelled.
func resolved(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	rest := ""
	for {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return filepath.Join(real, rest)
		}
		parent := filepath.Dir(path)
		if parent == path {
			return filepath.Join(path, rest)
		}
		path, rest = parent, filepath.Join(filepath.Base(path), rest)
	}
}

// isInPlace reports whether source and target are the same place. A registry's caches may be rewritten where they are; for those of
// a layout there is convert.
func isInPlace(source, to layout.Reference) bool {
	return placeOf(source) == placeOf(to) && (to.Tag == "" || source.IsLocal())
}

// BadTagError says that a tag can't be part of a path, or of a repository's name, where the plan puts it.
type BadTagError struct{ Tag, Target string }

func (e *BadTagError) Error() string {
	return "the tag " + strconv.Quote(e.Tag) + " can't be part of the place " + e.Target
}

// hasTagInPlace reports whether {tag} is part of the place that a target names, and not only of the tag there.
func hasTagInPlace(target string) bool {
	const stand = "tag0in0place" // a name in any kind of place
	ref, err := layout.ParseReference(strings.NewReplacer(wordRepository, "x", wordTag, stand).Replace(target))
	return err != nil || strings.Contains(ref.Path, stand)
}
