package durable

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Log is a file that lines are added to, each of which is on disk once Append has returned. It is locked for as long as it is
// open, so that only one process writes. It is safe for concurrent use.
type Log struct {
	dir  *Dir
	file *os.File

	mu   sync.Mutex
	torn bool // the last line has no end
}

// OpenLog opens a log, and durably makes it if it does not exist. It waits for the lock as Dir.Lock does.
func (f FS) OpenLog(ctx context.Context, path string, timeout time.Duration) (*Log, error) {
	dir, err := f.OpenDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	file, err := dir.Lock(ctx, filepath.Base(path), true, timeout)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	l := &Log{dir: dir, file: file}
	if err := errors.Join(dir.Sync(), l.findEnd()); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// findEnd goes to the end, and finds out whether a line ends there.
func (l *Log) findEnd() error {
	size, err := l.file.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return err
	}
	last := make([]byte, 1)
	_, err = l.file.ReadAt(last, size-1)
	l.torn = last[0] != '\n'
	return err
}

// Reader returns a reader of the lines so far. It must not be used while lines are added.
func (l *Log) Reader() io.Reader { return io.NewSectionReader(l.file, 0, 1<<62) }

// Torn reports whether the last line has no end, because of a crash.
func (l *Log) Torn() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.torn
}

// Append adds a line, which must end with its only newline, in one write, and waits until it is on disk. If a crash has torn
// the last line, it begins a new one.
func (l *Log) Append(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.dir.fs.Check(OpWrite, l.file.Name()); err != nil {
		return err
	}
	if l.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := l.file.Write(line)
	l.torn = n < len(line) && (n > 0 || l.torn)
	if err != nil {
		return err
	}
	if err := l.dir.fs.Check(OpSync, l.file.Name()); err != nil {
		return err
	}
	return l.file.Sync()
}

// Close closes the log, and releases the lock.
func (l *Log) Close() error { return errors.Join(l.file.Close(), l.dir.Close()) }
