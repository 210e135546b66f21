package durable

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// RemoveStale removes the temporary files in the directory that nobody writes any more.
func (d *Dir) RemoveStale() error {
	paths, err := d.Stale()
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := d.removeUnlocked(filepath.Base(path)); err != nil {
			return err
		}
	}
	return nil
}

// Stale returns the paths of the temporary files in the directory, those that are being written included.
func (d *Dir) Stale() ([]string, error) {
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	entries, err := d.file.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), tempPrefix) && entry.Type().IsRegular() {
			paths = append(paths, d.join(entry.Name()))
		}
	}
	return paths, nil
}

func (d *Dir) removeUnlocked(name string) error {
	file, err := d.open(name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil // just committed, or somebody else's
	}
	if err != nil {
		return err
	}
	err = tryLock(file, true)
	switch {
	case errors.Is(err, ErrLocked):
		err = nil
	case err == nil:
		if err = d.Remove(name); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return errors.Join(err, file.Close())
}
