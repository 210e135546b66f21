// Package durable is the one seam to the file system for whatever must survive a crash: temporary files, fsync,
// rename, removal, the sync of the directory that makes them durable, and locks.
//
// Where others can write, work is done through a Dir, an open directory in which no symbolic link is followed. The
// operations of an FS that take a path are for places where nobody else writes.
//
// A file that it commits is there as a whole or not at all. Temporary files are locked by whoever writes them, so the
// next writer can recognize and remove those of a crashed process.
package durable

import (
	"context"
	"errors"
	"os"
)

// Op names an operation, for fault injection.
type Op string

// The operations that can be made to fail.
const (
	OpOpen    Op = "open" // of what exists: a file, a directory, a lock
	OpRead    Op = "read"
	OpMakeDir Op = "mkdir"
	OpCreate  Op = "create"
	OpWrite   Op = "write"
	OpSync    Op = "sync"
	OpClose   Op = "close" // of what was written
	OpRename  Op = "rename"
	OpLink    Op = "link"
	OpRemove  Op = "remove"
	OpSyncDir Op = "syncdir"
)

// ShortWrite is a fault of a write that stores the first half of its bytes, and then fails with Err. Other operations
// fail with it as with any error.
type ShortWrite struct{ Err error }

func (e *ShortWrite) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *ShortWrite) Unwrap() error { return e.Err }

// FS does durable operations. Its zero value is the file system as it is.
type FS struct {
	fault func(op Op, path string) error
}

type faultKey struct{}

// WithFault returns a context under which an operation fails if fault returns an error for it. fault is called before each
// operation, with the path that it is about, by any number of goroutines. It is for tests, which can make any operation
// of a whole command fail.
func WithFault(ctx context.Context, fault func(op Op, path string) error) context.Context {
	return context.WithValue(ctx, faultKey{}, fault)
}

// On returns the file system to use under ctx.
func On(ctx context.Context) FS {
	fault, _ := ctx.Value(faultKey{}).(func(op Op, path string) error)
	return FS{fault: fault}
}

// Check returns the injected fault for an operation that the caller does itself, or nil.
func (f FS) Check(op Op, path string) error {
	if f.fault == nil {
		return nil
	}
	return f.fault(op, path)
}

// Create makes a temporary file in the directory dir, locked for as long as it is open. The path is looked up each
// time that the file is named, so nobody else may write there.
func (f FS) Create(dir string) (*File, error) { return (&Dir{fs: f, path: dir}).Create() }

// CreateUnnamed makes a temporary file without a name in the system's directory for such files. It goes away with the
// process, or with Discard, and can't be committed.
func (f FS) CreateUnnamed() (*File, error) {
	dir := os.TempDir()
	if err := f.Check(OpCreate, dir); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(dir, "ocicache-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &File{dir: &Dir{fs: f, path: dir}, file: file}, nil
}

// RemoveAll removes a directory of ours with everything in it, if it exists.
func (f FS) RemoveAll(path string) error {
	if err := f.Check(OpRemove, path); err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// Remove removes the name of a file or an empty directory. SyncDir makes that durable.
func (f FS) Remove(path string) error {
	if err := f.Check(OpRemove, path); err != nil {
		return err
	}
	return os.Remove(path)
}

// SyncDir makes the names in a directory durable.
func (f FS) SyncDir(path string) error {
	if err := f.Check(OpSyncDir, path); err != nil {
		return err
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
