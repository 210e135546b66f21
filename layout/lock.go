package layout

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ocicache/ocicache/internal/durable"
)

// The locks of a layout are BuildKit's own. cache.lock is held shared by writers, from the first blob to the tag, and
// exclusively by those who delete; the file stays. index.json.lock is held exclusively around a change of index.json;
// BuildKit does not wait for it and fails its build, so it is held as briefly as can be. Whoever is done with it
// removes the file, so a lock counts only while the path still names the locked file. Always in this order.
const (
	cacheLockName = "cache.lock"
	indexLockName = "index.json.lock"

	lockPoll = 20 * time.Millisecond
)

// Lock takes cache.lock as a writer, and clears away what crashed writers left. It fails with a *LockedError after
// the lock timeout.
func (d *Dir) Lock(ctx context.Context) (unlock func() error, err error) {
	file, err := d.lock(ctx, filepath.Join(d.path, cacheLockName), false)
	if err != nil {
		return nil, err
	}
	if err := d.fs.RemoveStale(d.state()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file.Close, nil
}

// lockIndex takes index.json.lock. Unlocking removes the file, as BuildKit does: one that root left behind would keep
// other users' BuildKits out.
func (d *Dir) lockIndex(ctx context.Context) (file *os.File, unlock func() error, err error) {
	path := filepath.Join(d.path, indexLockName)
	file, err = d.lock(ctx, path, true)
	if err != nil {
		return nil, nil, err
	}
	return file, func() error {
		var err error
		if durable.Names(path, file) {
			err = os.Remove(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // a BuildKit that was done with it before removes it only now
		}
		return errors.Join(err, file.Close())
	}, nil
}

func (d *Dir) lock(ctx context.Context, path string, exclusive bool) (*os.File, error) {
	deadline := time.Now().Add(d.options.LockTimeout)
	for {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		err = durable.TryLock(file, exclusive)
		if err == nil && durable.Names(path, file) {
			return file, durable.Adopt(file, d.path)
		}
		holder := lockHolder(file)
		if closeErr := file.Close(); closeErr != nil {
			return nil, closeErr
		}
		if err != nil && !errors.Is(err, durable.ErrLocked) {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, &LockedError{Path: path, Holder: holder}
		}
		if err := sleep(ctx, lockPoll); err != nil {
			return nil, fmt.Errorf("waiting for %s: %w", path, err)
		}
	}
}

// lockHolder says which process holds the flock of a file, as far as /proc/locks tells.
func lockHolder(file *os.File) string {
	info, err := file.Stat()
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer func() { _ = locks.Close() }() // it was only read
	inode := ":" + strconv.FormatUint(stat.Ino, 10)
	for lines := bufio.NewScanner(locks); lines.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF
		words := strings.Fields(lines.Text())
		if len(words) < 6 || words[1] != "FLOCK" || !strings.HasSuffix(words[5], inode) {
			continue
		}
		return describeProcess(words[4])
	}
	return ""
}

func describeProcess(pid string) string {
	if _, err := strconv.ParseUint(pid, 10, 32); err != nil {
		return ""
	}
	name, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		return "process " + pid
	}
	return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
}
