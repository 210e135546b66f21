package durable

import (
	"errors"
	"io"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// RemoveStale removes the temporary files in the directory that nobody is writing any more, and returns their sizes.
func (d *Dir) RemoveStale() (sizes []int64, err error) {
	items, err := d.List()
	if err != nil {
		return nil, err
	}
	for _, item := range items {
		if !IsTemporary(item.Name) || item.Type != 0 {
			continue
		}
		removed, err := d.ClearStale(item.Name, true)
		if err != nil {
			return sizes, err
		}
		if removed {
			sizes = append(sizes, item.Size)
		}
	}
	return sizes, nil
}

// Stale returns the paths of the temporary files in the directory, including those that are being written.
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
		if IsTemporary(entry.Name()) && entry.Type().IsRegular() {
			paths = append(paths, d.join(entry.Name()))
		}
	}
	return paths, nil
}

// ClearStale reports whether nobody is writing a temporary file of the directory any more. If so, and remove is true, it removes the file.
func (d *Dir) ClearStale(name string, remove bool) (stale bool, err error) {
	file, err := d.open(name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return false, nil // just committed, or somebody else's
	}
	if err != nil {
		return false, err
	}
	err = tryLock(file, true)
	switch {
	case errors.Is(err, ErrLocked):
		err = nil
	case err == nil:
		stale = true
		if remove {
			err = d.Remove(name)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return stale, errors.Join(err, file.Close())
}

// IsTemporary reports whether a name is that of a temporary file.
func IsTemporary(name string) bool { return strings.HasPrefix(name, tempPrefix) }
