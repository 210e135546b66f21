package layout

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Occupier is a place on the file system: what is written over one of its files would be read from it.
type Occupier interface {
	// Occupies reports whether a path, be it there or not, is part of the place or lies in it. Files are compared, not
	// names.
	Occupies(path string) bool
}

// Occupies reports whether a path is the layout's directory or lies in it.
func (d *Dir) Occupies(path string) bool {
	own, err := os.Stat(d.path)
	if err != nil {
		return false
	}
	path, err = existing(path)
	for err == nil {
		var info os.FileInfo
		if info, err = os.Stat(path); err == nil && os.SameFile(own, info) {
			return true
		}
		parent := filepath.Dir(path)
		if parent == path {
			break
		}
		path = parent
	}
	return false
}

// existing returns the part of a path that is there, absolute and without symbolic links, so that it can be gone up.
func existing(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for {
		real, err := filepath.EvalSymlinks(path)
		if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return real, err
		}
		path = filepath.Dir(path)
	}
}
