package contenthash

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"syscall"
)

// device returns the numbers of a device, 0 and 0 for any other file.
func device(info fs.FileInfo) (major, minor int64) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode()&fs.ModeDevice == 0 {
		return 0, 0
	}
	dev := stat.Rdev // split as BuildKit's client does
	return int64((dev >> 8) & 0xfff), int64((dev & 0xff) | ((dev >> 12) & 0xfff00))
}

// xattrs returns the extended attributes of a file that is no symbolic link.
func xattrs(path string) (map[string]string, error) {
	names, err := grow(func(buffer []byte) (int, error) { return syscall.Listxattr(path, buffer) })
	if errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.EACCES) || len(names) == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all map[string]string
	for name := range bytes.SplitSeq(bytes.TrimSuffix(names, []byte{0}), []byte{0}) {
		if strings.HasPrefix(string(name), "com.apple.") || !countsXattr(string(name)) {
			continue
		}
		value, err := grow(func(buffer []byte) (int, error) { return syscall.Getxattr(path, string(name), buffer) })
		if err != nil {
			continue // as BuildKit's client does
		}
		if all == nil {
			all = map[string]string{}
		}
		all[string(name)] = string(value)
	}
	return all, nil
}

// grow calls read with buffers until one is large enough.
func grow(read func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 4 {
		buffer := make([]byte, size)
		n, err := read(buffer)
		if errors.Is(err, syscall.ERANGE) && size < 1<<20 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return buffer[:n], nil
	}
}
