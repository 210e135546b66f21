package layout

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Occupier is a place on the file system: whatever overwrites one of its files would be read back from it.
type Occupier interface {
	// Occupies reports whether a path, existing or not, is part of the place or inside it. Files are compared, not names.
	Occupies(path string) bool
}

// Occupies reports whether a path is the layout's directory or inside it.
func (d *Dir) Occupies(path string) bool {
	_, err := os.Stat(d.path)
	return err == nil && IsWithin(path, d.path)
}

// IsWithin reports whether a path is a directory or inside it. Neither needs to exist.
func IsWithin(path, dir string) bool {
	real, rest, err := existing(path)
	if err != nil {
		return false
	}
	own, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) { // so nothing is inside it yet, and there are only names to compare
		realDir, restDir, err := existing(dir)
		if err != nil || real != realDir {
			return false
		}
		rel, err := filepath.Rel(restDir, rest)
		return err == nil && filepath.IsLocal(rel)
	}
	for err == nil {
		var info os.FileInfo
		if info, err = os.Stat(real); err == nil && os.SameFile(own, info) {
			return true
		}
		parent := filepath.Dir(real)
		if parent == real {
			break
		}
		real = parent
	}
	return false
}

// existing returns the part of a path that exists, absolute and without symbolic links, so that its parents can be followed, and
// the rest.
func existing(path string) (real, rest string, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return "", "", err
	}
	for {
		real, err := filepath.EvalSymlinks(path)
		if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return real, rest, err
		}
		path, rest = filepath.Dir(path), filepath.Join(filepath.Base(path), rest)
	}
}
