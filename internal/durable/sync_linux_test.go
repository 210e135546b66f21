package durable_test

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ocicache/ocicache/internal/durable"
)

// TestSyncsAreReal syncs what can't be synced, which the system refuses. A sync that is only announced, as to those who let it
// fail or take note of it, would go unnoticed otherwise: its work shows only when the power fails.
func TestSyncsAreReal(t *testing.T) {
	t.Parallel()
	const unsynced = "/proc" // not a directory of a disk
	if err := (durable.FS{}).SyncDir(unsynced); !errors.Is(err, unix.EINVAL) {
		t.Errorf("SyncDir: %v", err)
	}
	if err := open(t, durable.FS{}, unsynced).Sync(); !errors.Is(err, unix.EINVAL) {
		t.Errorf("Dir.Sync: %v", err)
	}
	file, err := durable.FS{}.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, pipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if err := unix.Dup3(int(pipe.Fd()), int(file.File().Fd()), unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := file.Sync(0o600); !errors.Is(err, unix.EINVAL) {
		t.Errorf("File.Sync: %v", err)
	}
	if err := open(t, durable.FS{}, t.TempDir()).Link(pipe, "name"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("Link: %v", err)
	}
	if err := file.Discard(); err != nil {
		t.Error(err)
	}
}
