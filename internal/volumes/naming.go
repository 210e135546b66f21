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

// namingName is the directory in a work directory by which a set gets its names, all or none: first everything new lies in
// "new" under its name, the list last; then the older set goes to "old"; then what is in "new" gets its place, the list last;
// then what is in "old" is removed. So what a crash leaves can be told: with "new" empty it was done, else it is undone.
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
	_, err := os.Lstat(filepath.Join(work, namingName))
	return !errors.Is(err, fs.ErrNotExist)
}

// Restore ends what a process began that crashed while it gave the volumes of file their names, with the work directory
// work: those that have names lose them, and what was to be replaced is put back; but if all had their names already,
// what was replaced is removed. The caller holds the lock of the work directory. Where names were taken meanwhile, it
// fails with an *ExistsError, and everything stays in the work directory.
func Restore(ctx context.Context, fsys durable.FS, file, work string) error {
	if !Unfinished(work) {
		return nil
	}
	n := newNaming(fsys, file, work)
	left, err := namesIn(n.new)
	if err == nil && len(left) == 0 {
		err = n.finish()
	} else if err == nil {
		err = n.undo(ctx)
	}
	if err != nil {
		return fmt.Errorf("undo what was interrupted while %s was written (it is in %s): %w", file, filepath.Dir(n.new), err)
	}
	return nil
}

// stage brings files to the disk under the names that they will have.
func (n *naming) stage(files []*durable.File, names []string, list *listing) error {
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
	return file.Commit(filepath.Join(n.new, list.stem+listSuffix), fileMode)
}

// swap puts what was staged in the place of the older set.
func (n *naming) swap(names []string, to *Target) error {
	if err := n.setAside(to); err != nil {
		return err
	}
	for _, name := range names {
		if err := n.place(name, to); err != nil {
			return err
		}
	}
	if err := n.fs.SyncDir(n.dir); err != nil {
		return err
	}
	list := filepath.Base(n.file) + listSuffix
	if err := n.place(list, to); err != nil {
		return err
	}
	if err := n.fs.SyncDir(n.dir); err != nil {
		// With no list among the new it would count as done.
		return errors.Join(err, n.fs.RenameNew(filepath.Join(n.dir, list), filepath.Join(n.new, list)))
	}
	return nil
}

// setAside moves the older set away, its list first. Only what is still as it was hashed goes.
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

// undo takes names back, and puts the older set where it was. What can't be put back stays where it is.
func (n *naming) undo(ctx context.Context) error {
	list, err := readList(filepath.Join(n.new, filepath.Base(n.file)+listSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		return n.clear() // nothing has a name yet
	}
	if err != nil {
		return err
	}
	for name, sum := range list.files() {
		path, back := filepath.Join(n.dir, name), filepath.Join(n.new, name)
		if _, err := os.Lstat(back); !errors.Is(err, fs.ErrNotExist) {
			continue // it has not been named
		}
		info, err := identify(ctx, path, sum)
		if err != nil {
			return err
		}
		if info == nil {
			continue // gone, or another's by now
		}
		if err := n.fs.RenameNew(path, back); err != nil {
			return err
		}
	}
	if err := errors.Join(n.fs.SyncDir(n.new), n.fs.SyncDir(n.dir)); err != nil {
		return err
	}
	old, err := namesIn(n.old)
	if err != nil {
		return err
	}
	for _, name := range old {
		path := filepath.Join(n.dir, name)
		err := n.fs.RenameNew(filepath.Join(n.old, name), path)
		if errors.Is(err, fs.ErrExist) {
			return &ExistsError{Names: []string{path}, Overwrite: true}
		}
		if err != nil {
			return err
		}
	}
	if err := n.fs.SyncDir(n.dir); err != nil {
		return err
	}
	return n.clear()
}

// finish removes the older set, for the new one has its names.
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

// clear removes the directory, in which nothing is left that anybody needs. The list goes first: with it and without
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
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// namesIn lists a directory; one that is not there is empty.
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
