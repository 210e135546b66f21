package durable

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// tempPrefix begins the names of temporary files.
const tempPrefix = "tmp-"

// File is a temporary file that Commit makes durable and Discard removes. The Dir that it was made in must stay open
// until then.
type File struct {
	dir  *Dir
	file *os.File
}

// Write appends to the file.
func (t *File) Write(p []byte) (int, error) {
	err := t.dir.fs.Check(OpWrite, t.file.Name())
	if err == nil {
		return t.file.Write(p)
	}
	n := 0
	if short := new(ShortWrite); errors.As(err, &short) {
		n, _ = t.file.Write(p[:len(p)/2]) // it fails in any case
	}
	return n, err
}

// copyStep is how many bytes the kernel copies at once: few enough that a copy can be interrupted.
const copyStep = 32 << 20

// CopyFrom fills the file, which must be empty, with everything in src: by reflink if the file system can, else by
// copy_file_range or what the system has instead. Afterwards the offsets of both files can be anywhere.
func (t *File) CopyFrom(ctx context.Context, src *os.File) error {
	if err := t.dir.fs.Check(OpWrite, t.file.Name()); err != nil {
		return err
	}
	if reflink(t.file, src) == nil {
		return nil
	}
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for n := int64(copyStep); n == copyStep; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		var err error
		if n, err = t.file.ReadFrom(io.LimitReader(src, copyStep)); err != nil {
			return err
		}
	}
	return nil
}

// File returns the open file, for reading it.
func (t *File) File() *os.File { return t.file }

// CommitIn makes the file durable under a name in dir, with the permissions mode. It replaces whatever has the name. The
// directory must be on the same file system. Whether it succeeds or not, the temporary file is gone afterwards.
func (t *File) CommitIn(dir *Dir, name string, mode fs.FileMode) error {
	if err := t.Sync(mode); err != nil {
		return errors.Join(err, t.Discard())
	}
	if err := t.RenameIn(dir, name); err != nil {
		return errors.Join(err, t.Discard())
	}
	return errors.Join(dir.Sync(), t.close())
}

// close closes the file, all of which is known to be on disk.
func (t *File) close() error {
	return errors.Join(t.file.Close(), t.dir.fs.Check(OpClose, t.file.Name()))
}

// Commit is CommitIn for a path, which is looked up.
func (t *File) Commit(path string, mode fs.FileMode) error {
	return t.CommitIn(&Dir{fs: t.dir.fs, path: filepath.Dir(path)}, filepath.Base(path), mode)
}

// Sync is the first step of Commit, for those who take the steps separately: afterwards bytes and mode are on disk.
func (t *File) Sync(mode fs.FileMode) error {
	if err := t.file.Chmod(mode); err != nil {
		return err
	}
	if err := t.dir.fs.Check(OpSync, t.file.Name()); err != nil {
		return err
	}
	return t.file.Sync()
}

// RenameIn is the second step of CommitIn: it makes the file visible under name. Sync of dir makes that durable.
func (t *File) RenameIn(dir *Dir, name string) error {
	if err := t.dir.fs.Check(OpRename, dir.join(name)); err != nil {
		return err
	}
	from, old, err := t.dir.at(t.name())
	if err != nil {
		return err
	}
	to, at, err := dir.at(name)
	if err == nil {
		err = unix.Renameat(from, old, to, at)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: t.file.Name(), New: dir.join(name), Err: err}
	}
	return nil
}

// Rename is RenameIn for a path, which is looked up.
func (t *File) Rename(path string) error {
	return t.RenameIn(&Dir{fs: t.dir.fs, path: filepath.Dir(path)}, filepath.Base(path))
}

func (t *File) name() string { return filepath.Base(t.file.Name()) }

// Discard removes the temporary file. After Commit it does nothing.
func (t *File) Discard() error {
	err := t.dir.remove(t.name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if closeErr := t.file.Close(); closeErr != nil && !errors.Is(closeErr, fs.ErrClosed) {
		err = errors.Join(err, closeErr)
	}
	return err
}
