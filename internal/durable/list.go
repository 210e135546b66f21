package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// Item is what a directory has under a name. A symbolic link is an item of its own.
type Item struct {
	Name     string
	Type     fs.FileMode // 0 for a regular file, fs.ModeDir, fs.ModeSymlink, or fs.ModeIrregular for anything else
	Size     int64       // in bytes
	Modified time.Time   // the later of mtime and ctime: a copy may keep the old mtime, but not the ctime
}

// listBatch is how many names are read at a time.
const listBatch = 1000

// List returns what is in the directory, except what goes away meanwhile.
func (d *Dir) List() ([]Item, error) {
	if err := d.fs.Check(OpOpen, d.path); err != nil {
		return nil, err
	}
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	var items []Item
	for {
		names, err := d.file.Readdirnames(listBatch)
		for _, name := range names {
			item, err := d.Stat(name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		if errors.Is(err, io.EOF) {
			return items, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// Stat returns what is under a name.
func (d *Dir) Stat(name string) (Item, error) {
	dir, at, err := d.at(name)
	if err != nil {
		return Item{}, err
	}
	var info unix.Stat_t
	if err := unix.Fstatat(dir, at, &info, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Item{}, &fs.PathError{Op: "stat", Path: d.join(name), Err: err}
	}
	item := Item{Name: name, Size: info.Size, Modified: time.Unix(info.Mtim.Unix()), Type: fs.ModeIrregular}
	if changed := time.Unix(info.Ctim.Unix()); changed.After(item.Modified) {
		item.Modified = changed
	}
	switch uint32(info.Mode) & unix.S_IFMT { //nolint:unconvert // elsewhere it has 16 bits
	case unix.S_IFREG:
		item.Type = 0
	case unix.S_IFDIR:
		item.Type = fs.ModeDir
	case unix.S_IFLNK:
		item.Type = fs.ModeSymlink
	}
	return item, nil
}

// maxDepth bounds the depth of a tree that is looked at or removed.
const maxDepth = 16

// Tree returns how many bytes are in files under a name, and when anything there was last modified. It follows no link.
func (d *Dir) Tree(name string) (bytes int64, modified time.Time, err error) {
	err = d.visit(name, maxDepth, func(_ *Dir, item Item) error {
		if item.Type == 0 {
			bytes += item.Size
		}
		if item.Modified.After(modified) {
			modified = item.Modified
		}
		return nil
	})
	return bytes, modified, err
}

// RemoveTree removes a name with everything under it. It follows no link. Sync makes that durable.
func (d *Dir) RemoveTree(name string) error {
	return d.visit(name, maxDepth, func(in *Dir, item Item) error {
		if item.Type != fs.ModeDir {
			return in.Remove(item.Name)
		}
		if err := in.fs.Check(OpRemove, in.join(item.Name)); err != nil {
			return err
		}
		dir, at, err := in.at(item.Name)
		if err == nil {
			err = unix.Unlinkat(dir, at, unix.AT_REMOVEDIR)
		}
		if err != nil {
			return &fs.PathError{Op: "remove", Path: in.join(item.Name), Err: err}
		}
		return nil
	})
}

// visit calls each for everything under a name, and last for the name itself.
func (d *Dir) visit(name string, depth int, each func(in *Dir, item Item) error) (err error) {
	item, err := d.Stat(name)
	if err != nil {
		return err
	}
	if item.Type == fs.ModeDir {
		if depth == 0 {
			return fmt.Errorf("%s: directories are nested too deep", d.join(name))
		}
		if err := d.visitBelow(name, depth, each); err != nil {
			return err
		}
	}
	return each(d, item)
}

func (d *Dir) visitBelow(name string, depth int, each func(in *Dir, item Item) error) (err error) {
	below, err := d.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, below.Close()) }()
	items, err := below.List()
	if err != nil {
		return err
	}
	for _, item := range items {
		if err := below.visit(item.Name, depth-1, each); err != nil {
			return err
		}
	}
	return nil
}
