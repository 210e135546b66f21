package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// reflink makes dst share the bytes of src.
func reflink(dst, src *os.File) error { return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) }

// linkOpen gives an open file a further name. A path would name the file that was looked at only by chance.
func linkOpen(file *os.File, dir int, name string) error {
	open := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	err := unix.Linkat(unix.AT_FDCWD, open, dir, name, unix.AT_SYMLINK_FOLLOW)
	if errors.Is(err, fs.ErrNotExist) { // no /proc, or the file's last name is gone
		return errors.ErrUnsupported
	}
	return err
}

// renameNew gives a file another name, where that is free, in one step.
func renameNew(old, path string) error {
	return unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
}
