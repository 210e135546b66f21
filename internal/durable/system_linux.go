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

// linkOpen gives an open file another name. It does not use the file's path, which may name something else by now.
func linkOpen(file *os.File, dir int, name string) error {
	open := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	err := unix.Linkat(unix.AT_FDCWD, open, dir, name, unix.AT_SYMLINK_FOLLOW)
	if errors.Is(err, fs.ErrNotExist) { // no /proc, or the file's last name is gone
		return errors.ErrUnsupported
	}
	return err
}

// renameNew gives a file another name in one step, if that is free.
func renameNew(old, path string) error {
	return unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
}

func room(dir string) (free int64, known bool) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil || stat.Blocks == 0 { // as some remote file systems say
		return 0, false
	}
	return roomIn(stat, os.Geteuid()), true
}

// roomIn returns the most bytes that a user may write. Root may also use what a file system reserves.
func roomIn(stat unix.Statfs_t, user int) int64 {
	blocks := stat.Bavail
	if user == 0 {
		blocks = stat.Bfree
	}
	return int64(blocks) * int64(stat.Bsize) //nolint:unconvert // another type on other processors
}

// sharesBytes reports whether a file system may have files that share bytes: any may, except those known not to.
func sharesBytes(dir string) bool {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return true
	}
	return stat.Type != unix.EXT4_SUPER_MAGIC && stat.Type != unix.TMPFS_MAGIC
}
