package layout

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ocicache/ocicache/internal/durable"
)

// Unmake removes a layout that this Dir created, and the directories created for it, unless something has been added or another
// process is working there. It is for commands that fail before they have written anything. If Create opened an existing layout or
// completed one, nothing happens; an empty directory that was there before stays, and is empty again.
func (d *Dir) Unmake(ctx context.Context) error {
	if !d.fresh {
		return nil
	}
	empty, err := d.removeParts(ctx)
	if err != nil || !empty || d.made == "" {
		return err
	}
	for dir := d.path; ; dir = filepath.Dir(dir) {
		if err := removeIfEmpty(dir); err != nil || dir == d.made || dir == filepath.Dir(dir) {
			return err
		}
	}
}

// removeParts removes what an empty layout contains, under its locks, and reports whether it was empty.
func (d *Dir) removeParts(ctx context.Context) (empty bool, err error) {
	root, err := d.openRoot(durable.On(ctx))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for _, name := range []string{cacheLockName, indexLockName} {
		lock, lockErr := root.Lock(ctx, name, true, -1)
		if errors.Is(lockErr, durable.ErrLocked) {
			return false, nil // somebody else is using it by now
		}
		if lockErr != nil {
			return false, lockErr
		}
		defer func() {
			if name == cacheLockName && !empty { // others may be waiting for it
				err = errors.Join(err, lock.Close())
				return
			}
			err = errors.Join(err, root.RemoveLock(name, lock))
		}()
	}
	index, err := d.Index(ctx)
	if err != nil || len(index.Entries) > 0 {
		return false, err
	}
	// What isn't empty stays, and must still be a layout: index.json goes last.
	for _, name := range []string{filepath.Join(blobsName, "sha256"), blobsName, ingestName, stateName} {
		path := filepath.Join(d.path, name)
		if err := removeIfEmpty(path); err != nil {
			return false, err
		}
		if _, err := os.Lstat(path); err == nil {
			return false, nil
		}
	}
	return true, errors.Join(removeIfEmpty(filepath.Join(d.path, layoutName)), removeIfEmpty(filepath.Join(d.path, indexName)))
}

// removeIfEmpty removes a file or an empty directory, if it exists.
func removeIfEmpty(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
		return nil
	}
	return err
}

// isBare reports whether there is no directory at a path, or an empty one.
func isBare(path string) bool {
	entries, err := os.ReadDir(path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0
}

// firstToMake returns the topmost directory that must be created for a path to exist, or "" if all exist.
func firstToMake(path string) string {
	first := ""
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			return first
		}
		first = dir
	}
}
