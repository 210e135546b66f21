package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
)

// Tag points tag to root in index.json, if it still points to was. The entry keeps its position and its annotations. It
// fails with ErrReference for a tag that CheckTag refuses, unless an existing entry already has it.
func (d *Dir) Tag(ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error {
	if tag != "" {
		return d.TagAll(ctx, []Tagging{{Tag: tag, Root: root, Was: was}})
	}
	if err := buildcache.CheckDigest(root.Digest); err != nil {
		return d.blobError(root, err)
	}
	if err := d.syncNames(ctx, root.Digest.Algorithm()); err != nil {
		return d.blobError(root, err)
	}
	return d.changeIndex(ctx, func(index *buildcache.Index) error {
		at := index.FindUntagged(was)
		switch {
		case at >= 0:
			index.Replace(at, root)
			return nil
		case was != "":
			return &TagMovedError{Place: d.path, Tag: tag, Was: was}
		default:
			return fmt.Errorf("%s: %w", d.path, CheckTag(tag))
		}
	})
}

// Tagging is a change of a tag: it is pointed to Root, if it still points to Was.
type Tagging struct {
	Tag  string
	Root buildcache.Descriptor
	Was  digest.Digest // "" for a tag that didn't exist
}

// TagAll does what Tag does for several tags, in one step: if it fails, none of them has moved. No tag may be "".
func (d *Dir) TagAll(ctx context.Context, all []Tagging) error {
	tagged := make([]buildcache.Tagged, len(all))
	for i, t := range all {
		if err := buildcache.CheckDigest(t.Root.Digest); err != nil {
			return d.blobError(t.Root, err)
		}
		if err := CheckTag(t.Tag); (t.Was == "" || t.Tag == "") && err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
		tagged[i] = buildcache.Tagged{Tag: t.Tag, Root: t.Root}
	}
	if len(all) > 0 {
		if err := d.syncNames(ctx, all[0].Root.Digest.Algorithm()); err != nil {
			return d.blobError(all[0].Root, err)
		}
	}
	return d.changeIndex(ctx, func(index *buildcache.Index) error {
		byTag := index.ByTag()
		for _, t := range all {
			now := digest.Digest("")
			if at, ok := byTag[t.Tag]; ok { // an existing entry may have any name
				now = index.Entries[at].Digest
			}
			if now != t.Was {
				return &TagMovedError{Place: d.path, Tag: t.Tag, Was: t.Was, Now: now}
			}
		}
		index.PutAll(tagged)
		return nil
	})
}

// syncNames makes the names of blobs durable. Put does that for what it stores, but a blob that it found there may be from a
// process that hasn't done so yet or was killed before, and a tag must not outlive its blobs.
func (d *Dir) syncNames(ctx context.Context, algorithm digest.Algorithm) (err error) {
	if d.assumed != nil {
		return nil
	}
	root, err := d.openRoot(durable.On(ctx))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	blobs, err := root.Open(blobsName)
	if err != nil {
		return unlessElsewhere(err)
	}
	defer func() { err = errors.Join(err, blobs.Close()) }()
	names, err := blobs.Open(algorithm.String())
	if err != nil {
		return unlessElsewhere(err)
	}
	return errors.Join(names.Sync(), names.Close())
}

// unlessElsewhere ignores blobs that are missing or behind a symbolic link, where Put would not have written.
func unlessElsewhere(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, durable.ErrSymlink) {
		return nil
	}
	return err
}

// changeIndex lets change edit index.json and replaces the file. Preparing the new file may wait for a disk, so that
// is done without the lock; if somebody else was faster, it is done again from the start.
func (d *Dir) changeIndex(ctx context.Context, change func(*buildcache.Index) error) error {
	if d.assumed != nil {
		return d.assumed.change(change)
	}
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
	// If this is read while somebody is writing, swapIndex finds other bytes.
	before, mode, err := readIndex(desk.root.OpenRegular(indexName))
	if err != nil {
		return false, err
	}
	index, err := parseIndex(before)
	if err == nil {
		err = change(index)
	}
	if err != nil { // really, or only because somebody is writing?
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

// swapIndex replaces index.json with file under its lock, if it still has the bytes before. Nothing else is done under the
// lock, because BuildKit doesn't wait for it.
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
