package archive_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/archive"
)

// What a crashed stream left is cleared away, whatever the directory for temporary files is called.
func TestStreamWorkClearsUp(t *testing.T) {
	temp := filepath.Join(t.TempDir(), "[a-")
	left := filepath.Join(temp, "ocicache-pack-1")
	if err := os.MkdirAll(filepath.Join(left, "spool"), 0o700); err != nil {
		t.Fatal(err)
	}
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
