package contenthash

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/patternmatcher"
)

// Filter says which files of a directory BuildKit's client sends. The zero value
// means all.
type Filter struct {
	Exclude []string // patterns as in .dockerignore
	Include []string
}

// FromDir returns the files of a directory as BuildKit's client sends them as a
// build context: everything belongs to root, and what the filter removes is
// absent. Bytes are read when their checksum is asked for.
func FromDir(dir string, filter Filter) (*Tree, error) {
	r := dirReader{root: dir}
	var err error
	if r.exclude, err = matcher(filter.Exclude); err != nil {
		return nil, err
	}
	if r.include, err = matcher(filter.Include); err != nil {
		return nil, err
	}
	root := newDir(Header{Type: TypeDir, Mode: 0o755})
	if root.children, err = r.read("", &included{}, 0); err != nil {
		return nil, fmt.Errorf("read context %s: %w", dir, err)
	}
	if len(root.children) > 0 { // BuildKit never sees the header of a context's root, unless nothing is sent at all
		root.own = emptyDigest
	}
	return &Tree{root: root}, nil
}

// emptyDigest is the digest of no bytes.
const emptyDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

type dirReader struct {
	root             string
	include, exclude *patternmatcher.PatternMatcher
	files            int
}

// read returns what is in a directory.
func (r *dirReader) read(rel string, parent *included, depth int) (map[string]*node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: more than %d directories deep", rel, maxDepth)
	}
	entries, err := os.ReadDir(filepath.Join(r.root, rel))
	if err != nil {
		return nil, err
	}
	return r.children(rel, entries, parent, depth)
}

func (r *dirReader) children(rel string, entries []fs.DirEntry, parent *included, depth int) (map[string]*node, error) {
	children := map[string]*node{}
	for _, entry := range entries {
		n, err := r.entry(filepath.Join(rel, entry.Name()), entry, parent, depth)
		if errors.Is(err, fs.ErrNotExist) { // removed since the directory was read, as editors and builds do
			continue
		}
		if err != nil {
			return nil, err
		}
		if n != nil {
			children[entry.Name()] = n
		}
	}
	return children, nil
}

// entry returns a file or a directory, or nil if it is excluded. An excluded directory stays if something in it is
// kept.
func (r *dirReader) entry(rel string, entry fs.DirEntry, parent *included, depth int) (*node, error) {
	at := &included{}
	w := walker{include: r.include, exclude: r.exclude}
	keep, err := w.filter(rel, at, parent)
	if err != nil {
		return nil, err
	}
	if !keep && (!entry.IsDir() || !r.mayKeepBelow()) {
		return nil, nil
	}
	if r.files++; r.files > MaxFiles {
		return nil, fmt.Errorf("more than %d files", MaxFiles)
	}
	if !entry.IsDir() {
		return r.file(rel, entry)
	}
	children, err := r.read(rel, at, depth+1)
	if err != nil {
		return nil, err
	}
	if !keep && len(children) == 0 {
		return nil, nil
	}
	n, err := r.file(rel, entry)
	if err != nil {
		return nil, err
	}
	n.children = children
	return n, nil
}

// mayKeepBelow reports whether something in an excluded directory may be kept.
func (r *dirReader) mayKeepBelow() bool {
	return r.include != nil || r.exclude != nil && r.exclude.Exclusions()
}

// file returns the node of a file, or of an empty directory.
func (r *dirReader) file(rel string, entry fs.DirEntry) (*node, error) {
	full := filepath.Join(r.root, rel)
	info, err := entry.Info()
	if err != nil {
		return nil, err
	}
	h := Header{Type: typeOf(info.Mode()), Mode: modeOf(info.Mode())}
	if h.Type == TypeSymlink {
		if h.Linkname, err = os.Readlink(full); err != nil {
			return nil, err
		}
		h.Linkname = filepath.ToSlash(h.Linkname)
		return &node{header: h}, nil
	}
	if h.Xattrs, err = xattrs(full); err != nil {
		return nil, fmt.Errorf("%s: %w", rel, err)
	}
	h.Major, h.Minor = device(info)
	n := &node{header: h}
	if info.Mode().IsRegular() {
		n.header.Size = info.Size()
		n.open = func() (io.ReadCloser, error) { return os.Open(full) }
	}
	return n, nil
}

// typeOf returns the type of a file. Sockets are sent as empty files.
func typeOf(mode fs.FileMode) Type {
	switch {
	case mode.IsDir():
		return TypeDir
	case mode&fs.ModeSymlink != 0:
		return TypeSymlink
	case mode&fs.ModeNamedPipe != 0:
		return TypeFifo
	case mode&fs.ModeCharDevice != 0:
		return TypeChar
	case mode&fs.ModeDevice != 0:
		return TypeBlock
	default:
		return TypeFile
	}
}

func modeOf(mode fs.FileMode) int64 {
	n := int64(mode.Perm())
	for bit, value := range map[fs.FileMode]int64{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&bit != 0 {
			n |= value
		}
	}
	return n
}
