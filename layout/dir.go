package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
)

// Names in a layout directory.
const (
	indexName  = "index.json"
	layoutName = "oci-layout"
	blobsName  = "blobs"
	ingestName = "ingest"
	stateName  = ".ocicache" // ours: temporary files and the journal

	indexMode = 0o644 // of a new index.json and oci-layout, before the umask
	dirMode   = 0o755

	layoutContent = `{"imageLayoutVersion":"1.0.0"}`
)

// DefaultLockTimeout is how long a writer waits for a lock when Options don't say.
const DefaultLockTimeout = 30 * time.Second

// Options say how to open a Dir. The zero value is the default.
type Options struct {
	// LockTimeout is how long to wait for another process's lock: 0 means DefaultLockTimeout, less than 0 means not to wait.
	LockTimeout time.Duration
	// Link lets Put hard-link files of other layouts instead of copying them.
	Link bool
}

// Dir is an OCI layout directory. It is safe for concurrent use, and alongside other processes that respect BuildKit's locks.
type Dir struct {
	path    string
	info    fs.FileInfo // of the directory, to recognize it
	options Options
	written sync.Map // the digests of blobs whose bytes were written here
	assumed *assumed // nil to use the index.json on disk
	cleared cleared
	fresh   bool   // Create made it where nothing was
	made    string // the topmost directory created for it, "" if its directory was there before
}

// Open opens an existing layout. Layouts of old BuildKits, which lack the file oci-layout, are fine. So are read-only layouts, for
// reading. It fails with fs.ErrNotExist if nothing is there, and with ErrNotLayout if something else is.
func Open(path string, options Options) (*Dir, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s: %w", path, ErrNotLayout)
	}
	if isOthersIndex(path) {
		return nil, fmt.Errorf("%s: %w", path, ErrNotLayout)
	}
	for _, name := range []string{blobsName, indexName} {
		switch _, err := os.Stat(filepath.Join(path, name)); {
		case err == nil:
			return newDir(path, info, options), nil
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s: %w", path, ErrNotLayout)
}

// Create makes an empty layout, or opens the existing one. The directory may exist if it is empty or holds only what another
// writer has made so far. Otherwise Create fails with ErrNotLayout.
func Create(ctx context.Context, path string, options Options) (dir *Dir, err error) {
	dir, err = Open(path, options)
	if err == nil {
		return dir, nil
	}
	if err := checkFree(path, err); err != nil {
		return nil, err
	}
	fresh, first := isBare(path), firstToMake(path)
	made, err := durable.On(ctx).MakeDir(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, made.Close()) }()
	info, err := made.File().Stat()
	if err != nil {
		return nil, err
	}
	dir = newDir(path, info, options)
	dir.fresh, dir.made = fresh, first
	return dir, dir.initialise(ctx)
}

// CheckCreate fails where Create would, as far as that can be told without writing, and where an existing layout is read-only.
func CheckCreate(path string) error {
	_, err := Open(path, Options{})
	if err != nil {
		err = checkFree(path, err)
	}
	if err != nil {
		return err
	}
	return durable.CheckMakeDir(path)
}

// checkFree returns nil if Open failed with err only because there is no layout yet.
func checkFree(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if !errors.Is(err, ErrNotLayout) {
		return err
	}
	entries, readErr := os.ReadDir(path)
	if readErr != nil || slices.ContainsFunc(entries, isForeign) || isOthersIndex(path) {
		return fmt.Errorf("%s: %w", path, ErrOtherFiles)
	}
	return nil
}

// isForeign reports whether a name in a directory is not one that layouts have.
func isForeign(entry fs.DirEntry) bool {
	switch entry.Name() {
	case indexName, indexLockName, cacheLockName, layoutName, blobsName, ingestName, stateName:
		return false
	}
	return true
}

func newDir(path string, info fs.FileInfo, options Options) *Dir {
	if options.LockTimeout == 0 {
		options.LockTimeout = DefaultLockTimeout
	}
	return &Dir{path: filepath.Clean(path), info: info, options: options}
}

// initialise makes what is missing. Open recognizes a layout by what is made last, so that the next Create completes what a
// crashed one left.
func (d *Dir) initialise(ctx context.Context) (err error) {
	desk, err := d.openDesk(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, desk.Close()) }()
	file, err := desk.write([]byte(layoutContent))
	if err != nil {
		return err
	}
	if err := file.CommitIn(desk.root, layoutName, durable.NewMode(indexMode)); err != nil {
		return err
	}
	blobs, err := desk.root.Make(blobsName, dirMode)
	if err != nil {
		return err
	}
	return errors.Join(blobs.Close(), d.makeIndex(ctx, desk))
}

// makeIndex writes an empty index.json, unless another writer was faster: its tags may be in there already.
func (d *Dir) makeIndex(ctx context.Context, desk *desk) (err error) {
	file, err := desk.prepareIndex(buildcache.NewIndex(), durable.NewMode(indexMode))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Discard()) }()
	lock, err := d.lockIndex(ctx, desk.root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, desk.root.RemoveLock(indexLockName, lock)) }()
	if raw, _, err := readIndex(desk.root.OpenRegular(indexName)); err != nil || raw != nil {
		return err
	}
	if err := file.RenameIn(desk.root, indexName); err != nil {
		return err
	}
	return desk.root.Sync()
}

// String returns the directory's path.
func (d *Dir) String() string { return d.path }
