package contenthash

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Layer is what a layer changes, without the bytes of its files.
type Layer struct {
	entries []entry
}

// entry is one member of a layer's tar.
type entry struct {
	path string
	kind entryKind
	node *node  // of entryFile and entryDir
	link string // of entryLink
}

type entryKind int

const (
	entryFile entryKind = iota
	entryDir
	entryLink
	entryWhiteout
	entryOpaque
)

const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// ReadLayer reads an uncompressed layer. Files are hashed as they pass.
func ReadLayer(r io.Reader) (*Layer, error) {
	layer := &Layer{}
	buffer := make([]byte, 1<<18)
	for t := tar.NewReader(r); ; {
		header, err := t.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buffer) // a verifying reader has to be read to its end
			return layer, err
		}
		if err != nil {
			return nil, fmt.Errorf("read layer: %w", err)
		}
		e, err := readEntry(header, t, buffer)
		if err != nil {
			return nil, fmt.Errorf("read layer: %s: %w", header.Name, err)
		}
		if len(layer.entries) == MaxFiles {
			return nil, fmt.Errorf("read layer: more than %d files", MaxFiles)
		}
		layer.entries = append(layer.entries, e)
	}
}

// Without returns the layer without some files, given as absolute paths.
func (l *Layer) Without(paths []string) *Layer {
	kept := slices.DeleteFunc(slices.Clone(l.entries), func(e entry) bool { return slices.Contains(paths, e.path) })
	return &Layer{entries: kept}
}

func readEntry(header *tar.Header, bytes io.Reader, buffer []byte) (entry, error) {
	p := path.Join("/", header.Name)
	if strings.Count(p, "/") > maxDepth {
		return entry{}, fmt.Errorf("more than %d directories deep", maxDepth)
	}
	dir, base := path.Split(p)
	switch {
	case base == opaque:
		return entry{path: path.Clean(dir), kind: entryOpaque}, nil
	case strings.HasPrefix(base, whiteout):
		return entry{path: path.Join(dir, strings.TrimPrefix(base, whiteout)), kind: entryWhiteout}, nil
	}
	h := Header{
		Mode: header.Mode & 0o7777, UID: header.Uid, GID: header.Gid,
		Major: header.Devmajor, Minor: header.Devminor, Xattrs: xattrsOf(header),
	}
	switch header.Typeflag {
	case tar.TypeDir:
		h.Type = TypeDir
		return entry{path: p, kind: entryDir, node: &node{header: h}}, nil
	case tar.TypeLink:
		return entry{path: p, kind: entryLink, link: path.Join("/", header.Linkname)}, nil
	case tar.TypeSymlink:
		h.Type, h.Linkname = TypeSymlink, header.Linkname
	case tar.TypeChar:
		h.Type = TypeChar
	case tar.TypeBlock:
		h.Type = TypeBlock
	case tar.TypeFifo:
		h.Type = TypeFifo
	default:
		return readFile(p, h, header.Size, bytes, buffer)
	}
	return entry{path: p, node: &node{header: h}}, nil
}

func readFile(p string, h Header, size int64, bytes io.Reader, buffer []byte) (entry, error) {
	h.Type, h.Size = TypeFile, size
	hash := h.hash()
	if _, err := io.CopyBuffer(struct{ io.Writer }{hash}, struct{ io.Reader }{bytes}, buffer); err != nil {
		return entry{}, err
	}
	return entry{path: p, node: &node{header: h, own: digest.NewDigest(digest.SHA256, hash)}}, nil
}

const paxXattr = "SCHILY.xattr."

func xattrsOf(header *tar.Header) map[string]string {
	var all map[string]string
	for key, value := range header.PAXRecords {
		if name, ok := strings.CutPrefix(key, paxXattr); ok {
			if all == nil {
				all = map[string]string{}
			}
			all[name] = value
		}
	}
	return all
}

// With returns the tree with a layer over it. The tree itself stays as it is.
func (t *Tree) With(layer *Layer) *Tree {
	next := &Tree{root: t.root, gen: t.gen + 1}
	for _, e := range layer.entries {
		next.apply(e)
	}
	return next
}

// own returns a node that may be changed: n itself if this tree made it, else a copy.
func (t *Tree) own(n *node) *node {
	if n.gen == t.gen {
		return n
	}
	c := *n
	c.gen, c.content = t.gen, ""
	if n.isDir() {
		c.children = make(map[string]*node, len(n.children)+1)
		for name, child := range n.children {
			c.children[name] = child
		}
	}
	return &c
}

// dir returns the directory at a path, ready to be changed. Missing directories are made, and whatever else is in the way is replaced.
func (t *Tree) dir(p string) *node {
	t.root = t.own(t.root)
	n := t.root
	for name := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
		if name == "" {
			continue
		}
		child := n.children[name]
		if child == nil || !child.isDir() {
			child = newDir(Header{Type: TypeDir, Mode: 0o755})
			child.gen = t.gen
		}
		child = t.own(child)
		child.content = ""
		n.children[name] = child
		n = child
	}
	return n
}

func (t *Tree) apply(e entry) {
	if e.path == "/" {
		if e.kind == entryDir {
			t.setHeader(t.dir("/"), e.node.header)
		}
		return
	}
	switch parent, name := path.Split(e.path); e.kind {
	case entryFile:
		t.put(parent, name, e.node)
	case entryDir:
		t.setHeader(t.dir(e.path), e.node.header)
	case entryLink:
		if target := t.lookup(e.link); target != nil {
			t.put(parent, name, target)
		}
	case entryWhiteout:
		if t.lookup(e.path) != nil {
			delete(t.dir(parent).children, name)
		}
	case entryOpaque:
		t.clear(t.dir(e.path))
	}
}

// put puts a file under a name. The node is copied, so that others who share it do not see this tree's mark.
func (t *Tree) put(dir, name string, file *node) {
	c := *file
	c.gen = t.gen
	t.dir(dir).children[name] = &c
}

func (t *Tree) setHeader(n *node, h Header) {
	n.header, n.own, n.content = h, "", ""
}

// clear removes from a directory what this tree has not put there.
func (t *Tree) clear(n *node) {
	n.content = ""
	for name, child := range n.children {
		switch {
		case child.gen != t.gen:
			delete(n.children, name)
		case child.isDir():
			t.clear(child)
		}
	}
}
