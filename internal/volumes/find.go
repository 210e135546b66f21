package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ocicache/ocicache/internal/durable"
)

// candidate is a file that may be what its name says.
type candidate struct {
	path   string
	digits int
}

// foundFiles are the files of an archive in volumes. There may be several with one number, in several directories.
type foundFiles struct {
	path              string // FILE
	volumes, recovery map[int][]candidate
	lists             []string
	// absent are given names of volumes that do not exist, while other files of their archive do.
	absent []string

	// What readLists finds out.
	list      *listing // nil if there is none
	heads     map[string]*recoveryHead
	headErrs  map[string]error
	listFails []Problem
	noList    []Problem // the missing list, if recovery volumes say what it said
	notes     []string
}

// findFiles finds the named files, and the others of their archive next to them.
func findFiles(names []string) (*foundFiles, error) {
	found := &foundFiles{volumes: map[int][]candidate{}, recovery: map[int][]candidate{}}
	var dirs []os.FileInfo
	for _, name := range names {
		file := name
		if parsed, ok := parseVolumeName(filepath.Base(name)); ok {
			file = filepath.Join(filepath.Dir(name), parsed.stem)
			if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
				if !Exist(file) {
					return nil, err
				}
				found.absent = append(found.absent, name)
			}
		}
		if found.path == "" {
			found.path = file
		}
		if a, b := filepath.Base(found.path), filepath.Base(file); a != b {
			return nil, fmt.Errorf("%w: one is called %s and one %s; take archives one at a time", ErrMixed, a, b)
		}
		dir, err := os.Stat(filepath.Dir(file))
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(dirs, func(other os.FileInfo) bool { return os.SameFile(dir, other) }) {
			continue
		}
		dirs = append(dirs, dir)
		if err := found.addDir(filepath.Dir(file)); err != nil {
			return nil, err
		}
	}
	if len(found.volumes)+len(found.recovery)+len(found.lists) == 0 {
		return nil, &fs.PathError{Op: "open", Path: found.path, Err: fs.ErrNotExist}
	}
	return found, nil
}

// checkAbsent fails if a named file does not exist, and is not one that the archive has lost.
func (f *foundFiles) checkAbsent() error {
	for _, path := range f.absent {
		name, _ := parseVolumeName(filepath.Base(path)) // which was one
		known := f.list != nil
		switch {
		case known && name.kind == kindVolume:
			known = name.number <= len(f.list.sums) && name.digits == f.list.digits()
		case known && name.kind == kindRecovery:
			known = name.number <= len(f.list.recovery)
		}
		if !known {
			return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
	}
	return nil
}

func (f *foundFiles) addDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name, ok := parseVolumeName(entry.Name())
		if !ok || name.stem != filepath.Base(f.path) || entry.IsDir() {
			continue
		}
		c := candidate{path: filepath.Join(dir, entry.Name()), digits: name.digits}
		switch name.kind {
		case kindVolume:
			f.volumes[name.number] = append(f.volumes[name.number], c)
		case kindRecovery:
			f.recovery[name.number] = append(f.recovery[name.number], c)
		case kindList:
			f.lists = append(f.lists, c.path)
		}
	}
	return nil
}

// all returns the paths of all files.
func (f *foundFiles) all() []string {
	files := slices.Clone(f.lists)
	for _, numbers := range []map[int][]candidate{f.volumes, f.recovery} {
		for _, candidates := range numbers {
			for _, c := range candidates {
				files = append(files, c.path)
			}
		}
	}
	return files
}

// readLists finds out how the archive is split: from the list, else from the heads of recovery volumes.
func (f *foundFiles) readLists() error {
	var from string
	for _, path := range f.lists {
		list, err := readList(path)
		if err != nil {
			f.listFails = append(f.listFails, Problem{
				Name: filepath.Base(path), Err: fmt.Errorf("%w: %w", ErrDamaged, err),
			})
			continue
		}
		if f.list != nil && !f.list.same(list) {
			return disagree(from, f.list, path, list)
		}
		f.list, from = list, path
	}
	fromHeads, err := f.readHeads()
	if err != nil {
		return err
	}
	if f.list == nil && fromHeads != nil {
		f.list = fromHeads
		if len(f.lists) == 0 {
			f.noList = []Problem{{Name: filepath.Base(f.path) + listSuffix, Err: ErrMissing}}
			f.notef("%s: missing; the recovery volumes say what it said", filepath.Base(f.path)+listSuffix)
		}
	}
	if f.list == nil && len(f.listFails) > 0 {
		// Whoever wants to read the volumes without any list can remove it.
		return &LostError{File: f.path, Volumes: append(f.listFails, f.headProblems()...)}
	}
	for _, fail := range f.listFails {
		f.notef("%s: %v; another list was taken", fail.Name, fail.Err)
	}
	return nil
}

func disagree(onePath string, one *listing, otherPath string, other *listing) error {
	return fmt.Errorf("%w: %s is about the archive %s in %d volumes, %s about %s in %d",
		ErrMixed, onePath, one.id, len(one.sums), otherPath, other.id, len(other.sums))
}

// readHeads reads the heads of all recovery volumes. Without a list they have to agree. It returns what they say.
func (f *foundFiles) readHeads() (*listing, error) {
	f.heads, f.headErrs = map[string]*recoveryHead{}, map[string]error{}
	var list *listing
	var from string
	for number := 1; number < MaxRecoverable; number++ {
		for _, c := range f.recovery[number] {
			head, err := readHead(c.path)
			if err != nil {
				f.headErrs[c.path] = fmt.Errorf("%w: %w", ErrDamaged, err)
				continue
			}
			f.heads[c.path] = head
			if f.list == nil && list != nil && !list.same(head.list) {
				return nil, disagree(from, list, c.path, head.list)
			}
			list, from = head.list, c.path
		}
	}
	return list, nil
}

// headProblems lists the recovery volumes whose heads are bad.
func (f *foundFiles) headProblems() (problems []Problem) {
	for path, err := range f.headErrs {
		problems = append(problems, Problem{Name: filepath.Base(path), Err: err})
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Name, b.Name) })
	return problems
}

func (f *foundFiles) notef(format string, args ...any) {
	f.notes = append(f.notes, fmt.Sprintf(format, args...))
}

func readList(path string) (*listing, error) {
	raw, err := durable.ReadRegular(path, maxList+1)
	if err != nil {
		return nil, err
	}
	if len(raw) > maxList {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrList, maxList)
	}
	return parseList(raw, false)
}

func readHead(path string) (head *recoveryHead, err error) {
	file, _, err := durable.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return parseHead(file)
}
