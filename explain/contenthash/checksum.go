package contenthash

import (
	"fmt"
	"path"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain/llb"
)

// Checksum returns the checksum of the selected files. It fails with ErrNotFound
// where BuildKit's build would.
func (t *Tree) Checksum(s llb.Selection) (digest.Digest, error) {
	return t.checksum(s, false)
}

// OldChecksum returns the checksum that BuildKit before v0.26 computed for the
// selected files. It differs only for wildcards and lists of patterns.
func (t *Tree) OldChecksum(s llb.Selection) (digest.Digest, error) {
	return t.checksum(s, true)
}

// Has reports whether a wildcard matches anything. For other selections it is true, and Checksum decides.
func (t *Tree) Has(s llb.Selection) bool {
	if !s.Wildcard {
		return true
	}
	w, err := t.walk(path.Join("/", s.Path), s)
	return err != nil || len(w.found) > 0
}

func (t *Tree) checksum(s llb.Selection, old bool) (digest.Digest, error) {
	p := path.Join("/", s.Path)
	if !s.Filtered() {
		return t.plain(p, s.FollowLinks)
	}
	w, err := t.walk(p, s)
	if err != nil {
		return "", err
	}
	var parts []string // names, each followed by the file's checksum
	for _, f := range w.found {
		f.follow = f.follow || old && s.FollowLinks
		sum, err := t.sumOf(f, s.FollowLinks)
		if err != nil {
			return "", err
		}
		if len(w.found) == 1 && path.Base(p) == path.Base(f.path) {
			return sum, nil
		}
		if old {
			parts = append(parts, path.Base(f.path)+string(sum))
		} else {
			parts = append(parts, keyOf(strings.TrimPrefix(f.path, w.prefix))+string(sum))
		}
	}
	if old {
		return digest.FromString(strings.Join(parts, "\x00")), nil
	}
	return digest.FromString(strings.Join(parts, "")), nil
}

// keyOf returns a path as BuildKit spells it in keys.
func keyOf(p string) string {
	if p == "" {
		return "\x00"
	}
	return strings.ReplaceAll(p, "/", "\x00")
}

// plain returns the checksum of one path and everything below it.
func (t *Tree) plain(p string, follow bool) (digest.Digest, error) {
	n, err := t.resolve(p, follow)
	if err != nil {
		return "", err
	}
	if n == nil {
		return "", fmt.Errorf("%s: %w", p, ErrNotFound)
	}
	sum, err := n.checksum()
	if err != nil {
		return "", fmt.Errorf("%s: %w", p, err)
	}
	return sum, nil
}

// included is a file, or the header of a directory, that a walk has reached.
type included struct {
	path     string
	root     string // what the pattern matched, the path itself or one above it
	node     *node
	included bool
	include  patternmatcher.MatchInfo
	exclude  patternmatcher.MatchInfo
	follow   bool // a link is followed, as no directory of the walk lies above it
}

// sumOf returns the checksum of what a walk has found. For a directory it covers the header alone.
func (t *Tree) sumOf(f *included, follow bool) (digest.Digest, error) {
	if f.follow && f.node.header.Type == TypeSymlink {
		return t.plain(f.path, follow)
	}
	sum, err := f.node.digest()
	if err != nil {
		return "", fmt.Errorf("%s: %w", f.path, err)
	}
	return sum, nil
}

// walker looks for the files that a pattern and lists of patterns select.
type walker struct {
	pattern          string // "" for the root, which needs none
	wildcard, follow bool
	include, exclude *patternmatcher.PatternMatcher
	prefix           string // what is cut from paths: the part of the pattern without wildcards
	matched          string // the last path that the pattern matched
	parents          []*included
	found            []*included
}

func (t *Tree) walk(p string, s llb.Selection) (*walker, error) {
	w := &walker{wildcard: s.Wildcard, follow: s.FollowLinks}
	if p != "/" {
		w.pattern = p
	}
	var err error
	if w.include, err = matcher(s.Include); err != nil {
		return nil, err
	}
	if w.exclude, err = matcher(s.Exclude); err != nil {
		return nil, err
	}
	w.prefix = w.pattern
	links := false
	if s.Wildcard {
		w.prefix, links = fixedPrefix(p), true
	}
	start := t.root
	if w.prefix != "" {
		if start, err = t.resolve(w.prefix, links); err != nil {
			return nil, err
		}
	}
	switch {
	case start == nil:
	case start.isDir():
		err = w.dir(w.prefix, start)
	default:
		err = w.visit(w.prefix, start)
	}
	if err != nil {
		return nil, err
	}
	return w, w.checkRequired(s.Required)
}

func matcher(patterns []string) (*patternmatcher.PatternMatcher, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("patterns %q: %w", patterns, err)
	}
	return m, nil
}

// fixedPrefix returns the directories before the first wildcard of a pattern, "" for none.
func fixedPrefix(pattern string) string {
	var fixed []string
	for part := range strings.SplitSeq(strings.TrimPrefix(pattern, "/"), "/") {
		if llb.HasWildcard(part) {
			break
		}
		fixed = append(fixed, part)
	}
	if len(fixed) == 0 {
		return ""
	}
	return "/" + strings.Join(fixed, "/")
}

func (w *walker) checkRequired(paths []string) error {
	for _, required := range paths {
		found := false
		for _, f := range w.found {
			found = found || strings.HasPrefix(f.path, required)
		}
		if !found {
			return fmt.Errorf("%s: %w", required, ErrNotFound)
		}
	}
	return nil
}

// dir visits a directory and everything below it.
func (w *walker) dir(p string, n *node) error {
	depth := len(w.parents)
	if err := w.visit(p, n); err != nil {
		return err
	}
	for _, name := range n.names() {
		child := n.children[name]
		var err error
		if child.isDir() {
			err = w.dir(p+"/"+name, child)
		} else {
			err = w.visit(p+"/"+name, child)
		}
		if err != nil {
			return err
		}
	}
	w.parents = w.parents[:depth]
	return nil
}

// visit decides on a file or on the header of a directory.
func (w *walker) visit(p string, n *node) error {
	if p == w.pattern && p == "" {
		return nil // the header of the root does not count
	}
	var parent *included
	if len(w.parents) > 0 {
		parent = w.parents[len(w.parents)-1]
	}
	at := &included{path: p, node: n, follow: parent == nil && w.follow}
	base := w.pattern
	if w.wildcard {
		ok, err := w.matches(p)
		if err != nil || !ok {
			return err
		}
		base = w.matched
	}
	at.root = base
	candidate := strings.TrimSuffix(strings.TrimPrefix(p+"/", base+"/"), "/")
	ok, err := w.filter(candidate, at, parent)
	if err != nil {
		return err
	}
	if ok {
		w.take(at)
	}
	if n.isDir() {
		w.parents = append(w.parents, at)
	}
	return nil
}

// matches reports whether the pattern matches a path, or has matched a directory above it.
func (w *walker) matches(p string) (bool, error) {
	if w.matched != "" && strings.HasPrefix(p, w.matched+"/") {
		return true, nil
	}
	ok, err := path.Match(w.pattern, p)
	if err != nil {
		return false, fmt.Errorf("pattern %s: %w", w.pattern, err)
	}
	if ok {
		w.matched = p
	}
	return ok, nil
}

// filter reports whether the lists of patterns keep a path.
func (w *walker) filter(candidate string, at, parent *included) (bool, error) {
	if parent == nil {
		parent = &included{}
	}
	if w.include != nil {
		ok, info, err := w.include.MatchesUsingParentResults(candidate, parent.include)
		if err != nil {
			return false, fmt.Errorf("match %s: %w", candidate, err)
		}
		if at.include = info; !ok {
			return false, nil
		}
	}
	if w.exclude != nil {
		ok, info, err := w.exclude.MatchesUsingParentResults(candidate, parent.exclude)
		if err != nil {
			return false, fmt.Errorf("match %s: %w", candidate, err)
		}
		if at.exclude = info; ok {
			return false, nil
		}
	}
	return true, nil
}

// take includes a file, and the headers of the directories above it.
func (w *walker) take(at *included) {
	for _, parent := range w.parents {
		if !parent.included {
			parent.included = true
			w.found = append(w.found, parent)
		}
	}
	at.included = true
	w.found = append(w.found, at)
}
