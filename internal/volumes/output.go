package volumes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ocicache/ocicache/internal/durable"
)

// fileMode is the mode of new archives, volumes, recovery volumes and lists, before the umask.
const fileMode = 0o666

// Writer is where the bytes of an archive go. Nothing of it is visible before Commit, except in a stream. Write may fail because
// of what an earlier call was given. Commit or Discard ends it; Discard after Commit does nothing.
type Writer interface {
	io.Writer
	// Commit makes the archive durable and gives it its names. If one was taken since Claim it fails with an
	// *ExistsError, and what had the names keeps them.
	Commit(ctx context.Context) error
	Discard() error
}

// Create begins an archive: in volumes as the plan says, in one file if the plan is nil. Until Commit it lies in the
// directory work, which must be on the same file system and nobody else's. If Unfinished says so after Commit, the
// directory has to stay for Restore.
func Create(work string, to *Target, plan *Plan, fsys durable.FS) (Writer, error) {
	if (plan != nil) != to.options.Split {
		return nil, fmt.Errorf("%s: %w: it was claimed otherwise", to.file, ErrSplit)
	}
	if plan != nil {
		return newSplitWriter(work, to, plan, fsys), nil
	}
	file, err := fsys.Create(work)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", to.file, err)
	}
	return &fileWriter{fs: fsys, to: to, file: file, pipe: startPipe(func(p []byte) error {
		_, err := file.Write(p)
		return err
	})}, nil
}

// WrittenError says that an archive is written and has its names, and what failed after that.
type WrittenError struct {
	File string
	Err  error
}

func (e *WrittenError) Error() string { return fmt.Sprintf("%s is written; %v", e.File, e.Err) }

// Unwrap returns what failed.
func (e *WrittenError) Unwrap() error { return e.Err }

// fileWriter is an archive in one file. Another goroutine writes to the file.
type fileWriter struct {
	fs   durable.FS
	to   *Target
	file *durable.File
	pipe *pipe
}

func (w *fileWriter) Write(p []byte) (int, error) {
	n, err := w.pipe.Write(p)
	if err != nil {
		return n, fmt.Errorf("write %s: %w", w.to.file, err)
	}
	return n, nil
}

func (w *fileWriter) Commit(ctx context.Context) error {
	err := w.pipe.Close()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = w.file.Sync(w.to.mode())
	}
	if err == nil {
		err = w.name()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", w.to.file, err), w.Discard())
	}
	return errors.Join(w.removeOld(), w.Discard())
}

// name gives the file its name, and replaces the file that was claimed with it.
func (w *fileWriter) name() error {
	path := w.to.file
	var err error
	replaces := w.to.single != nil && isAs(path, w.to.single)
	if replaces {
		err = w.file.Rename(path)
	} else {
		err = w.fs.RenameNew(w.file.File().Name(), path)
	}
	if errors.Is(err, fs.ErrExist) {
		return &ExistsError{Names: []string{path}, Overwrite: w.to.options.Overwrite}
	}
	if err != nil {
		return err
	}
	if err := w.fs.SyncDir(filepath.Dir(path)); err != nil {
		if !replaces {
			err = errors.Join(err, w.takeBack())
		}
		return err
	}
	return nil
}

// takeBack takes the file's name away again, so that the next run finds it free.
func (w *fileWriter) takeBack() error {
	own, err := w.file.File().Stat()
	if err != nil {
		return err
	}
	if named, err := os.Lstat(w.to.file); err != nil || !os.SameFile(own, named) {
		return err
	}
	return w.fs.RenameNew(w.to.file, w.file.File().Name())
}

// removeOld removes the volumes that the file replaces, and their list once the others are gone for good: as long as the list
// exists it says what may go.
func (w *fileWriter) removeOld() error {
	var changed []string
	dir := filepath.Dir(w.to.file)
	for _, old := range w.to.old {
		if !isAs(old.path, old.info) {
			changed = append(changed, old.path)
			continue
		}
		if order(old.path) > 0 {
			if err := w.fs.SyncDir(dir); err != nil {
				return &WrittenError{w.to.file, fmt.Errorf("remove older volumes: %w", err)}
			}
		}
		if err := w.fs.Remove(old.path); err != nil {
			return &WrittenError{w.to.file, fmt.Errorf("remove an older volume: %w", err)}
		}
	}
	if len(w.to.old) == 0 {
		return nil
	}
	err := w.fs.SyncDir(dir)
	if len(changed) > 0 {
		err = errors.Join(err, &WrittenError{w.to.file, &ExistsError{Names: changed, Overwrite: true}})
	}
	return err
}

func (w *fileWriter) Discard() error {
	_ = w.pipe.Close() // what failed there does not matter any more
	return w.file.Discard()
}

// NewStream returns a Writer to w, for an archive that somebody reads while it is written. Its Discard does not wait for the
// reader, who can't be told to forget what has arrived.
func NewStream(w io.Writer) Writer {
	return &streamWriter{startPipe(func(p []byte) error {
		_, err := w.Write(p)
		return err
	})}
}

type streamWriter struct{ pipe *pipe }

func (s *streamWriter) Write(p []byte) (int, error) {
	n, err := s.pipe.Write(p)
	return n, streamError(err)
}

func (s *streamWriter) Commit(context.Context) error { return streamError(s.pipe.Close()) }

func (s *streamWriter) Discard() error { return nil }

func streamError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("write the archive: %w", err)
}
