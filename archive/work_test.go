package archive_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ocicache/ocicache/archive"
)

// makeWork makes a work directory as a crashed process leaves it, with something in it, and with a mark unless that is "".
func makeWork(t *testing.T, dir, mark string) {
	t.Helper()
	err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "spool", "blobs"), 0o700),
		os.WriteFile(filepath.Join(dir, "spool", "blobs", "file"), nil, 0o600),
		os.WriteFile(filepath.Join(dir, "tmp-0123456789abcdef"), nil, 0o600),
	)
	if mark != "" {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, archive.MarkName), []byte(mark), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What only is called like a work directory is somebody's, and stays.
func TestWorkOfOthers(t *testing.T) {
	temp, dir := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	makeWork(t, filepath.Join(temp, "ocicache-pack-notes"), "")
	makeWork(t, filepath.Join(temp, "ocicache-pack-more"), "not the mark")
	if err := errors.Join(
		os.Mkdir(filepath.Join(temp, "ocicache-pack-empty"), 0o700),
		os.WriteFile(filepath.Join(temp, "ocicache-pack-file"), nil, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, temp)
	release, err := archive.HoldWork(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	wantSame(t, temp, before)
	if _, err := os.Stat(filepath.Join(temp, "ocicache-pack-empty")); err != nil {
		t.Error(err)
	}
	for name, mark := range map[string]string{"a.tar": "", "b.tar": "not the mark", "c.tar": archive.MarkText[:9]} {
		makeWork(t, filepath.Join(dir, "."+name+".ocicache"), mark)
	}
	before = snapshot(t, dir)
	for _, name := range []string{"a.tar", "b.tar", "c.tar"} {
		if _, err := archive.HoldWork(t.Context(), filepath.Join(dir, name)); err == nil || !strings.Contains(err.Error(), "which is not from ocicache") {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantSame(t, dir, before)
}

// What ocicache made is cleared away, also where a crash left only part of the mark. What somebody has put there meanwhile stays.
func TestWorkIsCleared(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, work := filepath.Join(dir, "a.tar"), filepath.Join(dir, ".a.tar.ocicache")
	for _, mark := range []string{archive.MarkText, archive.MarkText[:9], ""} {
		if mark == archive.MarkText {
			makeWork(t, work, mark)
		} else if err := errors.Join(os.Mkdir(work, 0o700), os.WriteFile(filepath.Join(work, archive.MarkName), []byte(mark), 0o600)); err != nil {
			t.Fatal(err)
		}
		release, err := archive.HoldWork(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(filepath.Join(work, archive.MarkName))
		if got := snapshot(t, work); err != nil || string(raw) != archive.MarkText || len(got) != 2 { // itself is one
			t.Errorf("%q: %v, mark %q (%v)", mark, got, raw, err)
		}
		if err := release(); err != nil {
			t.Error(err)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("%q: left %v (%v)", mark, entries, err)
		}
	}
	release, err := archive.HoldWork(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	notes := filepath.Join(work, "notes")
	if err := errors.Join(os.WriteFile(notes, nil, 0o600), release()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(notes); err != nil {
		t.Error(err)
	}
	if _, err := archive.HoldWork(t.Context(), file); err == nil || !strings.Contains(err.Error(), "contains notes") {
		t.Errorf("got %v", err)
	}
}

// What a crashed stream left is cleared away, whatever the directory for temporary files is called.
func TestStreamWorkClearsUp(t *testing.T) {
	temp := filepath.Join(t.TempDir(), "[a-")
	left := filepath.Join(temp, "ocicache-pack-1")
	makeWork(t, left, archive.MarkText)
	t.Setenv("TMPDIR", temp)
	inUse, err := archive.HoldWork(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was left: %v", err)
	}
	other, err := archive.HoldWork(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(temp); err != nil || len(entries) != 2 {
		t.Errorf("there are %v (%v), want both that are in use", entries, err)
	}
	if err := errors.Join(inUse(), other()); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(temp); err != nil || len(entries) > 0 {
		t.Errorf("left: %v (%v)", entries, err)
	}
}

// A symbolic link in the place of a work directory is not followed.
func TestWorkIsALink(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	if err := errors.Join(
		os.WriteFile(filepath.Join(outside, "file"), nil, 0o600),
		os.Symlink(outside, filepath.Join(dir, ".a.tar.ocicache")),
	); err != nil {
		t.Fatal(err)
	}
	if _, err := archive.HoldWork(t.Context(), filepath.Join(dir, "a.tar")); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(filepath.Join(outside, "file")); err != nil {
		t.Error(err)
	}
}

// Where nothing can be made, that is an error at once, and not waited for.
func TestWorkNowhere(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"/proc/a.tar", "/proc/self/fd/a.tar"} {
		if _, err := os.Stat(filepath.Dir(file)); err != nil {
			notTested(t, "no /proc here")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := archive.HoldWork(ctx, file)
		cancel()
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", file, err)
		}
	}
}
