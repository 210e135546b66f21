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

// Index returns what index.json says. BuildKit writes the file in place, so it is read again while somebody writes it: it
// may be torn, or half old and half new without looking torn. A layout without the file has an empty index.
func (d *Dir) Index(ctx context.Context) (*buildcache.Index, error) {
	if d.assumed != nil {
		return d.assumed.index(), context.Cause(ctx)
	}
	return d.readQuietly(ctx)
}

// readQuietly reads index.json while nobody is writing it, or its best reading after a bounded number of tries.
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

// isIndexQuiet reports whether nobody seems to hold index.json.lock. Readers never take the lock, not even to test it: a
// BuildKit that came at that moment would fail. The file exists while the lock is held, or after a crash.
func (d *Dir) isIndexQuiet() bool {
	_, err := os.Lstat(filepath.Join(d.path, indexLockName))
	return errors.Is(err, fs.ErrNotExist)
}

// readIndex reads an index.json and its permissions. raw is nil if there is none. If the file is too large, it fails with an *IndexError
// that wraps a *buildcache.SizeError; if it grew meanwhile, raw holds enough to show that.
func readIndex(file *os.File, _ int64, err error) (raw []byte, mode fs.FileMode, _ error) {
	var path *fs.PathError
	switch {
	case errors.As(err, &path) && isDeadLink(path.Path):
		return nil, 0, &IndexError{Path: path.Path, Err: errDeadLink}
	case errors.Is(err, fs.ErrNotExist):
		return nil, durable.NewMode(indexMode), nil
	case (errors.Is(err, durable.ErrNotRegular) || errors.Is(err, durable.ErrSymlink)) && errors.As(err, &path):
		return nil, 0, &IndexError{Path: path.Path, Err: path.Err}
	case err != nil:
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	if size := info.Size(); size > buildcache.MaxIndex {
		err := &buildcache.SizeError{What: indexName, Size: size, Limit: buildcache.MaxIndex}
		return nil, 0, errors.Join(&IndexError{Path: file.Name(), Err: err}, file.Close())
	}
	raw, err = io.ReadAll(io.LimitReader(file, buildcache.MaxIndex+1))
	return raw, info.Mode().Perm(), errors.Join(err, file.Close())
}

// errDeadLink says that an index.json is a symbolic link to something that does not exist.
var errDeadLink = errors.New("this is a symbolic link to nothing")

func isDeadLink(path string) bool {
	_, err := os.Stat(path)
	info, linkErr := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist) && linkErr == nil && info.Mode().Type() == fs.ModeSymlink
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

// InTheWay reports whether there is something other than a file, which has to be moved away before anything can write an index.json.
func (e *IndexError) InTheWay() bool {
	return errors.Is(e.Err, durable.ErrNotRegular) || errors.Is(e.Err, durable.ErrSymlink) || errors.Is(e.Err, errDeadLink)
}

// Entries returns the entries of index.json, caches and others. Their sizes are the file sizes, not those in
// index.json, which nothing checks. Roots that are missing keep the size stated there.
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

// Missing says whether index.json is missing. Without it no BuildKit takes a directory for a layout.
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
