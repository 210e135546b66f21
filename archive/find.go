package archive

import (
	"errors"
	"io/fs"
	"os"

	"github.com/ocicache/ocicache/internal/volumes"
)

// IsInVolumes reports whether there is no file of this name, but volumes of an archive of this name.
func IsInVolumes(file string) bool {
	_, err := os.Lstat(file)
	return errors.Is(err, fs.ErrNotExist) && volumes.Exist(file)
}
