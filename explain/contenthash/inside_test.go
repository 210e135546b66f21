package contenthash_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ocicache/ocicache/explain/contenthash"
)

// TestReadInside reads what BuildKit's frontend would: nothing that lies outside, and nothing that is no file.
func TestReadInside(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	dir := filepath.Join(top, "context")
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(
		os.MkdirAll(at("sub/deep"), 0o755),
		os.WriteFile(filepath.Join(top, "outside"), []byte("outside"), 0o600),
		os.WriteFile(at("file"), []byte("inside"), 0o600),
		os.Symlink("../file", at("sub/link")),
		os.Symlink("/sub", at("absolute")),
		os.Symlink("../../../file", at("sub/clamped")),
		os.Symlink("../outside", at("out")),
		os.Symlink(filepath.Join(top, "outside"), at("absoluteout")),
		os.Symlink("loop", at("loop")),
		syscall.Mkfifo(at("fifo"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	for name, isThere := range map[string]bool{
		"file": true, "/file": true, "sub/link": true, "absolute/link": true, "sub/clamped": true, "../file": true,
		"out": false, "absoluteout": false, "loop": false, "fifo": false, "sub": false, "none": false, "file/x": false,
	} {
		data, err := contenthash.ReadInside(dir, name)
		if isThere && (err != nil || string(data) != "inside") || !isThere && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v, want it there: %t", name, data, err, isThere)
		}
	}
	for name, isLink := range map[string]bool{"out": true, "loop": true, "out/x": true, "none": false, "file/x": false} {
		if _, err := contenthash.Resolve(dir, name); err == nil || errors.Is(err, contenthash.ErrLink) != isLink {
			t.Errorf("%s: %v, want a link: %t", name, err, isLink)
		}
	}
}

// TestReadIgnore says which line is no pattern.
func TestReadIgnore(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"\xef\xbb\xbf# [\n\n /a/ \n!b": "", "*.tmp\n# x\n[\n": "line 3 is no pattern", "a\n\\": "line 2 is no pattern", "!\n": "line 1 is no pattern",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, contenthash.IgnoreName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		patterns, err := contenthash.ReadIgnore(dir, contenthash.IgnoreName)
		switch {
		case want == "" && (err != nil || !slices.Equal(patterns, []string{"a", "!b"})):
			t.Errorf("%q: %q, %v", text, patterns, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
