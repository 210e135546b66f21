package volumes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"

	"github.com/ocicache/ocicache/internal/durable"
)

// splitWriter is an archive in volumes that is being written. Another goroutine splits, hashes and stores what is written to
// it; Commit returns what became of that.
type splitWriter struct {
	fs   durable.FS
	work string // the work directory
	to   *Target
	list *listing

	written int64 // bytes taken by Write
	pipe    *pipe

	// What follows belongs to the pipe until it is closed.
	current        *durable.File // nil between volumes
	left           int64         // bytes that current lacks
	sum            hash.Hash     // of current
	data, recovery []*durable.File
}

func newSplitWriter(work string, to *Target, plan *Plan, fsys durable.FS) *splitWriter {
	w := &splitWriter{fs: fsys, work: work, to: to, list: plan.begin(), sum: sha256.New()}
	w.pipe = startPipe(w.store)
	return w
}

func (w *splitWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > w.list.total-w.written {
		return 0, fmt.Errorf("%s: more than the %d bytes that were announced", w.to.file, w.list.total)
	}
	n, err := w.pipe.Write(p)
	w.written += int64(n)
	return n, err
}

// store appends to the current volume and begins the next one when that is full.
func (w *splitWriter) store(p []byte) error {
	for len(p) > 0 {
		if w.current == nil {
			file, err := w.fs.Create(w.work)
			if err != nil {
				return fmt.Errorf("make volume %d of %s: %w", len(w.data)+1, w.to.file, err)
			}
			w.current, w.left = file, w.list.volumeSize(len(w.data))
			w.data = append(w.data, file)
			w.sum.Reset()
		}
		part := p[:min(int64(len(p)), w.left)]
		w.sum.Write(part)
		if _, err := w.current.Write(part); err != nil {
			return fmt.Errorf("write volume %d of %s: %w", len(w.data), w.to.file, err)
		}
		p, w.left = p[len(part):], w.left-int64(len(part))
		if w.left > 0 {
			continue
		}
		if err := finishFile(w.current, w.to.mode()); err != nil {
			return fmt.Errorf("write volume %d of %s: %w", len(w.data), w.to.file, err)
		}
		w.list.sums = append(w.list.sums, hex.EncodeToString(w.sum.Sum(nil)))
		w.current = nil
	}
	return nil
}

// finishFile makes what was written to a file durable. It closes the file, as there may be more volumes than open files; the
// lock that this releases is not needed in a directory of our own.
func finishFile(file *durable.File, mode fs.FileMode) error {
	if err := file.Sync(mode); err != nil {
		return err
	}
	return file.File().Close()
}

func (w *splitWriter) Discard() error {
	_ = w.pipe.Close() // what failed there does not matter any more
	var err error
	for _, file := range append(w.data, w.recovery...) {
		err = errors.Join(err, file.Discard())
	}
	w.data, w.recovery = nil, nil
	return err
}

// Commit computes the recovery volumes and gives all files their names, the list last. They replace the older set that was
// claimed with them. If it fails, none of the new files has a name, and what was there is there again; if that fails too,
// or the process ends, Restore does it. The new set stays only if the failure was in removing the older one.
func (w *splitWriter) Commit(ctx context.Context) error {
	err := w.prepare(ctx)
	if err == nil {
		err = w.publish(context.WithoutCancel(ctx))
	}
	return errors.Join(err, w.Discard())
}

// prepare writes everything to disk, under temporary names.
func (w *splitWriter) prepare(ctx context.Context) error {
	if err := w.pipe.Close(); err != nil {
		return err
	}
	if w.written != w.list.total {
		return fmt.Errorf("%s: %d bytes were announced and %d came", w.to.file, w.list.total, w.written)
	}
	if len(w.list.recovery) > 0 {
		if err := w.addRecovery(ctx); err != nil {
			return fmt.Errorf("make recovery volumes of %s: %w", w.to.file, err)
		}
	}
	return context.Cause(ctx)
}

// publish gives the files their names. Recovery volumes come first, as their heads say what else there has to be.
func (w *splitWriter) publish(ctx context.Context) error {
	n := newNaming(w.fs, w.to.file, w.work)
	names := make([]string, 0, len(w.recovery)+len(w.data))
	for i := range w.recovery {
		names = append(names, recoveryFile(w.list.stem, i+1))
	}
	for i := range w.data {
		names = append(names, w.list.volumeFile(w.list.stem, i))
	}
	err := n.stage(append(w.recovery[:len(w.recovery):len(w.recovery)], w.data...), names, w.list, w.to.mode())
	if err == nil {
		err = n.swap(names, w.to)
	}
	if err != nil {
		err = fmt.Errorf("write %s: %w", w.to.file, err)
		if failed := n.undo(ctx); failed != nil {
			err = errors.Join(err, fmt.Errorf("and it could not be undone, which the next run will try: %w", failed))
		}
		return err
	}
	if err := n.finish(); err != nil {
		return &WrittenError{w.to.file, err}
	}
	return nil
}
