package volumes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/ocicache/ocicache/internal/durable"
)

// keepOpen is how many volumes are kept open. The others are opened each time they are read.
const keepOpen = MaxRecoverable

// What can be wrong with a volume. The problems in a *LostError wrap one of them.
var (
	ErrMissing = errors.New("missing")
	ErrDamaged = errors.New("damaged")
	ErrForeign = errors.New("of another archive, or of an earlier run under the same name")
)

// ErrMixed says that files that were named together, or lie together, belong to different archives.
var ErrMixed = errors.New("files of different archives")

// Problem says what is wrong with a volume, a recovery volume or a list.
type Problem struct {
	Name string // of the file, without its directory
	Err  error
}

// LostError lists all volumes, recovery volumes and lists of an archive that are missing or damaged, if they are
// more than can be rebuilt.
type LostError struct {
	File    string // without .001
	Volumes []Problem
	Lost    int // how many volumes can't be read, of those that the archive has
	Rebuild int // how many can be rebuilt from the recovery volumes that are left
	// There are the volumes that exist, if neither a list nor a recovery volume says how many there should be, and
	// the archive ends too early. Lost is 0 then.
	There []string
	// OtherList is the name of the list if that is probably another archive's, and the volumes are right; else "". Volumes has only
	// the list then.
	OtherList string
}

func (e *LostError) Error() string {
	var text strings.Builder
	switch {
	case len(e.There) > 0:
		fmt.Fprintf(&text, "%s: the archive is in volumes, and goes on after %s", e.File, e.There[len(e.There)-1])
	case e.OtherList != "":
		fmt.Fprintf(&text, "%s: %s is probably another archive's: none of the volumes is one that it names, but they fit each other", e.File, e.OtherList)
	default:
		fmt.Fprintf(&text, "%s: missing or damaged volumes: %d, can be rebuilt: %d", e.File, e.Lost, e.Rebuild)
	}
	for _, problem := range e.Volumes {
		fmt.Fprintf(&text, "\n  %s: %v", problem.Name, problem.Err)
	}
	return text.String()
}

// Unwrap returns the causes.
func (e *LostError) Unwrap() []error {
	errs := make([]error, len(e.Volumes))
	for i, problem := range e.Volumes {
		errs[i] = problem.Err
	}
	return errs
}

// Set is an archive in volumes that can be read at any offset, by several at once. Lost volumes are rebuilt as they
// are read.
type Set struct {
	fs      durable.FS
	path    string // FILE
	id      string
	total   int64
	starts  []int64 // of the volumes in the archive
	volumes []shard
	rebuild *rebuilder // has the recovery volumes; nil if nothing names them
	notes   []string
	lost    []Problem
	files   []string // all that was found
}

// shard is what a volume or recovery volume adds to the archive. It is lost if its path is "".
type shard struct {
	path   string
	file   *os.File // nil if it is opened each time
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

// Open opens an archive in volumes. The names are those of volumes, recovery volumes or lists, in any order, or
// FILE itself; Open finds the other files next to them. It hashes every volume that has a known sum before it returns. If
// more is missing or damaged than recovery volumes make up for, it fails with a *LostError that lists all of it; if the
// files belong to different archives, with ErrMixed. It writes nothing.
func Open(ctx context.Context, names []string) (*Set, error) {
	found, err := findFiles(names)
	if err != nil {
		return nil, err
	}
	if err := found.readLists(); err != nil {
		return nil, err
	}
	if err := found.checkAbsent(); err != nil {
		return nil, err
	}
	set := &Set{fs: durable.On(ctx), path: found.path, notes: found.notes, files: found.all()}
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
func (s *Set) Size() int64 { return s.total }

// ID returns the id of the archive, "" if neither a list nor a recovery volume says it.
func (s *Set) ID() string { return s.id }

// String returns the name of the archive, that of its volumes without the number.
func (s *Set) String() string { return s.path }

// Occupies reports whether path is one of the files of the set, including those that are damaged or not needed, or has the
// name of the archive, or of a volume of it, in one of their directories: writing there could replace what is read.
func (s *Set) Occupies(path string) bool { return occupies(s.files, path) }

// Occupies is Set.Occupies for the set that Open would open by the name file, and for file itself, in a set or not.
func Occupies(file, path string) bool {
	found, err := findFiles([]string{file})
	return err == nil && occupies(found.all(), path) || sameFile(file, path)
}

func occupies(files []string, path string) bool {
	stem := filepath.Base(path)
	if name, ok := parseVolumeName(stem); ok {
		stem = name.stem
	}
	return slices.ContainsFunc(files, func(file string) bool {
		name, ok := parseVolumeName(filepath.Base(file))
		return sameFile(file, path) || ok && name.stem == stem && sameFile(filepath.Dir(file), filepath.Dir(path))
	})
}

func sameFile(a, b string) bool {
	infoA, err := os.Stat(a)
	if err != nil {
		return false
	}
	infoB, err := os.Stat(b)
	return err == nil && os.SameFile(infoA, infoB)
}

// Notes says what is missing or damaged though the archive can be read, one sentence each.
func (s *Set) Notes() []string { return s.notes }

// Lost lists the volumes, recovery volumes and lists that are missing, damaged or misnamed, though the archive can be read.
func (s *Set) Lost() []Problem { return slices.Clone(s.lost) }

// Close closes the volumes.
func (s *Set) Close() error {
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
func (s *Set) ReadAt(p []byte, offset int64) (int, error) {
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
		} else if err = s.fs.Check(durable.OpRead, s.volumes[i].path); err == nil {
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

// concatenate takes the volumes as they are, from the first to the last, if nothing says what they should be. The archive
// itself shows whether the last one is cut off, or more should follow.
func (s *Set) concatenate(found *foundFiles) error {
	last, digits := 0, 0
	for _, number := range slices.Sorted(maps.Keys(found.volumes)) {
		candidates := found.volumes[number]
		last = number
		if len(candidates) > 1 {
			return fmt.Errorf("%w: %s and %s, and no list says which is right",
				ErrMixed, candidates[0].path, candidates[1].path)
		}
		if digits != 0 && digits != candidates[0].digits {
			return fmt.Errorf("%w: %s is not numbered as the others are", ErrMixed, candidates[0].path)
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
			problems = append(problems, Problem{Name: name, Err: ErrMissing})
			continue
		}
		file, size, err := s.fs.OpenRegular(candidates[0].path)
		if err != nil {
			lost++
			problems = append(problems, Problem{
				Name: filepath.Base(candidates[0].path), Err: fmt.Errorf("%w: %w", ErrDamaged, err),
			})
			continue
		}
		if err := s.add(shard{path: candidates[0].path, file: file, size: size}); err != nil {
			return err
		}
	}
	if lost > 0 || last == 0 {
		return &LostError{File: s.path, Volumes: problems, Lost: lost}
	}
	for _, problem := range problems {
		s.notes = append(s.notes, fmt.Sprintf("%s: %v; it can't help", problem.Name, problem.Err))
	}
	s.lost = slices.Concat(problems, []Problem{{Name: filepath.Base(s.path) + listSuffix, Err: ErrMissing}})
	s.notes = append(s.notes, filepath.Base(s.path)+listSuffix+": missing; the volumes are taken as they are")
	return nil
}

// MayLack returns what may be missing if the archive ends too early: nil if a list says that all volumes are there.
func (s *Set) MayLack() *LostError {
	if s.id != "" || len(s.volumes) == 0 {
		return nil
	}
	lost := &LostError{File: s.path}
	for _, volume := range s.volumes {
		lost.There = append(lost.There, filepath.Base(volume.path))
	}
	stem := filepath.Base(s.path)
	last, _ := parseVolumeName(lost.There[len(lost.There)-1])
	lost.Volumes = []Problem{
		{Name: volumeFile(stem, last.number+1, last.digits), Err: fmt.Errorf("%w, as may be those that follow", ErrMissing)},
		{Name: stem + listSuffix, Err: fmt.Errorf("%w; it says how many there are", ErrMissing)},
	}
	return lost
}

// add appends a volume to the archive, and closes it if too many are open.
func (s *Set) add(volume shard) error {
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
