// Package contenthash computes what BuildKit's content keys are made of: the
// checksums of files and directories, whether they lie in a directory or in the
// layers of a cache.
//
// The rules are those of BuildKit's package cache/contenthash, v0.26 to v0.34.
// No checksum covers times or the names of owners. The name of a file counts
// only in the checksum of its directory.
package contenthash

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// ErrNotFound marks a path that a tree does not have.
var ErrNotFound = errors.New("no such file or directory")

// Limits of what is read.
const (
	// MaxFiles is the most files that a directory or a layer may have.
	MaxFiles = 1 << 23
	// maxDepth is how deeply directories may be nested.
	maxDepth = 1 << 10
	// maxLinks is the most symbolic links that one path may lead over, as in BuildKit.
	maxLinks = 255
)

// Tree is the files that a step sees. A tree made from another one shares
// unchanged files with it. Checksums are cached in a tree, so it is not safe
// for concurrent use, and neither are trees that share files.
type Tree struct {
	root *node
	gen  int // marks the nodes that may still be changed in place
}

// node is one file or directory.
type node struct {
	header   Header
	children map[string]*node // of a directory
	gen      int

	own     digest.Digest                 // of the file, or of the directory's own header
	content digest.Digest                 // of a directory with all that is in it
	open    func() (io.ReadCloser, error) // of a file whose bytes have not been hashed yet
}

func (n *node) isDir() bool { return n.header.Type == TypeDir }

// Scratch returns the empty tree that builds begin with.
func Scratch() *Tree {
	return &Tree{root: newDir(Header{Type: TypeDir, Mode: 0o755})}
}

func newDir(h Header) *node { return &node{header: h, children: map[string]*node{}} }

// digest returns the digest of a file, or of the header of a directory.
func (n *node) digest() (digest.Digest, error) {
	if n.own != "" {
		return n.own, nil
	}
	if n.open == nil {
		n.own = n.header.digest(nil)
		return n.own, nil
	}
	own, err := n.digestAs(n.header)
	n.own = own
	return own, err
}

// digestAs returns the digest that a file whose bytes can be read would have with another header.
func (n *node) digestAs(h Header) (digest.Digest, error) {
	bytes, err := n.open()
	if err != nil {
		return "", err
	}
	defer bytes.Close() //nolint:errcheck // only read
	hash := h.hash()
	size, err := io.Copy(hash, bytes)
	if err != nil {
		return "", err
	}
	if size != n.header.Size {
		return "", fmt.Errorf("it has %d bytes, and had %d", size, n.header.Size)
	}
	return digest.NewDigest(digest.SHA256, hash), nil
}

// checksum returns what stands for a node in the checksum of its directory.
func (n *node) checksum() (digest.Digest, error) {
	if !n.isDir() {
		return n.digest()
	}
	if n.content != "" {
		return n.content, nil
	}
	own, err := n.digest()
	if err != nil {
		return "", err
	}
	hash := digest.SHA256.Hash()
	write := func(name string, d digest.Digest) { _, _ = io.WriteString(hash, "\x00"+name+string(d)) }
	write("", own)
	for _, name := range n.names() {
		sum, err := n.children[name].checksum()
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		write(name, sum)
	}
	n.content = digest.NewDigest(digest.SHA256, hash)
	return n.content, nil
}

func (n *node) names() []string { return slices.Sorted(maps.Keys(n.children)) }

// lookup returns the node of a clean absolute path, or nil. It follows no links.
func (t *Tree) lookup(p string) *node {
	n := t.root
	for name := range strings.SplitSeq(strings.Trim(p, "/"), "/") {
		if name == "" {
			continue
		}
		if n = n.children[name]; n == nil {
			return nil
		}
	}
	return n
}

// resolve returns what is at a path, or nil. It follows symbolic links, but one in the last part only if trailing is true.
func (t *Tree) resolve(p string, trailing bool) (*node, error) {
	current, rest := "/", strings.TrimPrefix(p, "/")
	for links := 0; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		next := path.Join("/", current, part)
		n := t.lookup(next)
		if n == nil || n.header.Type != TypeSymlink || !trailing && rest == "" {
			current = next
			continue
		}
		if links++; links > maxLinks {
			return nil, fmt.Errorf("%s: too many links", p)
		}
		if path.IsAbs(n.header.Linkname) {
			current = "/"
		}
		rest = n.header.Linkname + "/" + rest
	}
	return t.lookup(current), nil
}
