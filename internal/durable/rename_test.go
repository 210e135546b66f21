package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Both ways to give a name replace nothing, and leave the file where it was when they fail.
func TestRenameNew(t *testing.T) {
	t.Parallel()
	for name, rename := range map[string]func(old, path string) error{"one step": FS{}.RenameNew, "two steps": linkNew} {
		for _, taken := range []func(path string) error{
			func(path string) error { return os.WriteFile(path, []byte("theirs"), 0o600) },
			func(path string) error { return os.Mkdir(path, 0o700) },
			func(path string) error { return os.Symlink("nowhere", path) },
		} {
			dir := t.TempDir()
			old, free, other := filepath.Join(dir, "old"), filepath.Join(dir, "free"), filepath.Join(dir, "other")
			if err := errors.Join(os.WriteFile(old, []byte("ours"), 0o600), taken(other)); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(other)
			if err != nil {
				t.Fatal(err)
			}
			if err := rename(old, other); !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s: a taken name: %v", name, err)
			}
			if after, err := os.Lstat(other); err != nil || !os.SameFile(before, after) {
				t.Errorf("%s: what had the name is gone (%v)", name, err)
			}
			if err := rename(old, free); err != nil {
				t.Errorf("%s: a free name: %v", name, err)
			}
			if raw, err := os.ReadFile(free); err != nil || string(raw) != "ours" {
				t.Errorf("%s: it is %q (%v)", name, raw, err)
			}
			if _, err := os.Lstat(old); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: the old name is still there (%v)", name, err)
			}
			if err := rename(old, filepath.Join(dir, "free2")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: no file: %v", name, err)
			}
		}
	}
}
