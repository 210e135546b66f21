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

	"golang.org/x/sys/unix"

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
	// Fault makes operations fail, for tests; see durable.FS.
	Fault func(op durable.Op, path string) error
}

// Dir is an OCI layout directory. It is safe for concurrent use, and next to other processes that keep BuildKit's
// locks.
type Dir struct {
	path    string
	fs      durable.FS
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
			return newDir(path, options), nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s: %w", path, ErrNotLayout)
}

// Create makes an empty layout, or opens the one that is there. The directory may be there if it is empty, or holds
// nothing but what another writer has made so far, else it fails with ErrNotLayout.
func Create(ctx context.Context, path string, options Options) (*Dir, error) {
	dir, err := Open(path, options)
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
	dir = newDir(path, options)
	return dir, dir.initialise(ctx)
}

// isForeign says whether a file of a directory is none of a layout.
func isForeign(entry fs.DirEntry) bool {
	switch entry.Name() {
	case indexName, indexLockName, cacheLockName, layoutName, blobsName, ingestName, stateName:
		return false
	}
	return true
}

func newDir(path string, options Options) *Dir {
	if options.LockTimeout == 0 {
		options.LockTimeout = DefaultLockTimeout
	}
	return &Dir{path: filepath.Clean(path), fs: durable.FS{Fault: options.Fault}, options: options}
}

// initialise makes what is not there yet. What Open knows a layout by comes last, so that what is left of a Create that
// crashed is made whole by the next one.
func (d *Dir) initialise(ctx context.Context) error {
	if err := d.writeFile(layoutName, []byte(layoutContent)); err != nil {
		return err
	}
	if err := d.fs.Mkdir(filepath.Join(d.path, blobsName)); err != nil {
		return err
	}
	return d.makeIndex(ctx)
}

// makeIndex writes an empty index.json, unless somebody else was quicker, whose tags may be in it already.
func (d *Dir) makeIndex(ctx context.Context) (err error) {
	file, err := d.prepareIndex(buildcache.NewIndex())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Discard()) }()
	_, unlock, err := d.lockIndex(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	path := filepath.Join(d.path, indexName)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := file.Rename(path); err != nil {
		return err
	}
	return d.fs.SyncDir(d.path)
}

// String returns the directory's path.
func (d *Dir) String() string { return d.path }

func (d *Dir) state() string { return filepath.Join(d.path, stateName) }

// writeFile replaces a file of the layout.
func (d *Dir) writeFile(name string, data []byte) error {
	file, err := d.createTemp()
	if err != nil {
		return err
	}
	if _, err := file.Write(data); err != nil {
		return errors.Join(err, file.Discard())
	}
	return file.Commit(filepath.Join(d.path, name), 0o644)
}

func (d *Dir) createTemp() (*durable.File, error) {
	if err := d.fs.Mkdir(d.state()); err != nil {
		return nil, err
	}
	return d.fs.Create(d.state())
}

// Index returns what index.json says. BuildKit writes the file in place, so while somebody writes it is read again: it
// may be torn, or half old and half new with nothing torn to be seen. A layout without the file has an empty index.
func (d *Dir) Index(ctx context.Context) (*buildcache.Index, error) {
	const tries = 100
	path := filepath.Join(d.path, indexName)
	var whole *buildcache.Index // the best so far
	for try := 1; ; try++ {
		quiet := d.isIndexQuiet()
		raw, err := readIndex(path)
		if err != nil {
			return nil, err
		}
		again, err := readIndex(path)
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

// isIndexQuiet says whether nobody seems to hold index.json.lock. Readers do not take the lock, not even to look: a
// BuildKit that comes that moment would fail. The file is there for as long as the lock is held, or after a crash.
func (d *Dir) isIndexQuiet() bool {
	_, err := os.Lstat(filepath.Join(d.path, indexLockName))
	return errors.Is(err, fs.ErrNotExist)
}

// readIndex reads an index.json; nil stands for none. Of one that is too large it returns enough to be seen as such.
func readIndex(path string) (raw []byte, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not stop us for ever
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, &IndexError{Path: path, Err: errors.Join(errors.New("not a regular file"), err)}
	}
	return io.ReadAll(io.LimitReader(file, buildcache.MaxIndex+1))
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
		if path, err := d.blobPath(root.Digest); err == nil {
			if info, err := os.Stat(path); err == nil {
				root.Size = info.Size()
			}
		}
		entries[i] = Entry{Tag: root.Tag(), Root: root}
	}
	return entries, nil
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
