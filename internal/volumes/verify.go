package volumes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/parallel"
)

// checked is the outcome of looking for a volume or a recovery volume.
type checked struct {
	shard shard
	err   error  // why it is lost, if it is
	holds int    // the number, from 1, of another volume whose bytes are in the file with this one's name; 0 for none
	under string // the name of another volume that it was found under, "" for its own
}

// verify looks at all volumes and recovery volumes that the list names, hashes them, and takes those that are right.
func (s *Set) verify(ctx context.Context, found *foundFiles) error {
	list := found.list
	volumes, recovery, err := found.check(ctx)
	for i, volume := range volumes {
		volume.shard.size = list.volumeSize(i)
		err = errors.Join(err, s.add(volume.shard))
	}
	s.id = list.id
	s.rebuild = &rebuilder{volumes: s.volumes, size: list.size, total: list.total}
	for _, r := range recovery {
		s.rebuild.recovery = append(s.rebuild.recovery, r.shard)
	}
	if err != nil {
		return err
	}
	return s.judge(found, volumes, recovery)
}

// judge fails if not enough is there, and notes what is lost.
func (s *Set) judge(found *foundFiles, volumes, recovery []checked) error {
	stem := filepath.Base(s.path)
	problems := slices.Clone(found.listFails)
	var misnamed []Problem // whose bytes are all there
	lost, left := countLost(volumes), len(recovery)-countLost(recovery)
	for i, volume := range volumes {
		if volume.under != "" {
			err := fmt.Errorf("it holds what %s should hold", found.list.volumeFile(stem, i))
			misnamed = append(misnamed, Problem{Name: volume.under, Err: err})
			s.notes = append(s.notes, fmt.Sprintf("%s: %v, and is read as that", volume.under, err))
		}
		if volume.err == nil {
			continue
		}
		name := found.list.volumeFile(stem, i)
		problems = append(problems, Problem{Name: name, Err: volume.err})
		s.notes = append(s.notes, fmt.Sprintf("%s: %v; it is rebuilt while it is read (%s more may be lost)", name, volume.err, orNo(left-lost)))
	}
	for i, r := range recovery {
		if r.err == nil {
			continue
		}
		name := recoveryFile(stem, i+1)
		problems = append(problems, Problem{Name: name, Err: r.err})
		s.notes = append(s.notes, fmt.Sprintf("%s: %v; it is not needed", name, r.err))
	}
	if lost > left {
		if name := found.otherList(volumes, recovery); name != "" {
			list := found.list
			err := fmt.Errorf("%w: it is about the archive %s in %d volumes", ErrForeign, list.id, len(list.sums))
			return &LostError{File: s.path, Volumes: []Problem{{Name: name, Err: err}}, Lost: lost, Rebuild: left, OtherList: name}
		}
		return &LostError{File: s.path, Volumes: problems, Lost: lost, Rebuild: left}
	}
	s.lost = slices.Concat(problems, found.noList, misnamed)
	s.notes = append(s.notes, found.leftovers()...)
	if lost > 0 {
		return s.rebuild.start()
	}
	return nil
}

// countLost returns how many are lost.
func countLost(shards []checked) (lost int) {
	for _, shard := range shards {
		if shard.err != nil {
			lost++
		}
	}
	return lost
}

// orNo returns a number as text, "no" for none.
func orNo(n int) string {
	if n <= 0 {
		return "no"
	}
	return strconv.Itoa(n)
}

// leftovers says which files the list does not name.
func (f *foundFiles) leftovers() (notes []string) {
	digits := f.list.digits()
	for number, candidates := range f.volumes {
		for _, c := range candidates {
			if number > len(f.list.sums) || c.digits != digits {
				notes = append(notes, c.path+": not in the list; it is left aside")
			}
		}
	}
	for number, candidates := range f.recovery {
		for _, c := range candidates {
			if number > len(f.list.recovery) {
				notes = append(notes, c.path+": not in the list; it is left aside")
			}
		}
	}
	slices.Sort(notes)
	return notes
}

// check hashes what was found, several files at once. It fails only if it is interrupted, and even then returns what
// it has opened.
func (f *foundFiles) check(ctx context.Context) (volumes, recovery []checked, err error) {
	list := f.list
	volumes, recovery = make([]checked, len(list.sums)), make([]checked, len(list.recovery))
	places := make(map[string]int, len(list.sums)) // the volume that has a sum, from 1
	for i, sum := range slices.Backward(list.sums) {
		places[sum] = i + 1
	}
	group, together := parallel.New(ctx, min(runtime.GOMAXPROCS(0), 8))
	for i := range volumes {
		group.Go(func() (err error) {
			volumes[i], err = f.checkVolume(together, i, places)
			return err
		})
	}
	for i := range recovery {
		group.Go(func() (err error) {
			recovery[i], err = f.checkRecovery(together, i)
			return err
		})
	}
	if err = group.Wait(); err == nil {
		err = f.findMisnamed(ctx, volumes)
	}
	return volumes, recovery, err
}

// findMisnamed finds lost volumes in files that have the names of others, as when some were swapped.
func (f *foundFiles) findMisnamed(ctx context.Context, volumes []checked) error {
	for at := range volumes {
		i := volumes[at].holds - 1
		if i < 0 || volumes[i].err == nil {
			continue
		}
		for _, c := range f.volumes[at+1] {
			file, sum, err := hashFile(ctx, c.path, 0, f.list.volumeSize(i))
			if interrupted := context.Cause(ctx); interrupted != nil {
				return errors.Join(interrupted, closeFile(file))
			}
			if err == nil && sum == f.list.sums[i] {
				shard := shard{path: c.path, file: keepFile(file, i)}
				volumes[i] = checked{shard: shard, holds: volumes[i].holds, under: filepath.Base(c.path)}
				break
			}
			if err := closeFile(file); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkVolume looks for volume i, counted from 0.
func (f *foundFiles) checkVolume(ctx context.Context, i int, places map[string]int) (checked, error) {
	result := checked{err: ErrMissing}
	for _, c := range f.volumes[i+1] {
		if c.digits != f.list.digits() {
			continue
		}
		size := f.likelySize(c.path, i)
		file, sum, err := hashFile(ctx, c.path, 0, size)
		if interrupted := context.Cause(ctx); interrupted != nil {
			return checked{}, errors.Join(interrupted, closeFile(file))
		}
		if err == nil && sum == f.list.sums[i] {
			return checked{shard: shard{path: c.path, file: keepFile(file, i)}}, nil
		}
		switch place := places[sum]; {
		case errors.As(err, new(*sizeError)):
			result.err = fmt.Errorf("%w, or %w: %w", ErrDamaged, ErrForeign, err)
		case err != nil:
			result.err = fmt.Errorf("%w: %w", ErrDamaged, err)
		case place != 0:
			result.holds = place
			result.err = fmt.Errorf("%w: it holds what %s should hold", ErrDamaged, f.list.volumeFile(filepath.Base(f.path), place-1))
		case size != f.list.volumeSize(i):
			result.err = fmt.Errorf("%w, or %w: %w", ErrDamaged, ErrForeign, &sizeError{size, f.list.volumeSize(i)})
		default:
			result.err = fmt.Errorf("%w, or %w: its sum is not in the list", ErrDamaged, ErrForeign)
		}
		if err := closeFile(file); err != nil {
			return checked{}, err
		}
	}
	return result, nil
}

// likelySize returns the size of the file if some volume has that size, as it may be that one, else the size of volume i.
func (f *foundFiles) likelySize(path string, i int) int64 {
	size, last := f.list.volumeSize(i), f.list.volumeSize(len(f.list.sums)-1)
	if info, err := os.Stat(path); err == nil && (info.Size() == last || info.Size() == f.list.size) {
		return info.Size()
	}
	return size
}

// checkRecovery looks for recovery volume i, counted from 0.
func (f *foundFiles) checkRecovery(ctx context.Context, i int) (checked, error) {
	result := checked{err: ErrMissing}
	for _, c := range f.recovery[i+1] {
		head := f.heads[c.path]
		if err := f.checkHead(c.path, i+1); err != nil {
			result.err = err
			continue
		}
		file, sum, err := hashFile(ctx, c.path, head.length, f.list.size)
		if interrupted := context.Cause(ctx); interrupted != nil {
			return checked{}, errors.Join(interrupted, closeFile(file))
		}
		if err == nil && sum == f.list.recovery[i].payload {
			return checked{shard: shard{path: c.path, file: file, offset: head.length, size: f.list.size}}, nil
		}
		if err == nil {
			err = errors.New("its sum is not that of the list")
		}
		result.err = fmt.Errorf("%w: %w", ErrDamaged, err)
		if err := closeFile(file); err != nil {
			return checked{}, err
		}
	}
	return result, nil
}

// checkHead says what is wrong with the head of a recovery volume.
func (f *foundFiles) checkHead(path string, number int) error {
	head := f.heads[path]
	switch {
	case head == nil:
		return f.headErrs[path]
	case head.list.id != f.list.id:
		return fmt.Errorf("%w: its head names the archive %s, the list %s", ErrForeign, head.list.id, f.list.id)
	case !head.list.same(f.list):
		return fmt.Errorf("%w: the same archive, split otherwise", ErrForeign)
	case head.number != number:
		return fmt.Errorf("%w: it is recovery volume %d", ErrDamaged, head.number)
	}
	return nil
}

// keepFile returns the file of volume i if it is one of those that stay open.
func keepFile(file *os.File, i int) *os.File {
	if i < keepOpen {
		return file
	}
	_ = file.Close() // it was only read
	return nil
}

func closeFile(file *os.File) error {
	if file == nil {
		return nil
	}
	return file.Close()
}

// sizeError says that a file has another size than it should have.
type sizeError struct{ has, want int64 }

func (e *sizeError) Error() string { return fmt.Sprintf("%d bytes instead of %d", e.has, e.want) }

// hashFile returns the sum of a file from offset on, and the open file. The file must have exactly size bytes there; it
// reads nothing of a longer or shorter one.
func hashFile(ctx context.Context, path string, offset, size int64) (*os.File, string, error) {
	file, length, err := durable.On(ctx).OpenRegular(path)
	if err != nil {
		return nil, "", err
	}
	if length != offset+size {
		return file, "", &sizeError{length, offset + size}
	}
	sum := sha256.New()
	section := &cancelReader{ctx: ctx, r: io.NewSectionReader(file, offset, size)}
	n, err := io.CopyBuffer(sum, section, make([]byte, min(chunkSize, size+1)))
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return file, hex.EncodeToString(sum.Sum(nil)), err
}
