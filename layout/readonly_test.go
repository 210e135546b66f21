package layout_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ocicache/ocicache/internal/layouttest"
)

// A layout that one may not write to can be read, and nothing tries to change it.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	before := layouttest.Tree(t, path)
	err := filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		mode := fs.FileMode(0o444)
		if entry.IsDir() {
			mode = 0o555
		}
		return errors.Join(err, os.Chmod(name, mode))
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "reader", path)
	asOtherUser(t, cmd, path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	after := layouttest.Tree(t, path)
	if len(after) != len(before) {
		t.Errorf("there were %d files, there are %d", len(before), len(after))
	}
	for name, text := range after {
		_, was, _ := strings.Cut(before[name], " ")
		if _, is, _ := strings.Cut(text, " "); is != was {
			t.Errorf("%s changed", name)
		}
	}
}

// asOtherUser makes a command run as a user who may write neither to path nor to anything else of ours. Who is not
// root needs no other user: permissions hold for him.
func asOtherUser(t *testing.T, cmd *exec.Cmd, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	// The other user must get at the layout and at the test binary, which go test builds where nobody else may look.
	data, err := os.ReadFile(cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path = filepath.Join(t.TempDir(), "test")
	if err := os.WriteFile(cmd.Path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, cmd.Path} {
		for dir := filepath.Dir(name); dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
}
