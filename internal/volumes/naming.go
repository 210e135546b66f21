package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/ocicache/ocicache/internal/durable"
)

// namingName is the directory in a work directory through which a set gets all of its names or none: first everything new is put into
// "new" under its name, the list last; then the older set moves to "old"; then what is in "new" moves to its place, the list last;
// then what is in "old" is removed. So what a crash leaves shows how far it was: with "new" empty it was done, else it is undone.
const namingName = "naming"

// naming is that directory.
type naming struct {
	fs       durable.FS
	file     string // FILE
	dir      string // where the files get their names
	new, old string
}

func newNaming(fsys durable.FS, file, work string) *naming {
	dir := filepath.Join(work, namingName)
	return &naming{
		fs: fsys, file: file, dir: filepath.Dir(file), new: filepath.Join(dir, "new"), old: filepath.Join(dir, "old"),
	}
}

// Unfinished reports whether a work directory holds what Restore needs, so that it must not be removed.
func Unfinished(work string) bool {
	n := newNaming(durable.FS{}, "", work)
	left, err := namesIn(n.new)
	old, oldErr := namesIn(n.old)
	return len(left)+len(old) > 0 || err != nil || oldErr != nil
}

// Restore finishes what a process left that crashed while it gave the volumes of file their names, with the work directory
// work. If one of them has its name, the others get theirs, and what was to be replaced is removed; else what was to be
// replaced is put back, as it also is if not all of the new ones are still there and right. The caller holds the lock of
// the work directory. If names were taken meanwhile, Restore fails with an *ExistsError, and everything stays in the work
// directory.
func Restore(ctx context.Context, fsys durable.FS, file, work string) error {
	if _, err := os.Lstat(filepath.Join(work, namingName)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	n := newNaming(fsys, file, work)
	done, err := n.complete(ctx)
	switch {
	case err != nil:
	case done:
		err = n.finish()
	default:
		err = n.undo(ctx)
	}
	if err != nil {
		return fmt.Errorf("end what was interrupted while %s was written (it is in %s): %w", file, filepath.Dir(n.new), err)
	}
	return nil
}

// complete reports whether everything new has its name. If only some have theirs, it names the others first.
func (n *naming) complete(ctx context.Context) (done bool, err error) {
	left, err := namesIn(n.new)
	if err != nil || len(left) == 0 {
		return err == nil, err
	}
	listName := filepath.Base(n.file) + listSuffix
	list, err := readList(filepath.Join(n.new, listName))
	if err != nil {
		return false, nil //nolint:nilerr // undo says what is wrong with it
	}
	if begun, err := n.begun(ctx, list); err != nil || !begun {
		return false, err
	}
	for _, name := range append(slices.DeleteFunc(left, func(name string) bool { return name == listName }), listName) {
		if name == listName { // the last one: with it, the set counts
			if err := n.fs.SyncDir(n.dir); err != nil {
				return false, err
			}
		}
		err := n.fs.RenameNew(filepath.Join(n.new, name), filepath.Join(n.dir, name))
		if errors.Is(err, fs.ErrExist) {
			return false, nil // somebody has taken the name
		}
		if err != nil {
			return false, err
		}
	}
	return true, n.fs.SyncDir(n.dir)
}

// begun reports whether some of the new files have their names, and all are there and right.
func (n *naming) begun(ctx context.Context, list *listing) (begun bool, err error) {
	for name, sum := range list.files() {
		path := filepath.Join(n.new, name)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			path, begun = filepath.Join(n.dir, name), true
		}
		if info, err := identify(ctx, path, sum); err != nil || info == nil {
			return false, err
		}
	}
	return begun, nil
}

// stage puts files into "new" under the names that they will have, and the list last.
func (n *naming) stage(files []*durable.File, names []string, list *listing, mode fs.FileMode) error {
	for _, path := range []string{n.new, n.old} {
		dir, err := n.fs.MakeDir(path)
		if err != nil {
			return err
		}
		if err := dir.Close(); err != nil {
			return err
		}
	}
	for i, file := range files {
		if err := file.Rename(filepath.Join(n.new, names[i])); err != nil {
			return err
		}
	}
	file, err := n.fs.Create(filepath.Dir(filepath.Dir(n.new)))
	if err != nil {
		return err
	}
	if _, err := file.Write(list.marshal(false)); err != nil {
		return errors.Join(err, file.Discard())
	}
	return file.Commit(filepath.Join(n.new, list.stem+listSuffix), mode)
}

// swap replaces the older set by what was staged.
func (n *naming) swap(names []string, to *Target) error {
	if err := n.setAside(to); err != nil {
		return err
	}
	for _, name := range names {
		if err := n.place(name, to); err != nil {
			return err
		}
	}
	// If names come back in "new" after a crash, and the list does not, it would seem that nothing was named yet.
	if err := errors.Join(n.fs.SyncDir(n.dir), n.fs.SyncDir(n.new)); err != nil {
		return err
	}
	list := filepath.Base(n.file) + listSuffix
	if err := n.place(list, to); err != nil {
		return err
	}
	err := n.fs.SyncDir(n.dir)
	if err == nil {
		// A list that comes back in "new" in addition to its new name would have everything undone, with the older set gone.
		err = n.fs.SyncDir(n.new)
	}
	if err != nil {
		// With no list in "new" it would count as done.
		err = errors.Join(err, n.fs.RenameNew(filepath.Join(n.dir, list), filepath.Join(n.new, list)))
	}
	return err
}

// setAside moves the older set away, its list first. It moves only files that have not changed since they were hashed.
func (n *naming) setAside(to *Target) error {
	for _, old := range slices.Backward(to.old) {
		aside := filepath.Join(n.old, filepath.Base(old.path))
		if _, err := os.Lstat(old.path); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if !isAs(old.path, old.info) {
			return &ExistsError{Names: []string{old.path}, Overwrite: true}
		}
		if err := n.fs.RenameNew(old.path, aside); err != nil {
			return fmt.Errorf("set aside %s: %w", old.path, err)
		}
		if !isAs(aside, old.info) { // somebody was quicker; undo puts it back
			return &ExistsError{Names: []string{old.path}, Overwrite: true}
		}
	}
	if len(to.old) == 0 {
		return nil
	}
	return errors.Join(n.fs.SyncDir(n.old), n.fs.SyncDir(n.dir))
}

// place gives a file its name.
func (n *naming) place(name string, to *Target) error {
	path := filepath.Join(n.dir, name)
	err := n.fs.RenameNew(filepath.Join(n.new, name), path)
	if errors.Is(err, fs.ErrExist) {
		return &ExistsError{Names: []string{path}, Overwrite: to.options.Overwrite}
	}
	if err != nil {
		return fmt.Errorf("name %s: %w", path, err)
	}
	return nil
}

// undo takes the new names back, and puts the older set where it was. What can't be put back stays where it is.
func (n *naming) undo(ctx context.Context) error {
	list, err := readList(filepath.Join(n.new, filepath.Base(n.file)+listSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return n.clear() // nothing has a name yet
	}
	if err != nil {
		return err
	}
	if err := n.takeBack(ctx, list); err != nil {
		return err
	}
	if err := n.putBack(); err != nil {
		return err
	}
	return n.clear()
}

// takeBack takes the names away from the files of the new set.
func (n *naming) takeBack(ctx context.Context, list *listing) error {
	if err := n.unname(list.stem + listSuffix); err != nil {
		return err
	}
	for name, sum := range list.files() {
		path, back := filepath.Join(n.dir, name), filepath.Join(n.new, name)
		if _, err := os.Lstat(back); !errors.Is(err, fs.ErrNotExist) {
			if err := n.unname(name); err != nil {
				return err
			}
			continue
		}
		info, err := identify(ctx, path, sum)
		if err != nil {
			return err
		}
		if info == nil {
			continue // gone, or something else by now
		}
		if err := n.fs.RenameNew(path, back); err != nil {
			return err
		}
	}
	return errors.Join(n.fs.SyncDir(n.new), n.fs.SyncDir(n.dir))
}

// putBack puts the older set where it was.
func (n *naming) putBack() error {
	old, err := namesIn(n.old)
	if err != nil {
		return err
	}
	for _, name := range old {
		path, aside := filepath.Join(n.dir, name), filepath.Join(n.old, name)
		err := n.fs.RenameNew(aside, path)
		if errors.Is(err, fs.ErrExist) && isSame(aside, path) {
			err = n.fs.Remove(aside)
		}
		if errors.Is(err, fs.ErrExist) {
			return &ExistsError{Names: []string{path}, Overwrite: true}
		}
		if err != nil {
			return err
		}
	}
	return n.fs.SyncDir(n.dir)
}

// unname removes the name of a file that is also in "new": a crash may leave both names of a rename.
func (n *naming) unname(name string) error {
	path := filepath.Join(n.dir, name)
	if !isSame(filepath.Join(n.new, name), path) {
		return nil
	}
	return n.fs.Remove(path)
}

// isSame reports whether two names are of the same file.
func isSame(a, b string) bool {
	one, errOne := os.Lstat(a)
	other, errOther := os.Lstat(b)
	return errOne == nil && errOther == nil && os.SameFile(one, other)
}

// finish removes the older set, now that the new one has its names.
func (n *naming) finish() error {
	old, err := namesIn(n.old)
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := n.fs.Remove(filepath.Join(n.old, name)); err != nil {
			return fmt.Errorf("remove an older volume: %w", err)
		}
	}
	return n.clear()
}

// clear removes the directory, which nobody needs any more. The list goes first: if it were there without the
// other files, these would count as named.
func (n *naming) clear() error {
	names, err := namesIn(n.new)
	if err != nil {
		return err
	}
	slices.SortStableFunc(names, func(a, b string) int { return order(b) - order(a) })
	for i, name := range names {
		if err := n.fs.Remove(filepath.Join(n.new, name)); err != nil {
			return err
		}
		if i == 0 && order(name) > 0 {
			if err := n.fs.SyncDir(n.new); err != nil {
				return err
			}
		}
	}
	for _, dir := range []string{n.new, n.old, filepath.Dir(n.new)} {
		_ = os.Remove(dir) // it is empty, and goes with the work directory in any case
	}
	return nil
}

// namesIn lists a directory; one that does not exist counts as empty.
func namesIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, nil
}
