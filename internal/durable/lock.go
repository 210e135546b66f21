package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is the time between tries to get a lock that somebody else holds.
const lockPoll = 20 * time.Millisecond

// ErrLocked says that another open file holds the lock.
var ErrLocked = errors.New("locked")

// tryLock takes the flock(2) lock of an open file, exclusively or shared, without waiting; it fails with ErrLocked
// if it would have to wait. Closing the file releases the lock.
func tryLock(file *os.File, exclusive bool) error {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	for {
		err := unix.Flock(int(file.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrLocked
		default:
			return fmt.Errorf("flock %s: %w", file.Name(), err)
		}
	}
}

// sayAfter is how long a lock is waited for before that is said.
const sayAfter = time.Second

// Waiting says that a lock is being waited for.
type Waiting struct {
	Path   string
	Holder string        // as in HeldError
	Most   time.Duration // how much longer it is waited for
}

type waitingKey struct{}

// WithWaiting returns a context under which say is called once for each lock that is waited for longer than a moment, possibly by several
// goroutines at once.
func WithWaiting(ctx context.Context, say func(Waiting)) context.Context {
	return context.WithValue(ctx, waitingKey{}, say)
}

// HeldError says that somebody else held a lock for longer than the caller wanted to wait. It is an ErrLocked.
type HeldError struct {
	Path   string
	Holder string // such as "process 812 (buildctl)", or "" if it can't be known
}

func (e *HeldError) Error() string { return fmt.Sprintf("%s: %v", e.Path, ErrLocked) }

// Unwrap returns ErrLocked.
func (e *HeldError) Unwrap() error { return ErrLocked }

// Lock takes the lock of a file in the directory, and makes the file if it does not exist. A lock counts only while the
// name still names the locked file. Lock tries for as long as timeout says, but at least once, and then fails with a
// *HeldError. Closing the file releases the lock.
func (d *Dir) Lock(ctx context.Context, name string, exclusive bool, timeout time.Duration) (*os.File, error) {
	return d.lock(ctx, name, exclusive, timeout, func() (*os.File, error) {
		if err := d.fs.Check(OpOpen, d.join(name)); err != nil {
			return nil, err
		}
		return d.openOrMake(name, unix.O_RDWR|unix.O_NONBLOCK, 0o600)
	})
}

// RemoveLock releases the lock of a file in the directory, and removes the file if it still has the name.
func (d *Dir) RemoveLock(name string, file *os.File) error {
	var err error
	if d.Names(name, file) {
		err = d.remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // somebody who had it before removes it only now
	}
	return errors.Join(err, file.Close())
}

// LockDir takes the exclusive lock of a directory, which open opens; otherwise it is like Dir.Lock.
func LockDir(ctx context.Context, path string, timeout time.Duration, open func() (*os.File, error)) (*os.File, error) {
	return (&Dir{path: filepath.Dir(path)}).lock(ctx, filepath.Base(path), true, timeout, open)
}

func (d *Dir) lock(ctx context.Context, name string, exclusive bool, timeout time.Duration, open func() (*os.File, error)) (*os.File, error) {
	begun := time.Now()
	deadline := begun.Add(timeout)
	say, _ := ctx.Value(waitingKey{}).(func(Waiting))
	for {
		file, err := open()
		if err != nil {
			return nil, err
		}
		err = tryLock(file, exclusive)
		if err == nil && d.Names(name, file) {
			return file, nil
		}
		expired, tells := time.Now().After(deadline), say != nil && time.Since(begun) > sayAfter
		holder := ""
		if expired || tells { // finding out takes longer than a try
			holder = lockHolder(file)
		}
		if closeErr := file.Close(); closeErr != nil {
			return nil, closeErr
		}
		if err != nil && !errors.Is(err, ErrLocked) {
			return nil, err
		}
		if expired {
			return nil, &HeldError{Path: d.join(name), Holder: holder}
		}
		if tells {
			say(Waiting{Path: d.join(name), Holder: holder, Most: time.Until(deadline)})
			say = nil
		}
		if err := Wait(ctx, lockPoll); err != nil {
			return nil, fmt.Errorf("waiting for %s: %w", d.join(name), err)
		}
	}
}

// Wait waits for a while, or fails with the context's cause if that is done before.
func Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
