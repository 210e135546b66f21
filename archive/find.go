package archive

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// IsInVolumes says whether there is no file of this name, but volumes of an archive of this name.
func IsInVolumes(file string) bool {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	parts, err := findParts(filepath.Dir(file), filepath.Base(file), nil)
	return err == nil && len(parts) > 0
}
