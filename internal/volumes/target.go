package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/ocicache/ocicache/internal/parallel"
)

// ExistsError says that names are taken that an archive needs for itself: its own, and all that its volumes, recovery
// volumes and list could have. What has the names was not touched.
type ExistsError struct {
	Names []string // paths, all of them
	// Overwrite says that replacing was asked for: what has these names is nothing that may be replaced.
	Overwrite bool
}

func (e *ExistsError) Error() string {
	names := strings.Join(e.Names, ", ")
	if e.Overwrite {
		return "in the way, and nothing that may be replaced: " + names
	}
	return "already there: " + names
}

// Is makes it an fs.ErrExist.
func (e *ExistsError) Is(target error) bool { return target == fs.ErrExist }

// TargetOptions are for Claim. The zero value is for an archive in one file that replaces nothing.
type TargetOptions struct {
	Split     bool // it will be in volumes
	Overwrite bool // an archive of the name may be replaced
}

// Target is where an archive goes: a FILE, and what goes away for it.
type Target struct {
	file    string
	options TargetOptions
	single  os.FileInfo // the file that is replaced, nil for none
	old     []oldFile   // the older set; its list is the last
}

// oldFile is a file of an older set, as it was when its sum was found to be that of the list.
type oldFile struct {
	path string
	info os.FileInfo
}

// Claim finds out whether an archive can be called file. A symbolic link is followed where the archive is in one file. Where
// FILE, or any name that a volume of FILE could have, is taken, it fails with an *ExistsError, unless it may be overwritten and
// all that is there is
//
//   - FILE, a regular file, and the new archive is in one file as well, or
//   - the set of an earlier Commit: FILE.SHA256SUMS is as Commit wrote it, and each other file is listed in it and has the
//     sum that it says, so that it was hashed and nobody else's file can pass for a volume.
//
// Nothing is reserved by it: Commit looks again.
func Claim(ctx context.Context, file string, o TargetOptions) (*Target, error) {
	t := &Target{file: filepath.Clean(file), options: o}
	if o.Split {
		if err := checkStem(filepath.Base(t.file)); err != nil {
			return nil, fmt.Errorf("%s: %w: %w", file, ErrSplit, err)
		}
	} else {
		var err error
		if t.file, err = Resolve(t.file); err != nil {
			return nil, err
		}
	}
	taken, err := family(t.file)
	if err != nil || len(taken) == 0 {
		return t, err
	}
	blocked := make([]bool, len(taken))
	if o.Overwrite {
		if blocked, err = t.replace(ctx, taken); err != nil {
			return nil, err
		}
	}
	var names []string
	for i, entry := range taken {
		if !o.Overwrite || blocked[i] {
			names = append(names, filepath.Join(filepath.Dir(t.file), entry.Name()))
		}
	}
	if len(names) > 0 {
		return nil, &ExistsError{Names: names, Overwrite: o.Overwrite}
	}
	return t, nil
}

// File returns the path of the archive, that of its volumes without the number, with symbolic links followed.
func (t *Target) File() string { return t.file }

// replace finds out what of that which is there may be replaced, and says which may not.
func (t *Target) replace(ctx context.Context, taken []fs.DirEntry) (blocked []bool, err error) {
	sums := t.listed()
	found := make([]os.FileInfo, len(taken))
	blocked = make([]bool, len(taken))
	group, ctx := parallel.New(ctx, min(runtime.GOMAXPROCS(0), 8))
	for i, entry := range taken {
		path := filepath.Join(filepath.Dir(t.file), entry.Name())
		sum, isListed := sums[entry.Name()]
		switch {
		case path == t.file && !t.options.Split && entry.Type().IsRegular():
			if t.single, err = entry.Info(); err != nil {
				return nil, errors.Join(err, group.Wait())
			}
		case isListed && path != t.file:
			group.Go(func() (err error) {
				found[i], err = identify(ctx, path, sum)
				blocked[i] = found[i] == nil
				return err
			})
		default:
			blocked[i] = true
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, info := range found {
		if info != nil {
			t.old = append(t.old, oldFile{filepath.Join(filepath.Dir(t.file), taken[i].Name()), info})
		}
	}
	slices.SortStableFunc(t.old, func(a, b oldFile) int { return order(a.path) - order(b.path) })
	return blocked, nil
}

// order puts lists behind everything else.
func order(path string) int {
	if strings.HasSuffix(path, listSuffix) {
		return 1
	}
	return 0
}

// listed returns the sums of the files of an older set, its list included, by their names; nil where there is no list, or
// one that is not as it was written, or was written for another name.
func (t *Target) listed() map[string]string {
	list, err := readList(t.file + listSuffix)
	if err != nil || list.stem != filepath.Base(t.file) {
		return nil
	}
	sums := list.files()
	sums[list.stem+listSuffix] = sumOf(list.marshal(false))
	return sums
}

// identify hashes a file, and returns what it is where it is a regular file that has the sum, else nil. It fails only
// where it is interrupted: what can't be read is not known.
func identify(ctx context.Context, path, sum string) (os.FileInfo, error) {
	named, err := os.Lstat(path)
	if err != nil || !named.Mode().IsRegular() {
		return nil, nil //nolint:nilerr // it is not known
	}
	file, got, err := hashFile(ctx, path, 0, named.Size())
	if interrupted := context.Cause(ctx); interrupted != nil {
		return nil, errors.Join(interrupted, closeFile(file))
	}
	if err == nil {
		var opened os.FileInfo
		if opened, err = file.Stat(); err == nil && !os.SameFile(opened, named) {
			err = fs.ErrNotExist
		}
	}
	if err != nil || got != sum || !isAs(path, named) {
		named = nil
	}
	return named, closeFile(file)
}

// isAs reports whether a path still names the file that info is about, and it was not written to since.
func isAs(path string, info os.FileInfo) bool {
	now, err := os.Lstat(path)
	return err == nil && os.SameFile(now, info) && now.Size() == info.Size() && now.ModTime().Equal(info.ModTime())
}

// Resolve follows the symbolic links at the end of a path, and returns the path of what they lead to, be it there or not. A
// path that is no link stays as it is.
func Resolve(path string) (string, error) {
	const most = 40 // as the system has it
	for range most {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
		if err != nil || info.Mode().Type() != fs.ModeSymlink {
			return path, err
		}
		to, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		dir, base := filepath.Split(to)
		if !filepath.IsAbs(to) {
			dir = filepath.Dir(path) + string(filepath.Separator) + dir
		}
		// Not cleaned by text: ".." behind a link to a directory leads elsewhere.
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return "", err
		}
		path = filepath.Join(dir, base)
	}
	return "", fmt.Errorf("%s: too many symbolic links", path)
}
