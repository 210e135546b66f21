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
	"time"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/volumes"
	"github.com/ocicache/ocicache/layout"
)

const (
	// streamWork begins the names of work directories for streams, among the temporary files. A number follows.
	streamWork = "ocicache-pack-"
	// spoolName is the layout in a work directory that holds what was made for the archive.
	spoolName = "spool"
	// workMode is the mode of work directories.
	workMode = 0o700
	// markName is a file in every work directory that ocicache made, and markText is its content. Without it nothing in the
	// directory is ever removed, whatever its name is.
	markName, markMode = "made-by-ocicache", 0o600
	markText           = "ocicache packs an archive in this directory, and then removes it.\n"
)

// work is the directory next to an archive in which the archive is made. It belongs to this process alone, which holds a
// lock on it. close removes it. If a crash left one, the next process to open it empties it.
type work struct {
	file    string          // "" for a stream
	target  *volumes.Target // nil for a stream and for a receipt
	dir     string
	lock    *os.File
	fsys    durable.FS // for close, which has no context
	options layout.Options
	spool   *layout.Dir // nil until it is needed
}

// openFileWork makes the work directory for an archive that Pack with these options will name file. The directory of file
// must exist. If an earlier run crashed while it gave volumes of file their names, that is finished or undone before
// anything else.
//
// It fails with a *layout.LockedError if another process still packs to the same file after the lock timeout of the options,
// and with an *ExistsError if the archive's names are taken.
func openFileWork(ctx context.Context, file string, o PackOptions) (*work, error) {
	path := filepath.Clean(file)
	if o.VolumeSize == 0 {
		var err error
		if path, err = durable.Resolve(path); err != nil {
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
		return "", fmt.Errorf("%s: %w: %d bytes, the limit is %d", file, syscall.ENAMETOOLONG,
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

// openStreamWork makes a work directory for this process alone, and removes those that crashed ones left.
func openStreamWork(ctx context.Context, options layout.Options) (*work, error) {
	entries, err := os.ReadDir(os.TempDir())
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), streamWork) {
			continue
		}
		if err := removeLeft(ctx, filepath.Join(os.TempDir(), entry.Name())); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", streamWork)
	if err != nil {
		return nil, err
	}
	return openWorkDir(ctx, "", dir, options)
}

// removeLeft removes a work directory that a crashed process of this user left. What is locked, somebody else's, or without
// the mark stays.
func removeLeft(ctx context.Context, dir string) error {
	lock, err := durable.LockDir(ctx, dir, -1, func() (*os.File, error) { return openDir(ctx, dir) })
	if err != nil {
		return nil // it is not ours
	}
	w := &work{dir: dir, lock: lock, fsys: durable.On(ctx)}
	root, err := w.open()
	if err != nil {
		return lock.Close() // it is not there any more
	}
	defer func() { _ = root.Close() }() // it was only read
	if mark, err := readMark(root); err != nil || mark != markText || !isOwn(lock) {
		return lock.Close() // nothing says that it is ours
	}
	return w.close()
}

// isOwn reports whether an open file is this user's.
func isOwn(file *os.File) bool {
	info, err := file.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int(stat.Uid) == os.Geteuid()
}

func openWorkDir(ctx context.Context, file, dir string, options layout.Options) (*work, error) {
	timeout := options.LockTimeout
	if timeout == 0 {
		timeout = layout.DefaultLockTimeout
	}
	lock, err := durable.LockDir(ctx, dir, timeout, func() (*os.File, error) { return makeWork(ctx, dir) })
	var held *durable.HeldError
	if errors.As(err, &held) {
		return nil, &layout.LockedError{Path: held.Path, Holder: held.Holder}
	}
	if err != nil {
		dropWork(ctx, dir)
		return nil, err
	}
	w := &work{file: file, dir: dir, lock: lock, fsys: durable.On(ctx), options: options}
	if err := w.begin(ctx); err != nil {
		w.drop()
		return nil, errors.Join(err, lock.Close())
	}
	return w, nil
}

// dropWork removes a work directory that could not be used, if it is empty and nobody else uses it.
func dropWork(ctx context.Context, dir string) {
	lock, err := durable.LockDir(ctx, dir, -1, func() (*os.File, error) { return openDir(ctx, dir) })
	if err != nil {
		return
	}
	_ = os.Remove(dir) // the next run uses it
	_ = lock.Close()   // nothing was written
}

// makeWork opens a work directory, and makes it if there is none.
func makeWork(ctx context.Context, dir string) (*os.File, error) {
	const tries, pause = 50, 10 * time.Millisecond
	for try := 1; ; try++ {
		file, err := openWithin(ctx, dir, func(parent *durable.Dir, name string) (*durable.Dir, error) {
			return parent.Make(name, workMode)
		})
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
		// Either whoever had it has just removed it, or nothing can be made there, as in /proc or in a directory that was removed.
		var failed *fs.PathError
		if try == tries || errors.As(err, &failed) && failed.Op == "mkdir" {
			return nil, fmt.Errorf("make the work directory: %w", err)
		}
		if err := durable.Wait(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// openDir opens a work directory that exists.
func openDir(ctx context.Context, dir string) (*os.File, error) {
	return openWithin(ctx, dir, (*durable.Dir).Open)
}

func openWithin(ctx context.Context, dir string, open func(*durable.Dir, string) (*durable.Dir, error)) (*os.File, error) {
	parent, err := durable.On(ctx).OpenDir(filepath.Dir(dir))
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

// checkOwner refuses a directory whose owner could put other bytes into the archive: it has to be ours, or belong to the
// owner of its parent directory.
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
	return fmt.Errorf("the work directory %s belongs to another user: %w", dir.Name(), fs.ErrPermission)
}

// begin puts right what a crashed run left, and removes it. It does not touch a directory that is not ours.
func (w *work) begin(ctx context.Context) error {
	root, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // names were removed, nothing was written
	if err := w.mark(root); err != nil {
		return err
	}
	if err := volumes.Restore(ctx, w.fsys, w.file, w.dir); err != nil {
		return err
	}
	if err := w.empty(w.fsys, root); err != nil {
		return fmt.Errorf("clean up after an earlier run: %w", err)
	}
	return w.checkOthers(markName)
}

// open opens the directory that is locked, and fails if another has taken its place.
func (w *work) open() (*os.Root, error) {
	root, err := os.OpenRoot(w.dir)
	if err != nil {
		return nil, err
	}
	opened, err := root.Stat(".")
	locked, lockErr := w.lock.Stat()
	if err = errors.Join(err, lockErr); err == nil && !os.SameFile(opened, locked) {
		err = fmt.Errorf("%s was replaced by another directory meanwhile", w.dir)
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// readMark returns the content of the mark, or "" if there is none.
func readMark(root *os.Root) (string, error) {
	info, err := root.Lstat(markName)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() > int64(len(markText))) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	raw, err := root.ReadFile(markName)
	return string(raw), err
}

// mark makes sure that the directory has the mark. It adds one if the directory has nothing but what a crash left of the mark.
func (w *work) mark(root *os.Root) error {
	mark, err := readMark(root)
	if err != nil || mark == markText {
		return err
	}
	torn := ""
	written := strings.TrimRight(mark, "\x00") // a disk may have kept only the length
	if _, err := root.Lstat(markName); err == nil && strings.HasPrefix(markText, written) {
		torn = markName
	}
	if err := w.checkOthers(torn); err != nil {
		return err
	}
	dir, err := w.fsys.OpenDir(w.dir)
	if err != nil {
		return err
	}
	if torn != "" {
		err = dir.Remove(torn)
	}
	if err == nil {
		err = dir.WriteNew(markName, []byte(markText), markMode)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(w.dir)) // that is empty
	}
	return errors.Join(err, dir.Close())
}

// checkOthers fails if the directory contains anything other than name.
func (w *work) checkOthers(name string) error {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() != name {
			return fmt.Errorf("%s is needed as a work directory, but contains %s, which is not from ocicache", w.dir, entry.Name())
		}
	}
	return nil
}

// empty removes everything made in a work directory with the mark, except the mark and what volumes.Restore needs.
func (w *work) empty(fsys durable.FS, root *os.Root) error {
	dir, err := fsys.OpenDir(w.dir)
	if err != nil {
		return err
	}
	left, err := dir.Stale()
	err = errors.Join(err, dir.Close())
	for _, path := range append(left, spoolName) {
		if err = errors.Join(err, fsys.Check(durable.OpRemove, filepath.Join(w.dir, filepath.Base(path)))); err == nil {
			err = root.RemoveAll(filepath.Base(path))
		}
	}
	return err
}

// close removes the directory, unless volumes.Restore needs it or somebody has put something there, and releases the
// lock. It can be called again, and on nil.
func (w *work) close() error {
	if w == nil || w.lock == nil {
		return nil
	}
	var err error
	if !volumes.Unfinished(w.dir) {
		err = w.remove()
	}
	err = errors.Join(err, w.lock.Close())
	w.lock = nil
	return err
}

// drop removes a directory that can't be used: one with the mark, or an empty one. What is not known to be ours stays.
func (w *work) drop() {
	root, err := w.open()
	if err != nil {
		return
	}
	defer func() { _ = root.Close() }() // it was only read
	if mark, err := readMark(root); err == nil && mark == markText && !volumes.Unfinished(w.dir) {
		_ = w.remove() // the next run uses it
	}
	_ = os.Remove(w.dir) // as above
}

func (w *work) remove() error {
	root, err := w.open()
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // names were removed, nothing was written
	if err := w.empty(durable.FS{}, root); err != nil {
		return err
	}
	if err := w.checkOthers(markName); err != nil {
		return nil // it stays, and the next run says so
	}
	_ = w.sync() // the archive is whole; if the power fails now and something comes back, the next run asks whose it is
	return errors.Join(root.Remove(markName), os.Remove(w.dir))
}

// sync makes sure that nothing that was removed comes back after a power cut, without the mark that says whose it is.
func (w *work) sync() error {
	dir, err := w.fsys.OpenDir(w.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// stage returns a place over src for what is changed on its way into the archive. New blobs go to the work directory,
// which all stages share.
func (w *work) stage(ctx context.Context, src layout.Source) (layout.Place, error) {
	if w.spool == nil {
		spool, err := layout.Create(ctx, filepath.Join(w.dir, spoolName), w.options)
		if err != nil {
			return nil, fmt.Errorf("make space for changed blobs: %w", err)
		}
		w.spool = spool
	}
	return newStaging(src, w.spool), nil
}
