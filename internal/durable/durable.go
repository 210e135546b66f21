// Package durable is the one seam to the file system for whatever must survive a crash: temporary files, fsync,
// rename, and the sync of the directory that makes a rename last.
//
// A file that it commits is there as a whole or not at all. Temporary files are locked by whoever writes them, so the
// next writer can tell those of a crashed process and remove them.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Op names an operation for the sake of fault injection.
type Op string

// The operations that can be made to fail.
const (
	OpCreate  Op = "create"
	OpWrite   Op = "write"
	OpSync    Op = "sync"
	OpRename  Op = "rename"
	OpLink    Op = "link"
	OpSyncDir Op = "syncdir"
)

// FS does durable operations. Its zero value is the file system as it is.
type FS struct {
	// Fault, if set, is asked before each operation and makes it fail by returning an error. It is for tests.
	Fault func(op Op, path string) error
}

// Check asks Fault about an operation that the caller does itself.
func (f FS) Check(op Op, path string) error {
	if f.Fault == nil {
		return nil
	}
	return f.Fault(op, path)
}

// tempPrefix begins the names of temporary files.
const tempPrefix = "tmp-"

// File is a temporary file that becomes a durable one by Commit, or nothing by Discard.
type File struct {
	fs   FS
	file *os.File
}

// Create makes a temporary file in dir, locked for as long as it is open.
func (f FS) Create(dir string) (*File, error) {
	if err := f.Check(OpCreate, dir); err != nil {
		return nil, err
	}
	for {
		file, err := os.CreateTemp(dir, tempPrefix)
		if err != nil {
			return nil, err
		}
		// A writer that is just clearing up may have got hold of the file before its lock: then make another.
		if TryLock(file, true) == nil && Names(file.Name(), file) {
			if err := Adopt(file, dir); err != nil {
				return nil, errors.Join(err, file.Close(), os.Remove(file.Name()))
			}
			return &File{fs: f, file: file}, nil
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
		if err := os.Remove(file.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

// Write appends to the file.
func (t *File) Write(p []byte) (int, error) {
	if err := t.fs.Check(OpWrite, t.file.Name()); err != nil {
		return 0, err
	}
	return t.file.Write(p)
}

// File returns the open file, for callers that fill it in a faster way than by Write.
func (t *File) File() *os.File { return t.file }

// Commit makes the file durable under path, which it replaces, with the permissions mode. The directory of path must
// be on the same file system. Whether it succeeds or not, the temporary file is gone afterwards.
func (t *File) Commit(path string, mode fs.FileMode) error {
	if err := t.Sync(mode); err != nil {
		return errors.Join(err, t.Discard())
	}
	if err := t.Rename(path); err != nil {
		return errors.Join(err, t.Discard())
	}
	return errors.Join(t.fs.SyncDir(filepath.Dir(path)), t.file.Close())
}

// Sync is the first step of Commit, for those who take the steps apart: bytes and mode are on the disk.
func (t *File) Sync(mode fs.FileMode) error {
	if err := t.file.Chmod(mode); err != nil {
		return err
	}
	if err := t.fs.Check(OpSync, t.file.Name()); err != nil {
		return err
	}
	return t.file.Sync()
}

// Rename is the second step of Commit: the file is visible under path. SyncDir of the directory makes that last.
func (t *File) Rename(path string) error {
	if err := t.fs.Check(OpRename, path); err != nil {
		return err
	}
	return os.Rename(t.file.Name(), path)
}

// Discard removes the temporary file. After Commit it does nothing.
func (t *File) Discard() error {
	err := os.Remove(t.file.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if closeErr := t.file.Close(); closeErr != nil && !errors.Is(closeErr, fs.ErrClosed) {
		err = errors.Join(err, closeErr)
	}
	return err
}

// Link gives the file old a second name, durably. It fails with fs.ErrExist where the name is taken.
func (f FS) Link(old, path string) error {
	if err := f.Check(OpLink, path); err != nil {
		return err
	}
	if err := os.Link(old, path); err != nil {
		return err
	}
	return f.SyncDir(filepath.Dir(path))
}

// Mkdir makes dir and its parents, durably, where they are not there.
func (f FS) Mkdir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := f.Mkdir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	opened, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(Adopt(opened, parent), opened.Close(), f.SyncDir(parent))
}

// Append adds line to a file in one write, making the file where it is not there. It does not wait for the disk: what
// is appended so must be something that can be lost. It follows no symbolic link and waits for no FIFO.
func (f FS) Append(path string, line []byte) error {
	if err := f.Check(OpWrite, path); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(line)
	return errors.Join(err, Adopt(file, filepath.Dir(path)), file.Close())
}

// SyncDir makes the names in a directory last.
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

// RemoveStale removes the temporary files in dir that nobody writes any more.
func (f FS) RemoveStale(dir string) error {
	names, err := Stale(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := removeUnlocked(name); err != nil {
			return err
		}
	}
	return nil
}

// Stale returns the temporary files in dir, those that are being written included.
func Stale(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), tempPrefix) && entry.Type().IsRegular() {
			names = append(names, filepath.Join(dir, entry.Name()))
		}
	}
	return names, nil
}

func removeUnlocked(path string) error {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil // just committed, or somebody else's
	}
	if err != nil {
		return err
	}
	err = TryLock(file, true)
	switch {
	case errors.Is(err, ErrLocked):
		err = nil
	case err == nil:
		if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return errors.Join(err, file.Close())
}

// ErrLocked says that another open file holds the lock.
var ErrLocked = errors.New("locked")

// TryLock takes the flock(2) lock of an open file, exclusively or shared, without waiting; it fails with ErrLocked
// where it would have to. Closing the file gives the lock back.
func TryLock(file *os.File, exclusive bool) error {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	for {
		err := unix.Flock(int(file.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrLocked
		default:
			return fmt.Errorf("flock %s: %w", file.Name(), err)
		}
	}
}

// Names says whether path still names the open file.
func Names(path string, file *os.File) bool {
	opened, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(opened, named)
}

// Adopt gives a file that root has made in somebody else's directory to the directory's owner, who could not use it
// otherwise. For all others it does nothing.
func Adopt(file *os.File, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	return file.Chown(int(owner.Uid), int(owner.Gid))
}
