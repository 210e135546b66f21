package durable

import (
	"errors"
	"os"
	"syscall"
)

// RenameNew gives the file old another name on the same file system, and fails with fs.ErrExist if anything has that
// name: nothing is ever replaced. SyncDir of both directories makes it durable.
func (f FS) RenameNew(old, path string) error {
	if err := f.Check(OpRename, path); err != nil {
		return err
	}
	err := renameNew(old, path)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.EINVAL):
		return linkNew(old, path) // the system, or the file system, can't do it in one step
	default:
		return &os.LinkError{Op: "rename", Old: old, New: path, Err: err}
	}
}

// linkNew is RenameNew in two steps. In between, and after a crash there, the file has both names.
func linkNew(old, path string) error {
	if err := os.Link(old, path); err != nil {
		return err
	}
	if err := os.Remove(old); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
