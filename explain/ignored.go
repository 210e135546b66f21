package explain

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/ocicache/ocicache/explain/contenthash"
	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/explain/provenance"
)

// excludePatterns is the attribute of a local source with what its .dockerignore said.
const excludePatterns = "local.excludepatterns"

// markIgnored tells files that are left out of what a client sends from those that are gone, and those that no longer are from those
// that are new, where it is known what was left out before.
func (r *reasons) markIgnored(source *llb.SourceOp, tree *contenthash.Tree, changes []FileChange) {
	if source.Attrs["local.includepattern"] != "" {
		return
	}
	_, name := source.Scheme()
	file := r.contents.locals.ignoreFile(r.plan.Build, name)
	was := r.ignoredBefore(source)
	for i, c := range changes {
		switch {
		case c.Change == ChangeRemoved && r.contents.locals.isLeftOut(name, tree, c.Path):
			changes[i].Change, changes[i].Ignore = ChangeIgnored, file
		case c.Change == ChangeAdded && slices.ContainsFunc(was, func(old contenthash.Ignores) bool { return leavesOut(old, c.Path) }):
			changes[i].Change, changes[i].Ignore = ChangeUnignored, file
		}
	}
}

// isLeftOut reports whether a file is in a directory, and not in what a client sends of it.
func (l *localTrees) isLeftOut(name string, tree *contenthash.Tree, path string) bool {
	if !filepath.IsLocal(path) {
		return false
	}
	if _, err := tree.Checksum(llb.Selection{Path: path}); !errors.Is(err, contenthash.ErrNotFound) {
		return false
	}
	_, err := os.Lstat(filepath.Join(l.contexts[name], path))
	return err == nil
}

// areThere reports whether all of some paths are in a directory, be they sent or not.
func (l *localTrees) areThere(name string, paths []string) bool {
	return !slices.ContainsFunc(paths, func(path string) bool {
		_, err := os.Lstat(filepath.Join(l.contexts[name], filepath.Join("/", path)))
		return err != nil
	})
}

// leavesOut reports whether patterns surely leave a file out.
func leavesOut(patterns contenthash.Ignores, path string) bool {
	out, err := patterns.LeaveOut(path)
	return out && err == nil
}

// ignoredBefore returns what the old builds left out of a source, and the last one.
func (r *reasons) ignoredBefore(source *llb.SourceOp) (all []contenthash.Ignores) {
	var before []*provenance.Build
	for _, old := range r.old {
		before = append(before, old.plan.Build)
	}
	if r.last != nil {
		before = append(before, r.last)
	}
	for _, b := range before {
		for i := range b.Steps {
			was := b.Steps[i].Op.Source
			if was == nil || sourceName(was) != sourceName(source) {
				continue
			}
			patterns, err := was.Patterns(excludePatterns)
			if err != nil {
				continue
			}
			if ignores, err := contenthash.NewIgnores(patterns); err == nil {
				all = append(all, ignores)
			}
		}
	}
	return all
}

// ignoringNow returns an operation, that of a local source with what is to be left out of it by now, as far as its directory is known.
func ignoringNow(b *provenance.Build, op *llb.Op, contexts Contexts) *llb.Op {
	if op.Source == nil || !op.Source.IsLocal() {
		return op
	}
	l := &localTrees{contexts: contexts}
	_, patterns, err := l.ignoredNow(b, op.Source)
	if err != nil {
		return op
	}
	text, err := json.Marshal(patterns)
	if err != nil {
		return op
	}
	source, next := *op.Source, *op
	source.Attrs = maps.Clone(source.Attrs)
	if delete(source.Attrs, excludePatterns); len(patterns) > 0 {
		if source.Attrs == nil {
			source.Attrs = map[string]string{}
		}
		source.Attrs[excludePatterns] = string(text)
	}
	next.Source = &source
	return &next
}

// ignoredNow returns the patterns of what is to be left out of a source by now, and the path of the file that says so. It fails with
// errNoContext where the directory is not known, or another client than BuildKit's frontend for Dockerfiles chooses what is sent.
func (l *localTrees) ignoredNow(b *provenance.Build, source *llb.SourceOp) (path string, patterns []string, err error) {
	_, name := source.Scheme()
	dir, ok := l.contexts[name]
	if !ok || source.Attrs["local.includepattern"] != "" {
		return "", nil, errNoContext
	}
	file := l.ignoreFile(b, name)
	if file != contenthash.IgnoreName {
		dir = l.contexts.dockerfiles()
	}
	patterns, err = contenthash.ReadIgnore(dir, file)
	return filepath.Join(dir, file), patterns, err
}

// ignoreFile is the name of the file that says what of a context is left out: the one of the Dockerfile, where that is there.
func (l *localTrees) ignoreFile(b *provenance.Build, name string) string {
	if name == mainContext && len(b.Files) > 0 && filepath.IsLocal(b.Files[0].Name) {
		own := b.Files[0].Name + contenthash.IgnoreName
		if _, err := os.Stat(filepath.Join(l.contexts.dockerfiles(), own)); err == nil {
			return own
		}
	}
	return contenthash.IgnoreName
}

// dockerfiles is the directory where Dockerfiles are.
func (c Contexts) dockerfiles() string {
	if dir, ok := c["dockerfile"]; ok {
		return dir
	}
	return c[mainContext]
}

// ignoreNotes says of which contexts another part is left out now than the builds did: what is compared is what the builds sent.
func ignoreNotes(builds []*provenance.Build, contexts Contexts, redact bool) []string {
	var notes []string
	for _, b := range builds {
		l := &localTrees{contexts: contexts}
		for i := range b.Steps {
			source := b.Steps[i].Op.Source
			if source == nil || !source.IsLocal() {
				continue
			}
			if note := l.ignoreNote(b, source, redact); note != "" && !slices.Contains(notes, note) {
				notes = append(notes, note)
			}
		}
	}
	return notes
}

func (l *localTrees) ignoreNote(b *provenance.Build, source *llb.SourceOp, redact bool) string {
	was, err := source.Patterns(excludePatterns)
	if err != nil {
		return ""
	}
	at, now, err := l.ignoredNow(b, source)
	if err != nil {
		return ""
	}
	if was, err = contenthash.CleanIgnore(was); err != nil || slices.Equal(was, now) {
		return ""
	}
	if redact {
		at = filepath.Base(at)
	}
	return at + " is not what it was when the build ran: files are left out as they were then"
}
