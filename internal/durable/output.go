package durable

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Output is a file that a user named to have something written to it, apart from what a command is about.
type Output struct {
	Path string
	// Replaces reports whether a regular file with the name may be replaced. It may read the file, from the beginning. nil allows any.
	Replaces func(old io.Reader) bool
	// Spared are paths of regular files that are never written to, whatever Replaces says: those that are being read.
	Spared []string
}

// OutputTakenError says that something has the name of an output and is not replaced. It was not touched.
type OutputTakenError struct {
	Path   string
	Spared bool // it is one of Output.Spared
}

func (e *OutputTakenError) Error() string {
	if e.Spared {
		return e.Path + " is what is being read, and is not replaced"
	}
	return e.Path + " is there already, and is no older one of its kind"
}

// Is makes it an fs.ErrExist.
func (e *OutputTakenError) Is(target error) bool { return target == fs.ErrExist }

// outputMode is the mode of new outputs, before the umask.
const outputMode = 0o666

// Write writes to what has the name. A regular file is replaced as a whole, or stays as it was; a free name gets a whole file, or
// stays free. Devices, FIFOs and the like are written into, and so are the program's own standard output and error: nothing ever
// replaces them. Symbolic links are followed.
func (o Output) Write(ctx context.Context, write func(io.Writer) error) error {
	info, err := os.Stat(o.Path)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = nil, nil
	}
	switch {
	case err != nil:
		return err
	case info != nil && o.spares(info):
		return &OutputTakenError{Path: o.Path, Spared: true}
	case info != nil && standard(info) != nil:
		return On(ctx).writeInto(standard(info), write)
	case info != nil && !info.Mode().IsRegular():
		return o.into(ctx, write)
	}
	path, err := Resolve(filepath.Clean(o.Path))
	if err != nil {
		return err
	}
	return o.replace(ctx, path, write)
}

// IsSpared reports whether the output is one of Spared.
func (o Output) IsSpared() bool {
	info, err := os.Stat(o.Path)
	return err == nil && o.spares(info)
}

// spares reports whether a file is one of those that are never written to.
func (o Output) spares(info fs.FileInfo) bool {
	return slices.ContainsFunc(o.Spared, func(path string) bool {
		spared, err := os.Stat(path)
		return err == nil && info.Mode().IsRegular() && os.SameFile(spared, info)
	})
}

// standard returns standard output or standard error if a file is one of them, else nil.
func standard(info fs.FileInfo) *os.File {
	for _, file := range []*os.File{os.Stdout, os.Stderr} {
		if is, err := file.Stat(); err == nil && os.SameFile(is, info) {
			return file
		}
	}
	return nil
}

// into writes into something other than a regular file. Opening a FIFO waits for its reader.
func (o Output) into(ctx context.Context, write func(io.Writer) error) error {
	if err := On(ctx).Check(OpOpen, o.Path); err != nil {
		return err
	}
	file, err := os.OpenFile(o.Path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && info.Mode().IsRegular() { // it has become one since
		err = &OutputTakenError{Path: o.Path}
	}
	if err == nil {
		err = On(ctx).writeInto(file, write)
	}
	return errors.Join(err, file.Close())
}

func (f FS) writeInto(file *os.File, write func(io.Writer) error) error {
	if err := f.Check(OpWrite, file.Name()); err != nil {
		return err
	}
	return write(file)
}

// replace writes a regular file.
func (o Output) replace(ctx context.Context, path string, write func(io.Writer) error) (err error) {
	mode, old, err := o.old(ctx, path)
	if err != nil {
		return err
	}
	fsys := On(ctx)
	file, err := fsys.Create(filepath.Dir(path))
	if err != nil {
		return err
	}
	if err := write(file); err != nil {
		return errors.Join(err, file.Discard())
	}
	if old {
		return file.Commit(path, mode)
	}
	if err := file.Sync(mode); err != nil {
		return errors.Join(err, file.Discard())
	}
	err = fsys.RenameNew(file.File().Name(), path)
	if errors.Is(err, fs.ErrExist) {
		err = &OutputTakenError{Path: o.Path}
	}
	if err != nil {
		return errors.Join(err, file.Discard())
	}
	return errors.Join(fsys.SyncDir(filepath.Dir(path)), file.close())
}

// old looks at the regular file to be replaced, and returns its permissions, which the new one gets. is says whether there is one.
func (o Output) old(ctx context.Context, path string) (mode fs.FileMode, is bool, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return NewMode(outputMode), false, nil
	}
	if err != nil || o.Replaces == nil {
		return permissions(info), true, err
	}
	file, _, err := On(ctx).OpenRegular(path)
	if err != nil {
		return 0, false, fmt.Errorf("look what would be replaced: %w", err)
	}
	if !o.Replaces(file) {
		err = &OutputTakenError{Path: o.Path}
	}
	return permissions(info), true, errors.Join(err, file.Close())
}

func permissions(info fs.FileInfo) fs.FileMode {
	if info == nil {
		return 0
	}
	return info.Mode().Perm()
}
