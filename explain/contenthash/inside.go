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

// ErrLink says that a link is on the way to a path which leads to nothing.
var ErrLink = errors.New("a symbolic link leads to nothing")

// maxInside is the most bytes that BuildKit's frontend takes of a file.
const maxInside = 16 << 20

// Resolve returns the path in a directory that a path leads to. As for BuildKit, the directory is a root of its own: no link leads out of it.
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

// ReadInside reads a file of a directory as BuildKit's frontend does: the links of the directory do not lead out of it, and what is
// no regular file is not there. Then it fails with fs.ErrNotExist.
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
	file, err := root.OpenFile(at, os.O_RDONLY|syscall.O_NONBLOCK, 0) // which waits for no FIFO
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

// unlessDenied returns that a file is not there, unless it may be.
func unlessDenied(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fs.ErrNotExist
}
