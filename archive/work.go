package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/layout"
)

const (
	// streamWork is what the archive of a stream is called in the directory for temporary files, a number behind it.
	streamWork = "ocicache-pack-"
	// spoolName is the layout in a work directory that holds what was made for the archive.
	spoolName = "spool"
	// workPoll is how often a lock of another process is tried.
	workPoll = 20 * time.Millisecond
)

// Work is the directory beside an archive in which the archive is made, and this process's alone: it holds a lock of it.
// Close removes it. One that a crash left is emptied by the next who opens it.
type Work struct {
	file    string // the archive, "" for a stream
	dir     string
	lock    *os.File
	options layout.Options
	spool   *layout.Dir // nil until it is needed
}

// OpenWork makes the work directory for the archive file; with file "", for a stream, it lies in the directory for
// temporary files. Where another process packs to the same file it fails with a *layout.LockedError, after the lock
// timeout of the options. The directory of file must be there.
func OpenWork(ctx context.Context, file string, options layout.Options) (*Work, error) {
	if file == "" {
		return openStreamWork(ctx, options)
	}
	if err := checkTarget(file); err != nil {
		return nil, err
	}
	file = filepath.Clean(file)
	dir := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+workSuffix)
	return openWork(ctx, file, dir, options)
}

// checkTarget says whether an archive can become file.
func checkTarget(file string) error {
	if _, err := os.Stat(filepath.Dir(file)); err != nil {
		return err
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: %w, so nothing is written there", file, errNotFile)
	}
	return nil
}

// openStreamWork makes a directory of its own for this process, and clears away what crashed ones left.
func openStreamWork(ctx context.Context, options layout.Options) (*Work, error) {
	old, err := filepath.Glob(filepath.Join(os.TempDir(), streamWork+"*"))
	if err != nil {
		return nil, err
	}
	for _, dir := range old {
		// What is locked or somebody else's stays.
		if lock, err := tryWork(dir); err == nil {
			if err := errors.Join(os.RemoveAll(dir), lock.Close()); err != nil {
				return nil, err
			}
		}
	}
	dir, err := os.MkdirTemp("", streamWork)
	if err != nil {
		return nil, err
	}
	return openWork(ctx, "", dir, options)
}

func openWork(ctx context.Context, file, dir string, options layout.Options) (*Work, error) {
	timeout := options.LockTimeout
	if timeout == 0 {
		timeout = layout.DefaultLockTimeout
	}
	deadline := time.Now().Add(timeout)
	for {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make the work directory: %w", err)
		}
		lock, err := tryWork(dir)
		switch {
		case err == nil:
			w := &Work{file: file, dir: dir, lock: lock, options: options}
			if err := errors.Join(durable.Adopt(lock, filepath.Dir(dir)), w.clear()); err != nil {
				return nil, errors.Join(err, w.Close())
			}
			return w, nil
		case errors.Is(err, fs.ErrNotExist):
			continue // whoever had it is just done
		case !errors.Is(err, durable.ErrLocked):
			return nil, err
		case time.Now().After(deadline):
			return nil, &layout.LockedError{Path: dir}
		}
		timer := time.NewTimer(workPoll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("waiting for %s: %w", dir, context.Cause(ctx))
		}
	}
}

// tryWork opens a work directory and takes its lock. It fails with durable.ErrLocked where another process has it, and
// with fs.ErrNotExist where it went away meanwhile.
func tryWork(dir string) (lock *os.File, err error) {
	lock, err = os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	if err := checkOwner(lock); err != nil {
		return nil, err
	}
	if err := durable.TryLock(lock, true); err != nil {
		return nil, err
	}
	if !durable.Names(dir, lock) {
		return nil, fs.ErrNotExist
	}
	return lock, nil
}

// checkOwner refuses a directory of somebody who could put other bytes into the archive: it has to be ours, or that of
// whoever has the directory around it.
func checkOwner(dir *os.File) error {
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	around, err := os.Stat(filepath.Dir(dir.Name()))
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	aroundStat, okAround := around.Sys().(*syscall.Stat_t)
	if !ok || !okAround || int(stat.Uid) == os.Geteuid() || stat.Uid == aroundStat.Uid {
		return nil
	}
	return fmt.Errorf("the work directory %s is another user's: %w", dir.Name(), fs.ErrPermission)
}

// clear removes what a crashed run left.
func (w *Work) clear() error {
	left, err := os.ReadDir(w.dir)
	for _, entry := range left {
		err = errors.Join(err, os.RemoveAll(filepath.Join(w.dir, entry.Name())))
	}
	if err != nil {
		return fmt.Errorf("clear away what an earlier run left: %w", err)
	}
	return nil
}

// Close removes the directory and gives the lock back. It can be called again.
func (w *Work) Close() error {
	if w.lock == nil {
		return nil
	}
	err := errors.Join(os.RemoveAll(w.dir), w.lock.Close())
	w.lock = nil
	return err
}

func (w *Work) fs() durable.FS { return durable.FS{Fault: w.options.Fault} }

// Stage returns a place over src for what is changed on its way into the archive; see NewStaging. What is new lies in
// the work directory. Stages of one Work share it.
func (w *Work) Stage(ctx context.Context, src Store) (layout.Place, error) {
	if w.spool == nil {
		spool, err := layout.Create(ctx, filepath.Join(w.dir, spoolName), w.options)
		if err != nil {
			return nil, fmt.Errorf("make room for what is changed: %w", err)
		}
		w.spool = spool
	}
	return NewStaging(src, w.spool), nil
}
