package durable_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ocicache/ocicache/internal/durable"
)

// output writes "new" to a path, in place of files that begin with "old".
func output(t *testing.T, path string, spared ...string) error {
	t.Helper()
	out := durable.Output{Path: path, Spared: spared, Replaces: func(old io.Reader) bool {
		raw, err := io.ReadAll(old)
		return err == nil && bytes.HasPrefix(raw, []byte("old"))
	}}
	return out.Write(t.Context(), func(w io.Writer) error {
		_, err := io.WriteString(w, "new")
		return err
	})
}

func mustWrite(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

func has(t *testing.T, path, want string) {
	t.Helper()
	if raw, err := os.ReadFile(path); err != nil || string(raw) != want {
		t.Errorf("%s has %q, %v, want %q", filepath.Base(path), raw, err, want)
	}
}

// TestOutput says what is replaced, and what is not.
func TestOutput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	var taken *durable.OutputTakenError

	if err := output(t, in("free")); err != nil {
		t.Error(err)
	}
	has(t, in("free"), "new")
	if info, err := os.Stat(in("free")); err != nil || info.Mode() != durable.NewMode(0o666) {
		t.Errorf("the mode of a new file is %v, %v", info.Mode(), err)
	}

	mustWrite(t, in("ours"), "old page", 0o600)
	if err := output(t, in("ours")); err != nil {
		t.Error(err)
	}
	has(t, in("ours"), "new")
	if info, err := os.Stat(in("ours")); err != nil || info.Mode() != 0o600 {
		t.Errorf("the mode of a file that was replaced is %v, %v", info.Mode(), err)
	}

	mustWrite(t, in("other"), "precious", 0o644)
	if err := output(t, in("other")); !errors.As(err, &taken) || taken.Spared || !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file of others: %v", err)
	}
	has(t, in("other"), "precious")
	if err := (durable.Output{Path: in("other")}).Write(t.Context(), func(io.Writer) error { return fs.ErrInvalid }); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a page that fails: %v", err)
	}
	has(t, in("other"), "precious")
	if err := (durable.Output{Path: in("other")}).Write(t.Context(), func(io.Writer) error { return nil }); err != nil {
		t.Error(err)
	}
	has(t, in("other"), "")

	mustWrite(t, in("read"), "old", 0o644)
	if err := os.Symlink("read", in("read-link")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{in("read"), in("read-link")} {
		if err := output(t, path, in("read")); !errors.As(err, &taken) || !taken.Spared {
			t.Errorf("what is read: %v", err)
		}
	}
	has(t, in("read"), "old")
	if err := output(t, dir); !errors.Is(err, unix.EISDIR) {
		t.Errorf("a directory: %v", err)
	}
	left, err := filepath.Glob(in("tmp-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestOutputLink says that links are followed, and stay.
func TestOutputLink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "old"), "old", 0o644)
	for link, to := range map[string]string{"link": "old", "dangling": "made"} {
		path := filepath.Join(dir, link)
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
		if err := output(t, path); err != nil {
			t.Error(err)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeSymlink {
			t.Errorf("%s is %v, %v", link, info.Mode(), err)
		}
		has(t, filepath.Join(dir, to), "new")
	}
}

// TestOutputInto says that a FIFO and a device are written into, and stay what they are.
func TestOutputInto(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	go func() {
		raw, err := os.ReadFile(fifo)
		if err != nil {
			raw = []byte(err.Error())
		}
		got <- string(raw)
	}()
	if err := output(t, fifo); err != nil {
		t.Error(err)
	}
	if text := <-got; text != "new" {
		t.Errorf("the FIFO's reader got %q", text)
	}
	if info, err := os.Lstat(fifo); err != nil || info.Mode().Type() != fs.ModeNamedPipe {
		t.Errorf("the FIFO is %v, %v", info, err)
	}

	null := filepath.Join(dir, "null") // one of our own
	if err := unix.Mknod(null, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
		notTested(t, "devices can't be made: %v", err)
	}
	if file, err := os.OpenFile(null, os.O_WRONLY, 0); err != nil {
		notTested(t, "devices can't be opened there: %v", err)
	} else {
		file.Close()
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("null", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{null, link} {
		if err := output(t, path); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Type() != fs.ModeDevice|fs.ModeCharDevice {
			t.Errorf("the device is %v, %v", info, err)
		}
	}
}

// notTested skips a test, loudly, where the system does not allow what it is about, or lets it fail with E2E=required.
func notTested(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("E2E") == "required" {
		t.Fatalf("E2E=required, but "+format, args...)
	}
	t.Skipf("NOT TESTED: "+format, args...)
}
