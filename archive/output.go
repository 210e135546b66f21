package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/ocicache/ocicache/internal/durable"
)

// archiveMode is the mode of an archive.
const archiveMode = 0o644

// output is where the bytes of an archive go. Nothing of it is visible before Commit, but for a stream. Commit or
// Discard ends it; Discard after Commit does nothing.
type output interface {
	io.Writer
	Commit(ctx context.Context) error
	Discard() error
}

// singleFile is an archive in one file. What is written goes to the file behind the caller's back.
type singleFile struct {
	fs   durable.FS
	path string
	file *durable.File
	pipe *pipe
}

// newFileOutput begins a file in the work directory dir that becomes path.
func newFileOutput(dir, path string, fsys durable.FS) (*singleFile, error) {
	file, err := fsys.Create(dir)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return &singleFile{fs: fsys, path: path, file: file, pipe: startPipe(func(p []byte) error {
		_, err := file.Write(p)
		return err
	})}, nil
}

func (s *singleFile) Write(p []byte) (int, error) {
	n, err := s.pipe.Write(p)
	if err != nil {
		return n, fmt.Errorf("write %s: %w", s.path, err)
	}
	return n, nil
}

// Commit replaces what has the path, and then removes the volumes of an earlier run: nobody is to mix them up with it.
func (s *singleFile) Commit(ctx context.Context) error {
	err := s.pipe.Close()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = s.file.Commit(s.path, archiveMode)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", s.path, err), s.Discard())
	}
	return removeOld(s.fs, s.path, []string{filepath.Base(s.path)})
}

func (s *singleFile) Discard() error {
	_ = s.pipe.Close() // what failed there does not matter any more
	return s.file.Discard()
}

// streamOutput is an archive that others read while it is written.
type streamOutput struct{ pipe *pipe }

func newStreamOutput(w io.Writer) *streamOutput {
	return &streamOutput{startPipe(func(p []byte) error {
		_, err := w.Write(p)
		return err
	})}
}

func (s *streamOutput) Write(p []byte) (int, error) {
	n, err := s.pipe.Write(p)
	return n, streamError(err)
}

func (s *streamOutput) Commit(context.Context) error { return streamError(s.pipe.Close()) }

// Discard does not wait for the reader: what it has got it can't be told to forget.
func (s *streamOutput) Discard() error { return nil }

func streamError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("write the archive: %w", err)
}
