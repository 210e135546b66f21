package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/opencontainers/go-digest"
)

// keepOpen is how many volumes are kept open. The others are opened each time they are read.
const keepOpen = MaxVolumesRecovery

// What can be wrong with a volume. The problems in a *VolumesError wrap one of them.
var (
	ErrVolumeMissing = errors.New("missing")
	ErrVolumeDamaged = errors.New("damaged")
	ErrVolumeForeign = errors.New("of another archive, or of an earlier run under the same name")
)

// ErrVolumesMixed says that files were named together, or lie together, that belong to different archives.
var ErrVolumesMixed = errors.New("files of different archives")

// VolumeProblem says what is wrong with a volume, a recovery volume or a list.
type VolumeProblem struct {
	Name string // of the file, without its directory
	Err  error
}

// VolumesError lists all volumes, recovery volumes and lists of an archive that are missing or damaged, where that is
// more than can be rebuilt.
type VolumesError struct {
	File    string // without .001
	Volumes []VolumeProblem
	Lost    int // how many volumes can't be read, of those that the archive has
	Rebuild int // how many can be rebuilt from the recovery volumes that are left
}

func (e *VolumesError) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: missing or damaged volumes: %d, can be rebuilt: %d", e.File, e.Lost, e.Rebuild)
	for _, problem := range e.Volumes {
		fmt.Fprintf(&text, "\n  %s: %v", problem.Name, problem.Err)
	}
	return text.String()
}

// Unwrap returns the causes.
func (e *VolumesError) Unwrap() []error {
	errs := make([]error, len(e.Volumes))
	for i, problem := range e.Volumes {
		errs[i] = problem.Err
	}
	return errs
}

// volumeSet is an archive in volumes that can be read anywhere, by several at once. Lost volumes are rebuilt while they
// are read.
type volumeSet struct {
	path    string // FILE
	id      digest.Digest
	total   int64
	starts  []int64 // of the volumes in the archive
	volumes []shard
	rebuild *rebuilder // has the recovery volumes; nil where nothing names them
	notes   []string
}

// shard is what a volume or recovery volume adds to the archive. It is lost where its path is "".
type shard struct {
	path   string
	file   *os.File // nil where it is opened each time
	offset int64    // of the payload
	size   int64    // of the payload
}

func (s *shard) lost() bool { return s.path == "" }

// ReadAt reads from the payload.
func (s *shard) ReadAt(p []byte, offset int64) (n int, err error) {
	file := s.file
	if file == nil {
		if file, err = os.Open(s.path); err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
	}
	return file.ReadAt(p, s.offset+offset)
}

// openVolumes opens an archive in volumes. The names are those of volumes, recovery volumes or lists, in any order, or
// FILE itself; what lies beside them is found. Every volume is hashed before it returns. Where more is missing or damaged
// than recovery volumes make good, it fails with a *VolumesError that has all of it; where the files are not of one
// archive, with ErrVolumesMixed. Nothing is written.
func openVolumes(ctx context.Context, names []string) (*volumeSet, error) {
	found, err := findVolumes(names)
	if err != nil {
		return nil, err
	}
	if err := found.readLists(); err != nil {
		return nil, err
	}
	set := &volumeSet{path: found.path, notes: found.notes}
	if found.list == nil {
		err = set.concatenate(found)
	} else {
		err = set.verify(ctx, found)
	}
	if err != nil {
		return nil, errors.Join(err, set.Close())
	}
	return set, nil
}

// Size returns how many bytes the archive has.
func (s *volumeSet) Size() int64 { return s.total }

// ID returns the id of the archive, "" where neither a list nor a recovery volume says it.
func (s *volumeSet) ID() digest.Digest { return s.id }

// String returns the name of the archive, that of its volumes without the number.
func (s *volumeSet) String() string { return s.path }

// Notes says what is missing or damaged though the archive can be read, one sentence each.
func (s *volumeSet) Notes() []string { return s.notes }

// Close closes the volumes.
func (s *volumeSet) Close() error {
	errs := closeShards(s.volumes)
	if s.rebuild != nil {
		errs = append(errs, closeShards(s.rebuild.recovery)...)
	}
	return errors.Join(errs...)
}

func closeShards(shards []shard) (errs []error) {
	for i := range shards {
		if shards[i].file != nil {
			errs = append(errs, shards[i].file.Close())
		}
	}
	return errs
}

// ReadAt reads from the archive, across volumes.
func (s *volumeSet) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("%s: can't read at %d", s.path, offset)
	}
	n := 0
	for n < len(p) && offset < s.total {
		i := sort.Search(len(s.starts), func(i int) bool { return s.starts[i] > offset }) - 1
		within := offset - s.starts[i]
		part := p[n : n+int(min(int64(len(p)-n), s.volumes[i].size-within))]
		var err error
		if s.volumes[i].lost() {
			err = s.rebuild.read(i, part, within)
		} else {
			err = readFull(&s.volumes[i], part, within)
		}
		if err != nil {
			return n, fmt.Errorf("%s: read volume %d: %w", s.path, i+1, err)
		}
		n += len(part)
		offset += int64(len(part))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// candidate is a file that may be what its name says.
type candidate struct {
	path   string
	digits int
}

// foundVolumes are the files of an archive in volumes. There may be several of a number, in several directories.
type foundVolumes struct {
	path              string // FILE
	volumes, recovery map[int][]candidate
	lists             []string

	// What readLists finds out.
	list      *volumeList // nil where there is none
	heads     map[string]*recoveryHead
	headErrs  map[string]error
	listFails []VolumeProblem
	notes     []string
}

// findVolumes finds the files that are named, and those beside them.
func findVolumes(names []string) (*foundVolumes, error) {
	found := &foundVolumes{volumes: map[int][]candidate{}, recovery: map[int][]candidate{}}
	var dirs []os.FileInfo
	for _, name := range names {
		file := name
		if parsed, ok := parseVolumeName(filepath.Base(name)); ok {
			if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			file = filepath.Join(filepath.Dir(name), parsed.stem)
		}
		if found.path == "" {
			found.path = file
		}
		if a, b := filepath.Base(found.path), filepath.Base(file); a != b {
			return nil, fmt.Errorf("%w: one is called %s and one %s", ErrVolumesMixed, a, b)
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

func (f *foundVolumes) addDir(dir string) error {
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

// readLists finds out how the archive is split: from the list, else from the heads of recovery volumes.
func (f *foundVolumes) readLists() error {
	var from string
	for _, path := range f.lists {
		list, err := readList(path)
		if err != nil {
			f.listFails = append(f.listFails, VolumeProblem{
				Name: filepath.Base(path), Err: fmt.Errorf("%w: %w", ErrVolumeDamaged, err),
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
			f.notef("%s: missing; the recovery volumes say what it said", filepath.Base(f.path)+listSuffix)
		}
	}
	if f.list == nil && len(f.listFails) > 0 {
		// Whoever wants to read the volumes without any list can remove it.
		return &VolumesError{File: f.path, Volumes: append(f.listFails, f.headProblems()...)}
	}
	for _, fail := range f.listFails {
		f.notef("%s: %v; another list was taken", fail.Name, fail.Err)
	}
	return nil
}

func disagree(onePath string, one *volumeList, otherPath string, other *volumeList) error {
	return fmt.Errorf("%w: %s is about the archive %s in %d volumes, %s about %s in %d",
		ErrVolumesMixed, onePath, one.id, len(one.sums), otherPath, other.id, len(other.sums))
}

// readHeads reads the heads of all recovery volumes. Without a list they have to agree, and what they say is returned.
func (f *foundVolumes) readHeads() (*volumeList, error) {
	f.heads, f.headErrs = map[string]*recoveryHead{}, map[string]error{}
	var list *volumeList
	var from string
	for number := 1; number < MaxVolumesRecovery; number++ {
		for _, c := range f.recovery[number] {
			head, err := readHead(c.path)
			if err != nil {
				f.headErrs[c.path] = fmt.Errorf("%w: %w", ErrVolumeDamaged, err)
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
func (f *foundVolumes) headProblems() (problems []VolumeProblem) {
	for path, err := range f.headErrs {
		problems = append(problems, VolumeProblem{Name: filepath.Base(path), Err: err})
	}
	slices.SortFunc(problems, func(a, b VolumeProblem) int { return strings.Compare(a.Name, b.Name) })
	return problems
}

func (f *foundVolumes) notef(format string, args ...any) {
	f.notes = append(f.notes, fmt.Sprintf(format, args...))
}

func readList(path string) (*volumeList, error) {
	raw, err := readSome(path, maxList+1)
	if err != nil {
		return nil, err
	}
	if len(raw) > maxList {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrList, maxList)
	}
	return parseList(raw, false)
}

func readHead(path string) (head *recoveryHead, err error) {
	file, _, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return parseHead(file)
}

// concatenate takes the volumes as they are, from the first to the last, where nothing says how it should be. What the
// last one lacks, or whether there should be more, the archive itself tells.
func (s *volumeSet) concatenate(found *foundVolumes) error {
	last, digits := 0, 0
	for _, number := range slices.Sorted(maps.Keys(found.volumes)) {
		candidates := found.volumes[number]
		last = number
		if len(candidates) > 1 {
			return fmt.Errorf("%w: %s and %s, and no list says which is right",
				ErrVolumesMixed, candidates[0].path, candidates[1].path)
		}
		if digits != 0 && digits != candidates[0].digits {
			return fmt.Errorf("%w: %s is not numbered as the others are", ErrVolumesMixed, candidates[0].path)
		}
		digits = candidates[0].digits
	}
	problems := found.headProblems()
	lost := 0
	for number := 1; number <= last; number++ {
		candidates := found.volumes[number]
		if len(candidates) == 0 {
			lost++
			name := volumeFile(filepath.Base(s.path), number, digits)
			problems = append(problems, VolumeProblem{Name: name, Err: ErrVolumeMissing})
			continue
		}
		file, size, err := openRegular(candidates[0].path)
		if err != nil {
			lost++
			problems = append(problems, VolumeProblem{
				Name: filepath.Base(candidates[0].path), Err: fmt.Errorf("%w: %w", ErrVolumeDamaged, err),
			})
			continue
		}
		if err := s.add(shard{path: candidates[0].path, file: file, size: size}); err != nil {
			return err
		}
	}
	if lost > 0 || last == 0 {
		return &VolumesError{File: s.path, Volumes: problems, Lost: lost}
	}
	for _, problem := range problems {
		s.notes = append(s.notes, fmt.Sprintf("%s: %v; it can't help", problem.Name, problem.Err))
	}
	s.notes = append(s.notes, filepath.Base(s.path)+listSuffix+": missing; the volumes are taken as they are")
	return nil
}

// add appends a volume to the archive, and closes it again where too many are open.
func (s *volumeSet) add(volume shard) error {
	var err error
	if len(s.volumes) >= keepOpen && volume.file != nil {
		err = volume.file.Close()
		volume.file = nil
	}
	s.starts = append(s.starts, s.total)
	s.volumes = append(s.volumes, volume)
	s.total += volume.size
	return err
}
