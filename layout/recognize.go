package layout

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
)

// isOthersIndex reports whether a directory has an index.json that is another program's, so that nothing may be written there: it is
// no image index, and nothing else shows that the directory is a layout. If something does, it is an index that was torn or
// overwritten, and can be repaired.
func isOthersIndex(dir string) bool {
	path := filepath.Join(dir, indexName)
	if _, err := os.Lstat(path); err != nil {
		return false
	}
	return !hasMark(dir) && !holdsIndex(path)
}

// hasMark reports whether a directory has what only layouts have: the file oci-layout, or a blob.
func hasMark(dir string) bool {
	if info, err := os.Stat(filepath.Join(dir, layoutName)); err == nil && info.Mode().IsRegular() {
		return true
	}
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		blobs, err := os.Open(filepath.Join(dir, blobsName, algorithm.String()))
		if err != nil {
			continue
		}
		names, _ := blobs.Readdirnames(1) // what can't be listed shows nothing
		_ = blobs.Close()                 // it was only read
		if len(names) > 0 {
			return true
		}
	}
	return false
}

// holdsIndex reports whether a file is an image index. One that this user may not read is taken for one, so that reading it says why.
func holdsIndex(path string) bool {
	file, _, err := durable.OpenRegular(path)
	if err != nil {
		return errors.Is(err, fs.ErrPermission)
	}
	defer file.Close() //nolint:errcheck // it was only read
	raw, err := io.ReadAll(io.LimitReader(file, buildcache.MaxIndex+1))
	return err == nil && buildcache.IsIndex(raw)
}
