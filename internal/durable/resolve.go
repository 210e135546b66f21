package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Resolve follows the symbolic links at the end of a path, and returns the path that they lead to, whether or not anything is
// there. A path that is not a link stays as it is.
func Resolve(path string) (string, error) {
	const most = 40 // the system's own limit
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
		// Not cleaned by text: ".." after a link to a directory leads elsewhere.
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return "", err
		}
		path = filepath.Join(dir, base)
	}
	return "", fmt.Errorf("%s: too many symbolic links", path)
}
