package contenthash

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// ErrLink says that a symbolic link on the way to a path leads nowhere.
var ErrLink = errors.New("a symbolic link leads to nothing")

// maxInside is the largest file that BuildKit's frontend takes, in bytes.
const maxInside = 16 << 20

// Resolve returns where in a directory a path leads once links are followed. As in BuildKit, the directory acts as the root: no link leads
// out of it.
func Resolve(dir, p string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	at, err := resolve(root, p)
	return at, errors.Join(err, root.Close())
}

func resolve(root *os.Root, p string) (string, error) {
	at, rest := ".", strings.Split(p, "/")
	for links := 0; len(rest) > 0; {
		next := cmp.Or(strings.TrimPrefix(path.Join("/", at, rest[0]), "/"), ".")
		rest = rest[1:]
		info, err := root.Lstat(next)
		if err != nil && links > 0 {
			return "", fmt.Errorf("%w: %w", ErrLink, err)
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", ErrLink
		}
		target, err := root.Readlink(next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			at = "."
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, nil
}

// ReadInside reads a file in a directory as BuildKit's frontend does: no link leads out of the directory, and anything but a
// regular file counts as missing, with fs.ErrNotExist.
func ReadInside(dir, p string) (data []byte, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	at, err := resolve(root, p)
	if err != nil {
		return nil, unlessDenied(err)
	}
	file, err := root.OpenFile(at, os.O_RDONLY|syscall.O_NONBLOCK, 0) // does not block on a FIFO
	if err != nil {
		return nil, unlessDenied(err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fs.ErrNotExist
	}
	data, err = io.ReadAll(io.LimitReader(file, maxInside+1))
	if err == nil && len(data) > maxInside {
		err = fmt.Errorf("larger than %d bytes, which is more than BuildKit takes", maxInside)
	}
	return data, err
}

// unlessDenied returns fs.ErrNotExist, unless the error is a lack of permission: then the file may exist.
func unlessDenied(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fs.ErrNotExist
}
