package main

import (
	"cmp"
	"errors"
	"hash/maphash"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ocicache/ocicache/internal/durable"
)

// This is a model of what a disk holds after a power cut. A command runs with a recorder at the seam of internal/durable,
// which notes before each operation what the file system looks like. From these notes a disk is computed for each moment:
//
//   - Bytes of a file last once the file was synced; until then the file may be as it was when it was synced the last time,
//     cut off, or full of zeros.
//   - A change of a name lasts once its directory was synced; until then each may have happened or not, in any combination,
//     whatever the order was. A rename may leave both names, but never none: all journaling file systems promise that.
//
// Nothing else is taken for granted: no order between operations, and nothing that the system would write by itself.

// inode stands for a file or directory; 0 for none. Unlike numbers of a file system it is never used again.
type inode int

// place is a name in a directory.
type place struct {
	dir  inode
	name string
}

// snapshot is what a file system looks like to those who use it.
type snapshot struct {
	names map[place]inode
	bytes map[inode]string // of files; what has no bytes is a directory
}

// step is an operation that the command is about to do.
type step struct {
	op     durable.Op
	target inode     // what is synced
	before *snapshot // when it began
}

// syncs reports whether something lasts after the step that did not before it.
func (s step) syncs() bool { return s.op == durable.OpSync || s.op == durable.OpSyncDir }

// recording is what a command did to a directory.
type recording struct {
	root  inode
	steps []step
	end   *snapshot
}

// recorder makes a recording.
type recorder struct {
	t     *testing.T
	root  string
	mu    sync.Mutex
	nodes map[uint64]inode
	files []*os.File // one of each inode, in their order: as long as it is open, nothing else gets its number
	last  *snapshot
	made  recording
}

// record runs a command with a recorder over a directory.
func record(t *testing.T, root string, run func(fault func(durable.Op, string) error)) *recording {
	t.Helper()
	r := &recorder{t: t, root: root, nodes: map[uint64]inode{}, last: &snapshot{}}
	defer func() {
		for _, file := range r.files {
			_ = file.Close()
		}
	}()
	r.made.root = r.node(root)
	r.note("", "")
	run(func(op durable.Op, path string) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.note(op, path)
		return nil
	})
	r.made.end = r.look()
	return &r.made
}

func (r *recorder) note(op durable.Op, path string) {
	s := step{op: op, before: r.look()}
	if s.syncs() {
		s.target = r.node(path)
	}
	r.made.steps = append(r.made.steps, s)
}

// node returns what a path names, 0 for nothing.
func (r *recorder) node(path string) inode {
	var stat syscall.Stat_t
	if syscall.Lstat(path, &stat) == nil && r.nodes[stat.Ino] != 0 {
		return r.nodes[stat.Ino]
	}
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return 0
	}
	if err := syscall.Fstat(int(file.Fd()), &stat); err != nil {
		r.t.Error(err)
		return 0
	}
	if known, ok := r.nodes[stat.Ino]; ok {
		_ = file.Close()
		return known
	}
	r.files = append(r.files, file)
	r.nodes[stat.Ino] = inode(len(r.files))
	return r.nodes[stat.Ino]
}

// look takes a snapshot. Others may be at work meanwhile, so it looks until it has seen the same names twice.
func (r *recorder) look() *snapshot {
	names := r.names()
	for again := r.names(); !maps.Equal(names, again); again = r.names() {
		names = again
	}
	now := &snapshot{names: names, bytes: map[inode]string{}}
	for _, node := range names {
		file := r.files[node-1]
		info, err := file.Stat()
		if err != nil || info.IsDir() {
			continue
		}
		raw := make([]byte, info.Size())
		if _, err := file.ReadAt(raw, 0); err != nil && !errors.Is(err, io.EOF) {
			r.t.Error(err)
		}
		now.bytes[node] = string(raw)
		if was := r.last.bytes[node]; was == now.bytes[node] {
			now.bytes[node] = was // so that the same bytes are held once
		}
	}
	r.last = now
	return now
}

func (r *recorder) names() map[place]inode {
	names := map[place]inode{}
	_ = filepath.WalkDir(r.root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == r.root {
			return nil //nolint:nilerr // it was removed meanwhile
		}
		if node := r.node(path); node != 0 {
			names[place{r.node(filepath.Dir(path)), filepath.Base(path)}] = node
		}
		return nil
	})
	return names
}

// change is a change of a name that may not last yet.
type change struct {
	at place
	to inode
	// other is, for the name that a rename takes away, the one that it gives.
	other *change
}

// disk is what a recording has brought to the disk so far.
type disk struct {
	root    inode
	now     *snapshot
	written map[inode]string // bytes of files, also of those that have no name any more
	names   map[place]inode  // that last
	synced  map[inode]string // bytes that last
	pending []*change        // in their order
}

func newDisk(r *recording) *disk {
	first := r.steps[0].before
	return &disk{
		root: r.root, now: first, written: maps.Clone(first.bytes),
		names: maps.Clone(first.names), synced: maps.Clone(first.bytes),
	}
}

// become goes on to what the file system looks like next, and reports whether it looks otherwise.
func (d *disk) become(next *snapshot) bool {
	if maps.Equal(next.names, d.now.names) && maps.Equal(next.bytes, d.now.bytes) {
		return false
	}
	given := map[inode]*change{}
	var taken []*change
	for _, at := range placesOf(next.names) {
		if node := next.names[at]; d.now.names[at] != node {
			given[node] = &change{at: at, to: node}
			d.pending = append(d.pending, given[node])
		}
	}
	for _, at := range placesOf(d.now.names) {
		if _, still := next.names[at]; !still {
			taken = append(taken, &change{at: at, other: given[d.now.names[at]]})
		}
	}
	d.pending = append(d.pending, taken...)
	d.now = next
	maps.Copy(d.written, next.bytes)
	return true
}

func placesOf(names map[place]inode) []place {
	return slices.SortedFunc(maps.Keys(names), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.dir, b.dir), strings.Compare(a.name, b.name))
	})
}

// do makes last what a step makes last.
func (d *disk) do(s step) {
	if s.op == durable.OpSync {
		d.synced[s.target] = d.written[s.target]
	}
	if s.op != durable.OpSyncDir {
		return
	}
	lasts := map[*change]bool{}
	for _, c := range d.pending {
		if c.at.dir == s.target {
			lasts[c] = true
		}
	}
	d.names = d.with(lasts)
	d.pending = slices.DeleteFunc(d.pending, func(c *change) bool { return lasts[c] })
}

// with returns the names with some of the pending changes.
func (d *disk) with(chosen map[*change]bool) map[place]inode {
	for _, c := range d.pending {
		if chosen[c] && c.other != nil && slices.Contains(d.pending, c.other) {
			chosen[c.other] = true
		}
	}
	names := maps.Clone(d.names)
	for _, c := range d.pending {
		switch {
		case !chosen[c]:
		case c.to == 0:
			delete(names, c.at)
		default:
			names[c.at] = c.to
		}
	}
	return names
}

// losses are what can have become of bytes that were not synced.
var losses = []func(synced, now string) string{
	func(synced, _ string) string { return synced },                        // never written
	func(_, now string) string { return strings.Repeat("\x00", len(now)) }, // only the length
	func(_, now string) string { return now[:len(now)/2] },                 // only a part
	func(_, now string) string { return now },                              // all
}

// choices are which of the pending changes may have happened: none, all, those that give names, those that take names,
// each alone, all but each, and some at random.
func (d *disk) choices(random *rand.Rand, samples int) []map[*change]bool {
	choose := func(is func(i int, c *change) bool) map[*change]bool {
		chosen := map[*change]bool{}
		for i, c := range d.pending {
			chosen[c] = is(i, c)
		}
		return chosen
	}
	all := []map[*change]bool{
		choose(func(int, *change) bool { return false }),
		choose(func(int, *change) bool { return true }),
		choose(func(_ int, c *change) bool { return c.to != 0 }),
		choose(func(_ int, c *change) bool { return c.to == 0 }),
	}
	for one := range d.pending {
		all = append(all, choose(func(i int, _ *change) bool { return i == one }), choose(func(i int, _ *change) bool { return i != one }))
	}
	for range samples {
		all = append(all, choose(func(int, *change) bool { return random.IntN(2) == 0 }))
	}
	return all
}

// tree is what lies in a directory, by path: the bytes of files, and for directories, whose paths end with a slash, nothing.
type tree map[string]string

// trees returns what a power cut may leave now.
func (d *disk) trees(random *rand.Rand, samples int) []tree {
	var all []tree
	for _, chosen := range d.choices(random, samples) {
		names := d.with(chosen)
		if !d.canLose(names) {
			all = append(all, d.tree(names, losses[0]))
			continue
		}
		for _, lose := range losses {
			all = append(all, d.tree(names, lose))
		}
	}
	return all
}

// canLose reports whether one of the files that have names was not synced.
func (d *disk) canLose(names map[place]inode) bool {
	for _, node := range names {
		if d.written[node] != d.synced[node] {
			return true
		}
	}
	return false
}

func (d *disk) tree(names map[place]inode, lose func(synced, now string) string) tree {
	in := map[inode][]place{}
	for at := range names {
		in[at.dir] = append(in[at.dir], at)
	}
	left := tree{}
	var walk func(dir inode, path string)
	walk = func(dir inode, path string) {
		for _, at := range in[dir] {
			node := names[at]
			now, isFile := d.written[node]
			switch synced := d.synced[node]; {
			case isFile && now != synced:
				left[path+at.name] = lose(synced, now)
			case isFile:
				left[path+at.name] = synced
			default:
				left[path+at.name+"/"] = ""
				walk(node, path+at.name+"/")
			}
		}
	}
	walk(d.root, "")
	return left
}

// afterPowerCuts calls visit with what a power cut may leave at each moment of a recording that differs from the one before, each only once, and done where
// the command had ended. Syncs for which ignored says so count for nothing. It ends where visit returns false.
func afterPowerCuts(r *recording, samples int, ignored func(durable.Op) bool, visit func(left tree, done bool) bool) {
	random := rand.New(rand.NewPCG(4, 3))
	seed, seen := maphash.MakeSeed(), map[uint64]bool{}
	look := func(d *disk, done bool) bool {
		for _, left := range d.trees(random, samples) {
			if key := left.key(seed, done); !seen[key] {
				seen[key] = true
				if !visit(left, done) {
					return false
				}
			}
		}
		return true
	}
	d, changed := newDisk(r), true
	for _, s := range r.steps {
		if changed = d.become(s.before) || changed; changed && !look(d, false) {
			return
		}
		if changed = s.syncs() && !ignored(s.op); changed {
			d.do(s)
		}
	}
	d.become(r.end)
	look(d, true)
}

// key tells trees apart. Temporary files that have their temporary names still are all the same: nobody ever reads them.
func (t tree) key(seed maphash.Seed, done bool) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	maphash.WriteComparable(&h, done)
	temporary := false
	for _, path := range slices.Sorted(maps.Keys(t)) {
		raw := t[path]
		if dir, name := filepath.Split(path); strings.HasPrefix(name, "tmp-") {
			if temporary {
				continue
			}
			path, raw, temporary = dir+"tmp-", "", true
		}
		for _, text := range []string{path, "\x00", raw, "\x00"} {
			_, _ = h.WriteString(text)
		}
	}
	return h.Sum64()
}

// write makes the tree in a directory. Files with the same bytes, if any, become names of one file, as those are that a rename left
// with both names.
func (t tree) write(dir string) error {
	first := map[string]string{}
	for _, path := range slices.Sorted(maps.Keys(t)) { // a directory comes before what is in it
		name := filepath.Join(dir, path)
		var err error
		switch same, ok := first[t[path]]; {
		case strings.HasSuffix(path, "/"):
			err = os.MkdirAll(name, 0o755)
		case ok && t[path] != "":
			err = os.Link(same, name)
		default:
			first[t[path]] = name
			err = os.WriteFile(name, []byte(t[path]), 0o644)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
