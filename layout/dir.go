package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

	indexMode = 0o644 // of a new index.json, and of oci-layout
	dirMode   = 0o755

	layoutContent = `{"imageLayoutVersion":"1.0.0"}`
)

// DefaultLockTimeout is how long a writer waits for a lock when Options do not say.
const DefaultLockTimeout = 30 * time.Second

// Options are for opening a Dir. The zero value is good.
type Options struct {
	// LockTimeout is how long to wait for a lock of another process; 0 means DefaultLockTimeout, less than 0 not
	// to wait at all.
	LockTimeout time.Duration
	// Link lets Put make hard links to the files of other layouts, instead of copies.
	Link bool
}

// Dir is an OCI layout directory. It is safe for concurrent use, and next to other processes that keep BuildKit's
// locks.
type Dir struct {
	path    string
	info    fs.FileInfo // of the directory, to know it again
	options Options
}

// Open opens an existing layout. Layouts of old BuildKits, which lack the file oci-layout, are fine; so are layouts
// that can't be written to, for reading. It fails with fs.ErrNotExist where nothing is there, and with ErrNotLayout
// where something else is.
func Open(path string, options Options) (*Dir, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s: %w", path, ErrNotLayout)
	}
	for _, name := range []string{indexName, blobsName} {
		if _, err := os.Stat(filepath.Join(path, name)); err == nil {
			return newDir(path, info, options), nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s: %w", path, ErrNotLayout)
}

// Create makes an empty layout, or opens the one that is there. The directory may be there if it is empty, or holds
// nothing but what another writer has made so far, else it fails with ErrNotLayout.
func Create(ctx context.Context, path string, options Options) (dir *Dir, err error) {
	dir, err = Open(path, options)
	if err == nil {
		return dir, nil
	}
	if errors.Is(err, ErrNotLayout) {
		entries, readErr := os.ReadDir(path)
		if readErr != nil || slices.ContainsFunc(entries, isForeign) {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
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
	return dir, dir.initialise(ctx)
}

// isForeign reports whether a file of a directory is none of a layout.
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

// initialise makes what is not there yet. What Open knows a layout by comes last, so that what is left of a Create that
// crashed is made whole by the next one.
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
	if err := file.CommitIn(desk.root, layoutName, indexMode); err != nil {
		return err
	}
	blobs, err := desk.root.Make(blobsName, dirMode)
	if err != nil {
		return err
	}
	return errors.Join(blobs.Close(), d.makeIndex(ctx, desk))
}

// makeIndex writes an empty index.json, unless somebody else was quicker, whose tags may be in it already.
func (d *Dir) makeIndex(ctx context.Context, desk *desk) (err error) {
	file, err := desk.prepareIndex(buildcache.NewIndex(), indexMode)
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

// Index returns what index.json says. BuildKit writes the file in place, so while somebody writes it is read again: it
// may be torn, or half old and half new with nothing torn to be seen. A layout without the file has an empty index.
func (d *Dir) Index(ctx context.Context) (*buildcache.Index, error) {
	const tries = 100
	path := filepath.Join(d.path, indexName)
	var whole *buildcache.Index // the best so far
	for try := 1; ; try++ {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		quiet := d.isIndexQuiet()
		raw, _, err := readIndex(durable.OpenRegular(path))
		if err != nil {
			return nil, err
		}
		again, _, err := readIndex(durable.OpenRegular(path))
		if err != nil {
			return nil, err
		}
		index, err := parseIndex(raw)
		if err == nil && (whole == nil || bytes.Equal(raw, again)) {
			whole = index
		}
		var size *buildcache.SizeError
		switch {
		case err == nil && quiet && bytes.Equal(raw, again) && d.isIndexQuiet(), try == tries && whole != nil:
			return whole, nil
		case try == tries, errors.As(err, &size):
			return nil, &IndexError{Path: path, Err: err}
		}
		if err := sleep(ctx, 2*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// isIndexQuiet reports whether nobody seems to hold index.json.lock. Readers do not take the lock, not even to look: a
// BuildKit that comes that moment would fail. The file is there for as long as the lock is held, or after a crash.
func (d *Dir) isIndexQuiet() bool {
	_, err := os.Lstat(filepath.Join(d.path, indexLockName))
	return errors.Is(err, fs.ErrNotExist)
}

// readIndex reads an index.json, and tells its permissions; nil stands for none. Of one that is too large it returns
// enough to be seen as such.
func readIndex(file *os.File, _ int64, err error) (raw []byte, mode fs.FileMode, _ error) {
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, indexMode, nil
	case errors.Is(err, durable.ErrNotRegular) && errors.As(err, &path):
		return nil, 0, &IndexError{Path: path.Path, Err: durable.ErrNotRegular}
	case err != nil:
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	raw, err = io.ReadAll(io.LimitReader(file, buildcache.MaxIndex+1))
	return raw, info.Mode().Perm(), errors.Join(err, file.Close())
}

// parseIndex reads what readIndex returned.
func parseIndex(raw []byte) (*buildcache.Index, error) {
	if raw == nil {
		return buildcache.NewIndex(), nil
	}
	return buildcache.ParseIndex(raw)
}

// IndexError says that an index.json can't be read.
type IndexError struct {
	Path string
	Err  error
}

func (e *IndexError) Error() string { return fmt.Sprintf("%s: %v", e.Path, e.Err) }

// Unwrap returns the cause.
func (e *IndexError) Unwrap() error { return e.Err }

// Entries returns the entries of index.json, caches and others. Their sizes are those of the files, not what
// index.json says, which nothing checks; for roots that are not there they stay as they are.
func (d *Dir) Entries(ctx context.Context) ([]Entry, error) {
	index, err := d.Index(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(index.Entries))
	for i, root := range index.Entries {
		entries[i] = d.entry(root)
	}
	return entries, nil
}

func (d *Dir) entry(root buildcache.Descriptor) Entry {
	if path, err := d.blobPath(root.Digest); err == nil {
		if info, err := os.Stat(path); err == nil {
			root.Size = info.Size()
		}
	}
	return Entry{Tag: root.Tag(), Descriptor: root}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
