package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
)

// Tag points tag to root in index.json, if it still points to was. The entry keeps its place and its annotations.
func (d *Dir) Tag(ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error {
	return d.changeIndex(ctx, func(index *buildcache.Index) error {
		at, now := index.Find(tag), digest.Digest("")
		if tag == "" {
			at = slices.IndexFunc(index.Entries, func(e buildcache.Descriptor) bool { return e.Tag() == "" && e.Digest == was })
		}
		if at >= 0 {
			now = index.Entries[at].Digest
		}
		if now != was {
			return &TagMovedError{Place: d.path, Tag: tag, Was: was, Now: now}
		}
		switch {
		case tag != "":
			index.Put(tag, root)
		case at >= 0:
			index.Replace(at, root)
		default:
			return fmt.Errorf("%s: %w: a new entry needs a tag", d.path, ErrReference)
		}
		return nil
	})
}

// changeIndex lets change work on index.json and replaces the file. Preparing the new file may wait for a disk, so it
// is done without the lock; if somebody else was quicker, it is done again from the start.
func (d *Dir) changeIndex(ctx context.Context, change func(*buildcache.Index) error) error {
	const tries = 100
	for range tries {
		done, err := d.tryChangeIndex(ctx, change)
		if err != nil || done {
			return err
		}
	}
	return &LockedError{Path: filepath.Join(d.path, indexName)}
}

func (d *Dir) tryChangeIndex(ctx context.Context, change func(*buildcache.Index) error) (done bool, err error) {
	// If this is read while somebody writes, swapIndex finds other bytes.
	before, err := readIndex(filepath.Join(d.path, indexName))
	if err != nil {
		return false, err
	}
	index, err := parseIndex(before)
	if err == nil {
		err = change(index)
	}
	if err != nil { // for good, or only because somebody writes?
		if index, err = d.Index(ctx); err == nil {
			err = change(index)
		}
		return false, err
	}
	file, err := d.prepareIndex(index)
	if err != nil {
		return false, fmt.Errorf("write %s: %w", filepath.Join(d.path, indexName), err)
	}
	defer func() { err = errors.Join(err, file.Discard()) }()
	done, err = d.swapIndex(ctx, before, file)
	if err != nil || !done {
		return false, err
	}
	return true, d.fs.SyncDir(d.path)
}

func (d *Dir) prepareIndex(index *buildcache.Index) (*durable.File, error) {
	data, err := json.Marshal(index)
	if err != nil {
		return nil, err
	}
	file, err := d.createTemp()
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(data); err != nil {
		return nil, errors.Join(err, file.Discard())
	}
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(filepath.Join(d.path, indexName)); err == nil {
		mode = info.Mode().Perm()
	}
	if err := file.Sync(mode); err != nil {
		return nil, errors.Join(err, file.Discard())
	}
	return file, nil
}

// swapIndex puts file in the place of index.json under its lock, if that still has the bytes before. Under the lock
// nothing else is done, for BuildKit does not wait for it.
func (d *Dir) swapIndex(ctx context.Context, before []byte, file *durable.File) (done bool, err error) {
	lock, unlock, err := d.lockIndex(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	now, err := readIndex(filepath.Join(d.path, indexName))
	if err != nil || !bytes.Equal(now, before) {
		return false, err
	}
	if !durable.Names(filepath.Join(d.path, indexLockName), lock) {
		return false, nil // somebody removed our lock; what it guarded may have changed
	}
	if err := file.Rename(filepath.Join(d.path, indexName)); err != nil {
		return false, fmt.Errorf("write %s: %w", filepath.Join(d.path, indexName), err)
	}
	return true, nil
}
