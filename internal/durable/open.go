package durable

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNotRegular says that something other than a file has the name.
var ErrNotRegular = errors.New("not a regular file")

// OpenRegular opens a file for reading, wherever path and its links lead, and returns its size in bytes. It fails with
// ErrNotRegular if something other than a file is there; it does not wait for a FIFO.
func OpenRegular(path string) (*os.File, int64, error) {
	return checkRegular(os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0))
}

// OpenRegular is the function of the same name, with injected faults.
func (f FS) OpenRegular(path string) (*os.File, int64, error) {
	if err := f.Check(OpOpen, path); err != nil {
		return nil, 0, err
	}
	return OpenRegular(path)
}

// checkRegular looks at what was opened, not at what has the name by now.
func checkRegular(file *os.File, err error) (*os.File, int64, error) {
	var path *fs.PathError
	if errors.Is(err, unix.ENXIO) && errors.As(err, &path) { // a socket, or a FIFO that nobody reads
		path.Err = ErrNotRegular
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: file.Name(), Err: ErrNotRegular}
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}
