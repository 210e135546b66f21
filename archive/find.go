package archive

import (
	"errors"
	"io/fs"
	"os"

	"github.com/ocicache/ocicache/internal/volumes"
)

// IsInVolumes reports whether there is no file with this name, but there are volumes of an archive with this name.
func IsInVolumes(file string) bool {
	_, err := os.Lstat(file)
	return errors.Is(err, fs.ErrNotExist) && volumes.Exist(file)
}
