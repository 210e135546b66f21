package explain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/ocicache/ocicache/explain/contenthash"
	"github.com/ocicache/ocicache/explain/llb"
	"github.com/ocicache/ocicache/explain/provenance"
)

// excludePatterns is the attribute of a local source that holds the patterns of its .dockerignore.
const excludePatterns = "local.excludepatterns"

// includePatterns is the attribute of a local source whose files are chosen by a client other than the Dockerfile frontend's.
const includePatterns = "local.includepattern"

// markIgnored separates files that the client leaves out from removed ones and, if it is known what was left out before, files that
// are no longer left out from new ones.
func (r *reasons) markIgnored(source *llb.SourceOp, tree *contenthash.Tree, changes []FileChange) {
	if source.Attrs[includePatterns] != "" {
		return
	}
	_, name := source.Scheme()
	file := r.contents.locals.ignoreFile(r.plan.Build, name).name
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

// isLeftOut reports whether a file exists in a directory but is not in what a client sends of it.
func (l *localTrees) isLeftOut(name string, tree *contenthash.Tree, path string) bool {
	if !filepath.IsLocal(path) {
		return false
	}
	if _, err := tree.Checksum(llb.Selection{Path: path}); !errors.Is(err, contenthash.ErrNotFound) {
		return false
	}
	dir, above := l.contexts[name], filepath.Dir(path)
	if at, err := contenthash.Resolve(dir, above); err != nil || at != above { // a link leads elsewhere
		return false
	}
	_, err := os.Lstat(filepath.Join(dir, path))
	return err == nil
}

// leavesOut reports whether patterns are certain to leave a file out.
func leavesOut(patterns contenthash.Ignores, path string) bool {
	out, err := patterns.LeaveOut(path)
	return out && err == nil
}

// ignoredBefore returns the patterns by which the old builds, and the last one, left files of a source out.
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

// ignoringNow returns an operation; a local source gets the patterns that apply to it now, if its directory is known.
func ignoringNow(b *provenance.Build, op *llb.Op, contexts Contexts) (*llb.Op, error) {
	if op.Source == nil || !op.Source.IsLocal() {
		return op, nil
	}
	l := &localTrees{contexts: contexts}
	at, patterns, err := l.ignoredNow(b, op.Source)
	if errors.Is(err, errNoContext) {
		return op, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what is left out of a context: %s: %w", at, err)
	}
	text, err := json.Marshal(patterns)
	if err != nil {
		return nil, err
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
	return &next, nil
}

// ignoredNow returns the patterns that now leave files of a source out, and the path of the file they come from. It fails with errNoContext
// if the directory or that file is unknown, or if a client other than BuildKit's Dockerfile frontend chooses what is sent.
func (l *localTrees) ignoredNow(b *provenance.Build, source *llb.SourceOp) (path string, patterns []string, err error) {
	_, name := source.Scheme()
	if _, ok := l.contexts[name]; !ok || source.Attrs[includePatterns] != "" {
		return "", nil, errNoContext
	}
	file := l.ignoreFile(b, name)
	if file.dir == "" {
		return "", nil, errNoContext
	}
	patterns, err = contenthash.ReadIgnore(file.dir, file.name)
	return filepath.Join(file.dir, file.name), patterns, err
}

// ignoreFile is the file that says what is left out of a context. If dir is empty, it is unknown which file that is, because the
// Dockerfile's directory is; name then lists the candidates.
type ignoreFile struct{ dir, name string }

// ignoreFile returns that file: the Dockerfile's own, if it exists.
func (l *localTrees) ignoreFile(b *provenance.Build, name string) ignoreFile {
	common := ignoreFile{l.contexts[name], contenthash.IgnoreName}
	if name != mainContext || len(b.Files) == 0 || !filepath.IsLocal(b.Files[0].Name) {
		return common
	}
	own := ignoreFile{l.contexts.dockerfiles(), b.Files[0].Name + contenthash.IgnoreName}
	if !l.contexts.haveDockerfile(b) {
		return ignoreFile{name: own.name + " or " + common.name}
	}
	if _, err := contenthash.ReadInside(own.dir, own.name); errors.Is(err, fs.ErrNotExist) {
		return common
	}
	return own
}

// haveDockerfile reports whether the Dockerfile of a build is where it is expected. One in the context may not be the one that the build
// was given (docker build -f DIR/Dockerfile), although provenance gives it the same name: the bytes tell.
func (c Contexts) haveDockerfile(b *provenance.Build) bool {
	_, isTold := c["dockerfile"]
	dir, base := filepath.Split(b.Files[0].Name)
	names := []string{b.Files[0].Name}
	if base == "Dockerfile" {
		names = append(names, filepath.Join(dir, "dockerfile")) // as BuildKit does
	}
	for _, name := range names {
		if data, err := contenthash.ReadInside(c.dockerfiles(), name); err == nil {
			return isTold || bytes.Equal(data, b.Files[0].Data)
		}
	}
	return false
}

// unplaced returns the names of Dockerfiles in unknown directories, which leave unknown what is left out of the build context.
func unplaced(builds []*provenance.Build, contexts Contexts) (names []string) {
	if _, ok := contexts[mainContext]; !ok {
		return nil
	}
	l := &localTrees{contexts: contexts}
	for _, b := range builds {
		if l.ignoreFile(b, mainContext).dir != "" || slices.Contains(names, b.Files[0].Name) {
			continue
		}
		if slices.ContainsFunc(b.Steps, func(s provenance.Step) bool {
			source := s.Op.Source
			return source != nil && source.Identifier == "local://"+mainContext && source.Attrs[includePatterns] == ""
		}) {
			names = append(names, b.Files[0].Name)
		}
	}
	return names
}

// unplacedNotes says why the build context is not used.
func unplacedNotes(names []string, contexts Contexts, redact bool) []string {
	dir := (&words{redact: redact}).shown([]string{contexts.dockerfiles()})[0]
	var notes []string
	for _, name := range names {
		notes = append(notes, fmt.Sprintf("the %s of the build is not in %s, and a %s%s beside it would say what is left out of the context, which is "+
			"not used for that: say with --context dockerfile=DIR where the Dockerfile is", name, dir, filepath.Base(name), contenthash.IgnoreName))
	}
	return notes
}

// dockerfiles returns the directory of Dockerfiles.
func (c Contexts) dockerfiles() string {
	if dir, ok := c["dockerfile"]; ok {
		return dir
	}
	return c[mainContext]
}

// ignoreNotes says which contexts leave out other files now than when the builds ran. What the builds sent is what is compared.
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
	if redact {
		at = filepath.Base(at)
	}
	switch {
	case errors.Is(err, errNoContext):
		return ""
	case err != nil:
		return fmt.Sprintf("%s can't be read, so that no build takes this context: %v", at, err)
	}
	if was, err = contenthash.CleanIgnore(was); err != nil || slices.Equal(was, now) {
		return ""
	}
	return at + " is not what it was when the build ran: files are left out as they were then"
}
