package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/volumes"
	"github.com/ocicache/ocicache/layout"
)

const (
	// streamWork is what the archive of a stream is called in the directory for temporary files, a number behind it.
	streamWork = "ocicache-pack-"
	// spoolName is the layout in a work directory that holds what was made for the archive.
	spoolName = "spool"
	// workMode is the mode of work directories.
	workMode = 0o700
)

// work is the directory beside an archive in which the archive is made. It is this process's alone, which holds a lock on
// it. close removes it. If a crash left one, the next process to open it empties it.
type work struct {
	file    string          // "" for a stream
	target  *volumes.Target // nil for a stream and for what is no archive
	dir     string
	lock    *os.File
	options layout.Options
	spool   *layout.Dir // nil until it is needed
}

// openFileWork makes the work directory for an archive that Pack with these options will call file. The directory of file
// must be there. Where an earlier run crashed while it gave volumes of file their names, that is undone before anything
// else.
//
// Where another process packs to the same file it fails with a *layout.LockedError, after the lock timeout of the options, and
// where the archive's names are taken, with an *ExistsError.
func openFileWork(ctx context.Context, file string, o PackOptions) (*work, error) {
	path := filepath.Clean(file)
	if o.VolumeSize == 0 {
		var err error
		if path, err = volumes.Resolve(path); err != nil {
			return nil, err
		}
	}
	w, err := openWork(ctx, path, o.Layout)
	if err != nil {
		return nil, err
	}
	if w.target, err = volumes.Claim(ctx, file, o.claim()); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// workDir returns the work directory of a file.
func workDir(file string) (string, error) {
	const most = 255 // bytes of a name, on the file systems that matter
	base := "." + filepath.Base(file) + workSuffix
	if len(base) > most {
		return "", fmt.Errorf("%s: %w: %d bytes, and %d are the most", file, syscall.ENAMETOOLONG,
			len(filepath.Base(file)), most-len(base)+len(filepath.Base(file)))
	}
	return filepath.Join(filepath.Dir(file), base), nil
}

// openWork makes the work directory of a file.
func openWork(ctx context.Context, file string, options layout.Options) (*work, error) {
	if _, err := os.Stat(filepath.Dir(file)); err != nil {
		return nil, err
	}
	dir, err := workDir(file)
	if err != nil {
		return nil, err
	}
	return openWorkDir(ctx, file, dir, options)
}

// openStreamWork makes a directory of its own for this process, and clears away what crashed ones left.
func openStreamWork(ctx context.Context, options layout.Options) (*work, error) {
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), streamWork) {
			continue
		}
		// What is locked or somebody else's stays.
		dir := filepath.Join(os.TempDir(), entry.Name())
		lock, err := durable.LockDir(ctx, dir, -1, func() (*os.File, error) { return openDir(dir) })
		if err != nil {
			continue
		}
		if err := errors.Join(os.RemoveAll(dir), lock.Close()); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", streamWork)
	if err != nil {
		return nil, err
	}
	return openWorkDir(ctx, "", dir, options)
}

func openWorkDir(ctx context.Context, file, dir string, options layout.Options) (*work, error) {
	timeout := options.LockTimeout
	if timeout == 0 {
		timeout = layout.DefaultLockTimeout
	}
	lock, err := durable.LockDir(ctx, dir, timeout, func() (*os.File, error) { return makeWork(dir) })
	var held *durable.HeldError
	if errors.As(err, &held) {
		return nil, &layout.LockedError{Path: held.Path, Holder: held.Holder}
	}
	if err != nil {
		return nil, err
	}
	w := &work{file: file, dir: dir, lock: lock, options: options}
	if err := w.clear(ctx); err != nil {
		return nil, errors.Join(err, lock.Close()) // what is in it is not known to be ours, and stays
	}
	return w, nil
}

// makeWork opens a work directory, which it makes where it is not there.
func makeWork(dir string) (*os.File, error) {
	for {
		file, err := openWithin(dir, func(parent *durable.Dir, name string) (*durable.Dir, error) {
			return parent.Make(name, workMode)
		})
		if !errors.Is(err, fs.ErrNotExist) { // else whoever had it has just removed it
			return file, err
		}
		if _, err := os.Stat(filepath.Dir(dir)); err != nil {
			return nil, fmt.Errorf("make the work directory: %w", err)
		}
	}
}

// openDir opens a work directory that is there.
func openDir(dir string) (*os.File, error) { return openWithin(dir, (*durable.Dir).Open) }

func openWithin(dir string, open func(*durable.Dir, string) (*durable.Dir, error)) (*os.File, error) {
	parent, err := durable.FS{}.OpenDir(filepath.Dir(dir))
	if err != nil {
		return nil, err
	}
	opened, err := open(parent, filepath.Base(dir))
	if err := errors.Join(err, parent.Close()); err != nil {
		return nil, err
	}
	if err := checkOwner(opened.File()); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return opened.File(), nil
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

// clear puts right what a crashed run left, and removes it, in the directory that is locked and no other.
func (w *work) clear(ctx context.Context) error {
	if err := volumes.Restore(ctx, durable.On(ctx), w.file, w.dir); err != nil {
		return err
	}
	root, err := os.OpenRoot(w.dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // names were removed, nothing was written
	opened, err := root.Stat(".")
	locked, lockErr := w.lock.Stat()
	if err := errors.Join(err, lockErr); err != nil {
		return err
	}
	if !os.SameFile(opened, locked) {
		return fmt.Errorf("another directory has taken the place of %s", w.dir)
	}
	work, err := durable.On(ctx).OpenDir(w.dir)
	if err != nil {
		return err
	}
	left, err := work.Stale()
	err = errors.Join(err, work.Close())
	for _, path := range append(left, spoolName) {
		err = errors.Join(err, root.RemoveAll(filepath.Base(path)))
	}
	if err != nil {
		return fmt.Errorf("clear away what an earlier run left: %w", err)
	}
	others, err := os.ReadDir(w.dir)
	if err == nil && len(others) > 0 {
		err = fmt.Errorf("%s is needed as a work directory, and holds %s", w.dir, others[0].Name())
	}
	return err
}

// close removes the directory, unless volumes.Restore needs it, and gives the lock back. It can be called again, and on nil.
func (w *work) close() error {
	if w == nil || w.lock == nil {
		return nil
	}
	var err error
	if !volumes.Unfinished(w.dir) {
		err = os.RemoveAll(w.dir)
	}
	err = errors.Join(err, w.lock.Close())
	w.lock = nil
	return err
}

// stage returns a place over src for what is changed on its way into the archive. What is new lies in the work
// directory, which all stages share.
func (w *work) stage(ctx context.Context, src layout.Source) (layout.Place, error) {
	if w.spool == nil {
		spool, err := layout.Create(ctx, filepath.Join(w.dir, spoolName), w.options)
		if err != nil {
			return nil, fmt.Errorf("make room for what is changed: %w", err)
		}
		w.spool = spool
	}
	return newStaging(src, w.spool), nil
}
