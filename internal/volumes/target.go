package volumes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/parallel"
)

// ExistsError says that names are taken that an archive needs for itself: its own, and any that its volumes, recovery
// volumes and list could have. What has the names was not touched.
type ExistsError struct {
	Names []string // paths, all of them
	// Overwrite says that replacing was asked for, but what has these names may not be replaced.
	Overwrite bool
	// InOneFile says that FILE itself is among the names, and volumes were to be written: they replace no file, not even with Overwrite.
	InOneFile bool
	// Altered are the names among these, without their directory, whose files have other sums now than List says.
	Altered []string
	List    string
}

func (e *ExistsError) Error() string {
	names := strings.Join(e.Names, ", ")
	if !e.Overwrite {
		return "already there: " + names
	}
	text := "in the way, and nothing that may be replaced: " + names
	switch len(e.Altered) {
	case 0:
		return text
	case 1:
		text += fmt.Sprintf("; %s is not what %s says", e.Altered[0], e.List)
	default:
		text += fmt.Sprintf("; %s are not what %s says", strings.Join(e.Altered, ", "), e.List)
	}
	return text + " (damaged, or not written by ocicache)"
}

// Is makes it an fs.ErrExist.
func (e *ExistsError) Is(target error) bool { return target == fs.ErrExist }

// NameError says that an archive can't have a name, in one file or in volumes: whoever reads it by that name would look for a set
// of volumes that it belongs to.
type NameError struct {
	Path string
	Is   string // what it is named like
	Of   string // the archive that it would belong to
}

func (e *NameError) Error() string {
	return fmt.Sprintf("%s is named like %s of an archive %s, and would be read as one", e.Path, e.Is, e.Of)
}

// checkName refuses a path that can't be that of an archive.
func checkName(path string) error {
	name, ok := parseVolumeName(filepath.Base(path))
	if !ok {
		return nil
	}
	is := map[volumeKind]string{kindVolume: "a volume", kindRecovery: "a recovery volume", kindList: "the list"}[name.kind]
	return &NameError{Path: path, Is: is, Of: name.stem}
}

// TargetOptions are for Claim. The zero value is for an archive in one file that replaces nothing.
type TargetOptions struct {
	Split     bool // it will be in volumes
	Overwrite bool // an archive with the name may be replaced
	FileAlone bool // of what is there, FILE may be replaced, but no volumes
	// Ours reports whether a file at FILE is an archive of ours, which may be replaced. nil means never.
	Ours func(file io.Reader) bool
}

// Target is where an archive goes: a FILE, and what it replaces.
type Target struct {
	file    string
	options TargetOptions
	single  os.FileInfo // the file that is replaced, nil for none
	old     []oldFile   // the older set; its list is the last
}

// oldFile is a file of an older set, as it was when its sum was found to match the list.
type oldFile struct {
	path string
	info os.FileInfo
}

// Claim checks whether an archive can be named file. If it is in one file, a symbolic link is followed. Claim fails with a *NameError
// for a name like that of a volume, also if a link leads to one. It fails with an *ExistsError if FILE, or any name that a volume of
// FILE could have, is taken, unless that may be overwritten and everything there is
//
//   - FILE, a regular file that is ours by the options, and the new archive is in one file as well, or
//   - the set of an earlier Commit, unless only FILE may be replaced: FILE.SHA256SUMS is as Commit wrote it, and lists each other
//     file with the sum that it has, so that it was hashed and nobody else's file can pass for a volume.
//
// Claim reserves nothing: Commit checks again.
func Claim(ctx context.Context, file string, o TargetOptions) (*Target, error) {
	t := &Target{file: filepath.Clean(file), options: o}
	if err := checkName(t.file); err != nil {
		return nil, err
	}
	if o.Split {
		if err := checkStem(filepath.Base(t.file)); err != nil {
			return nil, fmt.Errorf("%s: %w: %w", file, ErrSplit, err)
		}
	} else {
		var err error
		if t.file, err = durable.Resolve(t.file); err == nil {
			err = checkName(t.file)
		}
		if err != nil {
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
	exists := t.exists(taken, blocked)
	if len(exists.Names) > 0 {
		return nil, exists
	}
	return t, nil
}

// exists says which of the taken names are in the way: all of them, or only those that are blocked if others may be replaced.
func (t *Target) exists(taken []fs.DirEntry, blocked []bool) *ExistsError {
	e := &ExistsError{Overwrite: t.options.Overwrite, List: filepath.Base(t.file) + listSuffix}
	var sums map[string]string
	if e.Overwrite && !t.options.FileAlone {
		sums = t.listed()
	}
	for i, entry := range taken {
		if e.Overwrite && !blocked[i] {
			continue
		}
		e.Names = append(e.Names, filepath.Join(filepath.Dir(t.file), entry.Name()))
		e.InOneFile = e.InOneFile || t.options.Split && entry.Name() == filepath.Base(t.file)
		if _, isListed := sums[entry.Name()]; isListed {
			e.Altered = append(e.Altered, entry.Name())
		}
	}
	return e
}

// File returns the path of the archive, that of its volumes without the number, with symbolic links followed.
func (t *Target) File() string { return t.file }

// mode returns the permissions of the new files. If they replace older ones, nobody gets access that one of those denied.
func (t *Target) mode() fs.FileMode {
	mode := fs.ModePerm
	if t.single != nil {
		mode &= t.single.Mode()
	}
	for _, old := range t.old {
		mode &= old.info.Mode()
	}
	if t.single == nil && len(t.old) == 0 {
		return durable.NewMode(fileMode)
	}
	return mode
}

// replace finds out which of the taken names may be replaced, and returns which may not.
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
			if t.single, err = t.replaceable(); err != nil {
				return nil, errors.Join(err, group.Wait())
			}
			blocked[i] = t.single == nil
		case isListed && path != t.file && !t.options.FileAlone:
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

// replaceable returns the info of FILE if that is ours, else nil.
func (t *Target) replaceable() (info os.FileInfo, err error) {
	file, _, err := durable.OpenRegular(t.file)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if t.options.Ours == nil || !t.options.Ours(file) {
		return nil, nil
	}
	return file.Stat()
}

// order sorts lists after everything else.
func order(path string) int {
	if strings.HasSuffix(path, listSuffix) {
		return 1
	}
	return 0
}

// listed returns the sums of the files of an older set, including its list, by name; nil if there is no list, or one that
// was changed, or was written for another name.
func (t *Target) listed() map[string]string {
	list, err := readList(t.file + listSuffix)
	if err != nil || list.stem != filepath.Base(t.file) {
		return nil
	}
	sums := list.files()
	sums[list.stem+listSuffix] = sumOf(list.marshal(false))
	return sums
}

// identify hashes a file, and returns its info if it is a regular file with the sum, else nil. It fails if it is
// interrupted, or if the file can't be read.
func identify(ctx context.Context, path, sum string) (os.FileInfo, error) {
	named, err := os.Lstat(path)
	if err != nil || !named.Mode().IsRegular() {
		return nil, nil //nolint:nilerr // it is not known
	}
	file, got, err := hashFile(ctx, path, 0, named.Size())
	if interrupted := context.Cause(ctx); interrupted != nil {
		return nil, errors.Join(interrupted, closeFile(file))
	}
	if path := new(fs.PathError); errors.As(err, &path) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, durable.ErrNotRegular) {
		return nil, errors.Join(err, closeFile(file))
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

// isAs reports whether a path still names the file that info is about, unchanged since then.
func isAs(path string, info os.FileInfo) bool {
	now, err := os.Lstat(path)
	return err == nil && os.SameFile(now, info) && now.Size() == info.Size() && now.ModTime().Equal(info.ModTime())
}
