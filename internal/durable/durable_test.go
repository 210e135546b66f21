package durable_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ocicache/ocicache/internal/durable"
)

var errFault = errors.New("injected fault")

// on returns an FS with a fault.
func on(fault func(durable.Op, string) error) durable.FS {
	return durable.On(durable.WithFault(context.Background(), fault))
}

// failing returns an FS on which op fails, and a function that says how often it was asked to.
func failing(op durable.Op) (durable.FS, func() int) {
	hits := 0
	return on(func(o durable.Op, _ string) error {
		if o != op {
			return nil
		}
		hits++
		return errFault
	}), func() int { return hits }
}

// open opens a directory.
func open(t *testing.T, fs durable.FS, path string) *durable.Dir {
	t.Helper()
	dir, err := fs.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return dir
}

// makeDir makes a directory and its parents.
func makeDir(fs durable.FS, path string) error {
	dir, err := fs.MakeDir(path)
	if err != nil {
		return err
	}
	return dir.Close()
}

// removeStale clears up a directory.
func removeStale(path string) error {
	dir, err := durable.FS{}.OpenDir(path)
	if err != nil {
		return err
	}
	_, err = dir.RemoveStale()
	return errors.Join(err, dir.Close())
}

func write(fs durable.FS, dir, name, text string) error {
	file, err := fs.Create(dir)
	if err != nil {
		return err
	}
	if _, err := file.Write([]byte(text)); err != nil {
		return errors.Join(err, file.Discard())
	}
	return file.Commit(filepath.Join(dir, name), 0o444)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q (%v), want %q", path, got, err, want)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: giving files to another user needs root")
	}
}

// The steps of Commit, and their order, are what a crash at any moment depends on.
func TestCommitSteps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var steps []string
	recording := on(func(op durable.Op, path string) error {
		if op == durable.OpWrite || op == durable.OpSync || op == durable.OpClose {
			path = filepath.Dir(path) // the temporary file, whose name is random
		}
		steps = append(steps, fmt.Sprint(op, " ", strings.TrimPrefix(path, dir)))
		return nil
	})
	if err := write(recording, dir, "blob", "whole"); err != nil {
		t.Fatal(err)
	}
	want := []string{"create ", "write ", "sync ", "rename /blob", "syncdir ", "close "}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
	wantFile(t, filepath.Join(dir, "blob"), "whole")
	info, err := os.Stat(filepath.Join(dir, "blob"))
	if err != nil || info.Mode() != 0o444 {
		t.Errorf("mode %v (%v), want 0444", info.Mode(), err)
	}
}

func TestCommitAllOrNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		op      durable.Op
		visible bool // the fault comes after the file can be seen
	}{
		{durable.OpCreate, false},
		{durable.OpWrite, false},
		{durable.OpSync, false},
		{durable.OpRename, false},
		{durable.OpSyncDir, true},
	} {
		for _, replaces := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/replaces=%v", test.op, replaces), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				path := filepath.Join(dir, "blob")
				if replaces {
					put(t, path, "old")
				}
				broken, hits := failing(test.op)
				if err := write(broken, dir, "blob", "new"); !errors.Is(err, errFault) {
					t.Errorf("got error %v, want the fault", err)
				}
				if hits() == 0 {
					t.Error("the fault was never asked for")
				}
				switch {
				case test.visible:
					wantFile(t, path, "new")
				case replaces:
					wantFile(t, path, "old")
				default:
					wantNames(t, dir)
					return
				}
				wantNames(t, dir, "blob") // and no temporary file
			})
		}
	}
}

func TestDiscard(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, err := durable.FS{}.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(names(t, dir)) != 1 {
		t.Fatalf("want one temporary file, got %q", names(t, dir))
	}
	for range 2 {
		if err := file.Discard(); err != nil {
			t.Error(err)
		}
	}
	wantNames(t, dir)

	if err := write(durable.FS{}, dir, "blob", "kept"); err != nil {
		t.Fatal(err)
	}
	file, err = durable.FS{}.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(file.Commit(filepath.Join(dir, "other"), 0o644), file.Discard()); err != nil {
		t.Error(err)
	}
	wantNames(t, dir, "blob", "other") // after Commit, Discard does nothing
}

func TestCommitIntoNowhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, err := durable.FS{}.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Commit(filepath.Join(dir, "no", "such", "dir"), 0o644); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	wantNames(t, dir)
}

func TestRemoveStale(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	live, dead := start(t, "write", dir), start(t, "write", dir)
	dead.kill(t)
	mine, err := durable.FS{}.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	// What is not a temporary file of ours, by name or by kind, is nobody's to remove.
	outside := filepath.Join(t.TempDir(), "outside")
	put(t, outside, "outside")
	put(t, filepath.Join(dir, "journal"), "kept")
	if err := errors.Join(
		os.Symlink(outside, filepath.Join(dir, "tmp-link")),
		os.Mkdir(filepath.Join(dir, "tmp-dir"), 0o755),
		syscall.Mkfifo(filepath.Join(dir, "tmp-fifo"), 0o600),
	); err != nil {
		t.Fatal(err)
	}

	stale, err := open(t, durable.FS{}, dir).Stale()
	want := []string{live.said, dead.said, mine.File().Name()}
	slices.Sort(want)
	slices.Sort(stale)
	if err != nil || !slices.Equal(stale, want) {
		t.Errorf("Stale: %q (%v), want %q", stale, err, want)
	}
	if err := removeStale(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dead.said); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the dead process's file: %v", err)
	}
	live.finish(t)
	wantFile(t, filepath.Join(dir, "committed"), "by another process")
	if err := mine.Commit(filepath.Join(dir, "mine"), 0o644); err != nil {
		t.Error(err)
	}
	wantFile(t, outside, "outside")
	wantNames(t, dir, "committed", "journal", "mine", "tmp-dir", "tmp-fifo", "tmp-link")
}

// A writer that makes its file while another one clears up must not lose it: between the making and the locking the
// file looks stale.
func TestCreateDuringRemoveStale(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const writers, files = 8, 60
	stop := make(chan struct{})
	var cleaner, group sync.WaitGroup
	cleaner.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := removeStale(dir); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for w := range writers {
		group.Go(func() {
			for i := range files {
				if err := write(durable.FS{}, dir, fmt.Sprintf("%d-%d", w, i), "whole"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	close(stop)
	cleaner.Wait()
	if got := names(t, dir); len(got) != writers*files {
		t.Errorf("%d files, want %d", len(got), writers*files)
	}
}

func TestTryLockBetweenProcesses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		held      string
		exclusive bool
		want      error
	}{
		{"lock-shared", false, nil},
		{"lock-shared", true, durable.ErrLocked},
		{"lock-exclusive", false, durable.ErrLocked},
		{"lock-exclusive", true, durable.ErrLocked},
	} {
		t.Run(fmt.Sprintf("%s/exclusive=%v", test.held, test.exclusive), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "lock")
			holder := start(t, test.held, path)
			file, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := durable.TryLock(file, test.exclusive); !errors.Is(err, test.want) {
				t.Errorf("while it is held: %v, want %v", err, test.want)
			}
			holder.kill(t) // a crash gives the lock back
			if err := durable.TryLock(file, true); err != nil {
				t.Errorf("after the holder's death: %v", err)
			}
		})
	}
}

// Two open files of one process are as far apart as two processes.
func TestTryLockWithinProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	open := func() *os.File {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		return file
	}
	first, second := open(), open()
	if err := durable.TryLock(first, true); err != nil {
		t.Fatal(err)
	}
	if err := durable.TryLock(second, false); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := durable.TryLock(second, true); err != nil {
		t.Error(err)
	}
}

func TestTryLockOfClosedFile(t *testing.T) {
	t.Parallel()
	file, err := os.Create(filepath.Join(t.TempDir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := durable.TryLock(file, true); err == nil || errors.Is(err, durable.ErrLocked) {
		t.Errorf("got %v, want an error other than ErrLocked", err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(path string) error
		want   bool
	}{
		{"untouched", func(string) error { return nil }, true},
		{"removed", os.Remove, false},
		{"renamed", func(path string) error { return os.Rename(path, path+".away") }, false},
		{"replaced", func(path string) error {
			return errors.Join(os.Rename(path, path+".away"), os.WriteFile(path, []byte("x"), 0o600))
		}, false},
		{"linked", func(path string) error { return os.Link(path, path+".too") }, true},
		{"a symbolic link to it", func(path string) error {
			return errors.Join(os.Rename(path, path+".away"), os.Symlink(path+".away", path))
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "file")
			file, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := test.change(path); err != nil {
				t.Fatal(err)
			}
			if got := durable.Names(filepath.Dir(path), filepath.Base(path), file); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// What root makes in another user's directory becomes that user's, or nobody but root could go on there.
func TestAdopt(t *testing.T) {
	t.Parallel()
	needRoot(t)
	const uid, gid = 12345, 54321
	dir := t.TempDir()
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	fs := durable.FS{}
	if err := errors.Join(
		write(fs, dir, "file", "x"),
		makeDir(fs, filepath.Join(dir, "a", "b")),
		open(t, fs, dir).Append("journal", []byte("x\n")),
	); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "a", "a/b", "journal"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok || owner.Uid != uid || owner.Gid != gid {
			t.Errorf("%s belongs to %d:%d, want %d:%d", name, owner.Uid, owner.Gid, uid, gid)
		}
	}

	rootsOwn := t.TempDir()
	if err := os.Chown(rootsOwn, 0, gid); err != nil {
		t.Fatal(err)
	}
	if err := write(fs, rootsOwn, "file", "x"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(rootsOwn, "file"))
	if err != nil {
		t.Fatal(err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); !ok || owner.Uid != 0 || owner.Gid != 0 {
		t.Errorf("in root's own directory the file belongs to %d:%d", owner.Uid, owner.Gid)
	}
}

// For anybody but root Adopt must not even try.
func TestAdoptAsUser(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o777), os.Chown(dir, 777, 777)); err != nil {
		t.Fatal(err)
	}
	openParents(t, dir)
	cmd := command(t, "adopt", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	copyExecutable(t, cmd)
	if out, err := cmd.Output(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestMkdir(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b", "c")
	var group sync.WaitGroup
	for range 8 { // who is second finds it there
		group.Go(func() {
			if err := makeDir(durable.FS{}, dir); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		t.Errorf("%v %v", info, err)
	}

	broken, hits := failing(durable.OpSyncDir)
	if err := makeDir(broken, filepath.Join(dir, "d")); !errors.Is(err, errFault) || hits() != 1 {
		t.Errorf("got %v after %d syncs, want the fault of the one", err, hits())
	}
	if err := makeDir(broken, dir); err != nil {
		t.Errorf("a directory that is there needs no sync: %v", err)
	}
}

func TestLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old, path := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	put(t, old, "same")
	src, err := os.Open(old)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for _, op := range []durable.Op{durable.OpSync, durable.OpLink, durable.OpSyncDir} {
		broken, hits := failing(op)
		if err := open(t, broken, dir).Link(src, "new"); !errors.Is(err, errFault) || hits() != 1 {
			t.Errorf("%s: got %v, asked %d times", op, err, hits())
		}
		if op != durable.OpSyncDir {
			wantNames(t, dir, "old")
		}
	}
	wantFile(t, path, "same") // there since the directory could not be synced
	if err := open(t, durable.FS{}, dir).Link(src, "new"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	a, errA := os.Stat(old)
	b, errB := os.Stat(path)
	if err := errors.Join(errA, errB); err != nil || !os.SameFile(a, b) {
		t.Errorf("not one file (%v)", err)
	}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	broken, hits := failing(durable.OpWrite)
	if err := open(t, broken, filepath.Dir(path)).Append("journal", []byte("lost\n")); !errors.Is(err, errFault) || hits() != 1 {
		t.Errorf("got %v, asked %d times", err, hits())
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the fault: %v", err)
	}
	const writers, lines = 8, 50
	line := bytes.Repeat([]byte("x"), 300)
	dir := open(t, durable.FS{}, filepath.Dir(path))
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range lines {
				if err := dir.Append("journal", append(slices.Clone(line), '\n')); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got := bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n"))
	if len(got) != writers*lines {
		t.Errorf("%d lines, want %d", len(got), writers*lines)
	}
	for _, l := range got {
		if !bytes.Equal(l, line) {
			t.Fatalf("torn line %q", l)
		}
	}
}

// What is appended to must not be somewhere else, nor something that keeps a writer waiting.
func TestAppendToNoFile(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside")
	put(t, outside, "outside")
	for name, make := range map[string]func(path string) error{
		"symbolic link":            func(path string) error { return os.Symlink(outside, path) },
		"symbolic link to nowhere": func(path string) error { return os.Symlink(outside+".none", path) },
		"FIFO":                     func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"directory":                func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		path := filepath.Join(t.TempDir(), "journal")
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if err := open(t, durable.FS{}, filepath.Dir(path)).Append("journal", []byte("line\n")); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	wantFile(t, outside, "outside")
	wantNames(t, filepath.Dir(outside), "outside")
}

// openParents lets another user reach dir, which t.TempDir makes for its own user alone.
func openParents(t *testing.T, dir string) {
	t.Helper()
	for parent := filepath.Dir(dir); parent != filepath.Clean(os.TempDir()) && parent != "/"; parent = filepath.Dir(parent) {
		if err := os.Chmod(parent, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// copyExecutable makes cmd run a copy of the test binary, which go test builds where no other user may look.
func copyExecutable(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	data, err := os.ReadFile(cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	openParents(t, filepath.Join(dir, "x"))
	path := filepath.Join(dir, "test")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd.Path = path
}
