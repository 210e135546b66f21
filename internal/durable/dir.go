package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrSymlink says that there is a symbolic link where something is to be written. Whoever can put one there would decide
// where we write, with our rights, so none is followed.
var ErrSymlink = errors.New("this is a symbolic link, and nothing is written through one")

// Dir is an open directory. Everything is done in the directory that was opened, wherever its path leads by then, and
// no symbolic link in it is followed. Names are single names, without a directory.
// Close ends its use.
type Dir struct {
	fs   FS
	file *os.File // nil only inside this package: then path is looked up each time
	path string
}

// OpenDir opens a directory that a user named: it follows symbolic links on the way and at the end.
func (f FS) OpenDir(path string) (*Dir, error) {
	if err := f.Check(OpOpen, path); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &Dir{fs: f, file: file, path: path}, nil
}

// MakeDir opens a directory as OpenDir does, and durably makes it and its parents if they do not exist.
func (f FS) MakeDir(path string) (*Dir, error) {
	dir, err := f.OpenDir(path)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	path = filepath.Clean(path)
	parent, err := f.MakeDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	dir, err = parent.Make(filepath.Base(path), 0o755)
	return dir, errors.Join(err, parent.Close())
}

// CheckMakeDir fails if MakeDir would, or if nothing could be written to what it opens, as far as that can be told
// without making it.
func CheckMakeDir(path string) error {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path); err == nil { // a link to nothing
			return &fs.PathError{Op: "mkdir", Path: path, Err: fs.ErrExist}
		}
		return CheckMakeDir(filepath.Dir(filepath.Clean(path)))
	}
	if err == nil {
		err = unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	}
	if err == nil {
		var dir *Dir
		if dir, err = (FS{}).OpenDir(path); err == nil {
			return dir.Close()
		}
		return err
	}
	return &fs.PathError{Op: "write to", Path: path, Err: err}
}

// String returns the path by which the directory was opened.
func (d *Dir) String() string { return d.path }

// File returns the open directory itself, for locking it.
func (d *Dir) File() *os.File { return d.file }

// Close ends the use of the directory.
func (d *Dir) Close() error { return d.file.Close() }

// Sync makes the names in the directory durable.
func (d *Dir) Sync() error {
	if d.file == nil {
		return d.fs.SyncDir(d.path)
	}
	if err := d.fs.Check(OpSyncDir, d.path); err != nil {
		return err
	}
	return d.file.Sync()
}

// Open opens a directory in this one.
func (d *Dir) Open(name string) (*Dir, error) {
	if err := d.fs.Check(OpOpen, d.join(name)); err != nil {
		return nil, err
	}
	file, err := d.open(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return &Dir{fs: d.fs, file: file, path: d.join(name)}, nil
}

// Make opens a directory in this one, and durably makes it if it does not exist. If root makes it, it belongs to the
// owner of this one.
func (d *Dir) Make(name string, mode fs.FileMode) (*Dir, error) {
	made, err := d.Open(name)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return made, err
	}
	if err := d.fs.Check(OpMakeDir, d.join(name)); err != nil {
		return nil, err
	}
	fd, at, err := d.at(name)
	if err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(fd, at, uint32(mode.Perm())); errors.Is(err, fs.ErrExist) {
		return d.Open(name) // somebody else was quicker, and owns it
	} else if err != nil {
		return nil, &fs.PathError{Op: "mkdir", Path: d.join(name), Err: err}
	}
	if made, err = d.Open(name); err != nil {
		return nil, err
	}
	// Meanwhile something else may have taken the name. Giving away an empty directory does no harm.
	_, err = made.file.ReadDir(1)
	if errors.Is(err, io.EOF) {
		err = d.adopt(made.file)
	}
	if err = errors.Join(err, d.Sync()); err != nil {
		// If somebody else has already put something into it, it stays.
		_ = unix.Unlinkat(fd, at, unix.AT_REMOVEDIR)
		return nil, errors.Join(err, made.Close())
	}
	return made, nil
}

// Create makes a temporary file in the directory, locked for as long as it is open.
func (d *Dir) Create() (*File, error) {
	if err := d.fs.Check(OpCreate, d.path); err != nil {
		return nil, err
	}
	for {
		name := fmt.Sprintf("%s%016x", tempPrefix, rand.Uint64())
		file, err := d.open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		temp := &File{dir: d, file: file}
		// A writer that is cleaning up may have got hold of the file before we locked it: then make another.
		if tryLock(file, true) == nil && d.Names(name, file) {
			if err := d.adopt(file); err != nil {
				return nil, errors.Join(err, temp.Discard())
			}
			return temp, nil
		}
		if err := temp.Discard(); err != nil {
			return nil, err
		}
	}
}

// OpenRegular opens a file of the directory for reading and returns its size in bytes. It fails with ErrNotRegular
// if the name is something else.
func (d *Dir) OpenRegular(name string) (*os.File, int64, error) {
	if err := d.fs.Check(OpOpen, d.join(name)); err != nil {
		return nil, 0, err
	}
	return checkRegular(d.open(name, unix.O_RDONLY|unix.O_NONBLOCK, 0))
}

// Append adds line to a file in one write, and makes the file if it does not exist. It does not wait for the disk: it is
// only for what may be lost.
func (d *Dir) Append(name string, line []byte) error {
	if err := d.fs.Check(OpWrite, d.join(name)); err != nil {
		return err
	}
	file, err := d.openOrMake(name, unix.O_WRONLY|unix.O_APPEND|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(line)
	return errors.Join(err, file.Close(), d.fs.Check(OpClose, d.join(name)))
}

// WriteNew durably makes a file with data, under a name that must be free. Unlike with File, a crash can leave the file with
// only the beginning of the data.
func (d *Dir) WriteNew(name string, data []byte, mode fs.FileMode) error {
	if err := d.fs.Check(OpCreate, d.join(name)); err != nil {
		return err
	}
	file, err := d.open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, uint32(mode.Perm()))
	if err != nil {
		return err
	}
	if err = d.adopt(file); err == nil {
		_, err = file.Write(data)
	}
	if err == nil {
		err = d.fs.Check(OpSync, d.join(name))
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = d.Sync()
	}
	if err != nil {
		return errors.Join(err, d.remove(name))
	}
	return nil
}

// openOrMake opens a file, and makes it if it does not exist. Only a file that it made is given to the directory's owner.
func (d *Dir) openOrMake(name string, flags int, mode uint32) (*os.File, error) {
	for {
		file, _, err := checkRegular(d.open(name, flags, 0))
		if !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
		file, err = d.open(name, flags|unix.O_CREAT|unix.O_EXCL, mode)
		if errors.Is(err, fs.ErrExist) {
			continue // somebody else was quicker
		}
		if err == nil {
			err = d.adopt(file)
		}
		return file, err
	}
}

// Remove removes a name, whatever it names except a directory. Sync makes that durable.
func (d *Dir) Remove(name string) error {
	if err := d.fs.Check(OpRemove, d.join(name)); err != nil {
		return err
	}
	return d.remove(name)
}

func (d *Dir) remove(name string) error {
	fd, at, err := d.at(name)
	if err == nil {
		err = unix.Unlinkat(fd, at, 0)
	}
	if err != nil {
		return &fs.PathError{Op: "remove", Path: d.join(name), Err: err}
	}
	return nil
}

// Link durably gives an open file a name in the directory. It syncs the bytes too: whoever wrote them may not have waited for
// the disk. It fails with fs.ErrExist if the name is taken, and with errors.ErrUnsupported on systems that can't link an open
// file.
func (d *Dir) Link(file *os.File, name string) error {
	if err := d.fs.Check(OpSync, file.Name()); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := d.fs.Check(OpLink, d.join(name)); err != nil {
		return err
	}
	fd, at, err := d.at(name)
	if err == nil {
		err = linkOpen(file, fd, at)
	}
	if err != nil {
		return &os.LinkError{Op: "link", Old: file.Name(), New: d.join(name), Err: err}
	}
	return d.Sync()
}

// Names reports whether name still names the open file.
func (d *Dir) Names(name string, file *os.File) bool {
	fd, at, err := d.at(name)
	if err != nil {
		return false
	}
	var opened, named unix.Stat_t
	if unix.Fstat(int(file.Fd()), &opened) != nil || unix.Fstatat(fd, at, &named, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return false
	}
	return opened.Dev == named.Dev && opened.Ino == named.Ino
}

// at returns the arguments by which system calls find a name in an open directory.
func (d *Dir) at(name string) (fd int, at string, err error) {
	if d.file == nil {
		return unix.AT_FDCWD, d.join(name), nil
	}
	if name != filepath.Base(name) || name == "." || name == ".." || name == string(filepath.Separator) {
		return 0, "", &fs.PathError{Op: "find", Path: d.join(name), Err: fs.ErrInvalid}
	}
	return int(d.file.Fd()), name, nil
}

func (d *Dir) join(name string) string { return filepath.Join(d.path, name) }

func (d *Dir) open(name string, flags int, mode uint32) (*os.File, error) {
	dir, at, err := d.at(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Openat(dir, at, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	for errors.Is(err, unix.EINTR) {
		fd, err = unix.Openat(dir, at, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	}
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		if _, noLink := unix.Readlinkat(dir, at, make([]byte, 1)); noLink == nil {
			err = ErrSymlink
		}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: d.join(name), Err: err}
	}
	return os.NewFile(uintptr(fd), d.join(name)), nil
}

// adopt gives what root has made in somebody else's directory to the directory's owner, who could not use it otherwise.
// For other users it does nothing. The file must be one that we made.
func (d *Dir) adopt(file *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var info fs.FileInfo
	var err error
	if d.file == nil {
		info, err = os.Stat(d.path)
	} else {
		info, err = d.file.Stat()
	}
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	return file.Chown(int(owner.Uid), int(owner.Gid))
}
