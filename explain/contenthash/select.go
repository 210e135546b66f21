package contenthash

import (
	"errors"
	"path"
	"strings"

	"github.com/ocicache/ocicache/explain/llb"
)

// File is one file or directory of a tree.
type File struct {
	node *node
	// Root is the path of what a selection matched, Rel the path of the file below it, "" for the root itself.
	Root, Rel string
}

// Header returns what is known about the file apart from its bytes.
func (f File) Header() Header { return f.node.header }

// ErrBytes says that neither of two files can be read again.
var ErrBytes = errors.New("the bytes are not at hand")

// SameBytes reports whether two regular files have the same bytes, whatever their
// modes and owners. One of them has to come from FromDir.
func (f File) SameBytes(other File) (bool, error) {
	a, b := f.node, other.node
	if a.header.Size != b.header.Size {
		return false, nil
	}
	if a.open == nil {
		a, b = b, a
	}
	if a.open == nil {
		return false, ErrBytes
	}
	want, err := b.digest()
	if err != nil {
		return false, err
	}
	got, err := a.digestAs(b.header)
	return got == want, err
}

// Lookup returns the file at a path. No links are followed.
func (t *Tree) Lookup(p string) (File, bool) {
	n := t.lookup(path.Join("/", p))
	return File{node: n, Root: p}, n != nil
}

// Below returns everything below a directory.
func (t *Tree) Below(p string) []File {
	n := t.lookup(path.Join("/", p))
	if n == nil || !n.isDir() {
		return nil
	}
	var all []File
	collect(&all, n, p, "")
	return all
}

// collect adds everything below a directory.
func collect(to *[]File, dir *node, root, rel string) {
	for _, name := range dir.names() {
		child := dir.children[name]
		at := path.Join(rel, name)
		*to = append(*to, File{node: child, Root: root, Rel: at})
		if child.isDir() {
			collect(to, child, root, at)
		}
	}
}

// Select returns the files that a selection takes, as a copy would: with the
// directories above them that lie below the matched path.
func (t *Tree) Select(s llb.Selection) ([]File, error) {
	p := path.Join("/", s.Path)
	if s.Filtered() {
		return t.selectFiltered(p, s)
	}
	n, err := t.resolve(p, s.FollowLinks)
	if err != nil || n == nil {
		return nil, err
	}
	all := []File{{node: n, Root: p}}
	if n.isDir() {
		collect(&all, n, p, "")
	}
	return all, nil
}

func (t *Tree) selectFiltered(p string, s llb.Selection) ([]File, error) {
	w, err := t.walk(p, s)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	var all []File
	for _, f := range w.found {
		root := f.root
		rel := strings.Trim(strings.TrimPrefix(f.path, root), "/")
		if root == "" {
			root = "/"
		}
		all = append(all, File{node: f.node, Root: root, Rel: rel})
	}
	return all, nil
}
