package contenthash

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// vanishing is a file that is removed when somebody wants to know more about it.
type vanishing struct {
	fs.DirEntry
	path string
}

func (v vanishing) Info() (fs.FileInfo, error) {
	if err := os.RemoveAll(v.path); err != nil {
		return nil, err
	}
	return os.Lstat(v.path)
}

// TestVanished says that a file that is removed while a directory is read is not there, and no reason to fail.
func TestVanished(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"file", "stays"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "gone/below"), 0o700); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "gone")); err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if e.Name() == "file" {
			entries[i] = vanishing{e, filepath.Join(dir, "file")}
		}
	}
	r := dirReader{root: dir}
	children, err := r.children("", entries, &included{}, 0)
	if err != nil || len(children) != 1 || children["stays"] == nil {
		t.Errorf("%v, %v, want the one that stays", children, err)
	}
	if _, err := FromDir(filepath.Join(dir, "gone"), Filter{}); err == nil {
		t.Error("a context that is not there is read")
	}
}
