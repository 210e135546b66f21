package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
)

// Tag points tag to root in index.json, if it still points to was. The entry keeps its place and its annotations. It
// fails with ErrReference for a tag that CheckTag refuses, unless an entry that others wrote has it already.
func (d *Dir) Tag(ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error {
	if err := buildcache.CheckDigest(root.Digest); err != nil {
		return d.blobError(root, err)
	}
	if err := CheckTag(tag); tag != "" && was == "" && err != nil {
		return fmt.Errorf("%s: %w", d.path, err)
	}
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
		if at >= 0 && tag == "" {
			index.Replace(at, root)
			return nil
		}
		if at < 0 { // what is there may be called anything
			if err := CheckTag(tag); err != nil {
				return fmt.Errorf("%s: %w", d.path, err)
			}
		}
		index.Put(tag, root)
		return nil
	})
}

// changeIndex lets change work on index.json and replaces the file. Preparing the new file may wait for a disk, so it
// is done without the lock; if somebody else was quicker, it is done again from the start.
func (d *Dir) changeIndex(ctx context.Context, change func(*buildcache.Index) error) error {
	const tries = 100
	for range tries {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		done, err := d.tryChangeIndex(ctx, change)
		if err != nil || done {
			return err
		}
	}
	return &LockedError{Path: filepath.Join(d.path, indexName)}
}

func (d *Dir) tryChangeIndex(ctx context.Context, change func(*buildcache.Index) error) (done bool, err error) {
	desk, err := d.openDesk(ctx)
	if err != nil {
		return false, fmt.Errorf("write %s: %w", filepath.Join(d.path, indexName), err)
	}
	defer func() { err = errors.Join(err, desk.Close()) }()
	// If this is read while somebody writes, swapIndex finds other bytes.
	before, mode, err := readIndex(desk.root.OpenRegular(indexName))
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
	file, err := desk.prepareIndex(index, mode)
	if err != nil {
		return false, fmt.Errorf("write %s: %w", filepath.Join(d.path, indexName), err)
	}
	defer func() { err = errors.Join(err, file.Discard()) }()
	done, err = d.swapIndex(ctx, desk.root, before, file)
	if err != nil || !done {
		return false, err
	}
	return true, desk.root.Sync()
}

// swapIndex puts file in the place of index.json under its lock, if that still has the bytes before. Under the lock
// nothing else is done, for BuildKit does not wait for it.
func (d *Dir) swapIndex(ctx context.Context, root *durable.Dir, before []byte, file *durable.File) (done bool, err error) {
	lock, err := d.lockIndex(ctx, root)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, root.RemoveLock(indexLockName, lock)) }()
	now, _, err := readIndex(root.OpenRegular(indexName))
	if err != nil || !bytes.Equal(now, before) {
		return false, err
	}
	if !root.Names(indexLockName, lock) {
		return false, nil // somebody removed our lock; what it guarded may have changed
	}
	if err := file.RenameIn(root, indexName); err != nil {
		return false, fmt.Errorf("write %s: %w", filepath.Join(d.path, indexName), err)
	}
	return true, nil
}
