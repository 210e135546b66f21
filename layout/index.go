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
	"time"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
)

// Index returns what index.json says. BuildKit writes the file in place, so while somebody writes it is read again: it
// may be torn, or half old and half new with nothing torn to be seen. A layout without the file has an empty index.
func (d *Dir) Index(ctx context.Context) (*buildcache.Index, error) {
	if d.assumed != nil {
		return d.assumed.index(), context.Cause(ctx)
	}
	return d.readQuietly(ctx)
}

// readQuietly reads index.json while nobody writes it, as far as that can be waited for.
func (d *Dir) readQuietly(ctx context.Context) (*buildcache.Index, error) {
	const tries = 100
	path := filepath.Join(d.path, indexName)
	var whole *buildcache.Index // the best so far
	for try := 1; ; try++ {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		quiet := d.isIndexQuiet()
		raw, _, err := readIndex(durable.On(ctx).OpenRegular(path))
		if err != nil {
			return nil, err
		}
		again, _, err := readIndex(durable.On(ctx).OpenRegular(path))
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
		if err := durable.Wait(ctx, 2*time.Millisecond); err != nil {
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
		return nil, durable.NewMode(indexMode), nil
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
	named := index.Named()
	entries := make([]Entry, len(named))
	for i, n := range named {
		entries[i] = d.entry(n.Tag, index.Entries[n.At])
	}
	return entries, nil
}

// Missing says that there is no index.json, without which no BuildKit takes a directory for a layout.
func (d *Dir) Missing(ctx context.Context) (string, error) {
	if err := context.Cause(ctx); err != nil {
		return "", err
	}
	_, err := os.Lstat(filepath.Join(d.path, indexName))
	if errors.Is(err, fs.ErrNotExist) {
		return indexName, nil
	}
	return "", err
}

func (d *Dir) entry(tag string, root buildcache.Descriptor) Entry {
	if path, err := d.blobPath(root.Digest); err == nil {
		if info, err := os.Stat(path); err == nil {
			root.Size = info.Size()
		}
	}
	return Entry{Tag: tag, Descriptor: root}
}
