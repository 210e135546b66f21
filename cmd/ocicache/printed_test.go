package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/layout"
)

// TestPathArgument says that what is printed for a path is that path, to a shell and to this program.
func TestPathArgument(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"cache": "cache", "/a/b": "/a/b", "-dash": "./-dash", "-": "./-", "docker:": "./docker:", "oci:foo": "./oci:foo",
		"oci-archive:foo": "./oci-archive:foo", "type=local": "./type=local", "a:b": "a:b", "a b": "'a b'", "it's": `'it'\''s'`, "a\nb": `$'a\x0ab'`,
		"-'\\\x1bé": `$'./-\'\\\x1b\xc3\xa9'`,
	} {
		got := pathArgument(path)
		if got != want {
			t.Errorf("%q: %s, want %s", path, got, want)
		}
		read, err := exec.CommandContext(t.Context(), "bash", "-c", "printf %s "+got).Output()
		if err != nil || strings.TrimPrefix(string(read), "./") != path {
			t.Errorf("%q: a shell reads %q (%v)", path, read, err)
		}
		if ref, err := layout.ParseReference(string(read)); err != nil || ref.Transport != layout.TransportPath {
			t.Errorf("%q: %+v (%v)", path, ref, err)
		}
	}
}

// TestDanglingHint pastes what the hint about a tag that names nothing says into a shell.
func TestDanglingHint(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ path, tag string }{
		{"cache", "latest"},
		{"-dash", "latest"},
		{"docker:", "x"},
		{"oci:foo", "x"},
		{"oci-archive:foo", "x"},
		{"a\nb 'c'", "latest"},
		{"cache", "-x"},
		{"cache", "a b"},
		{"cache", "it's"},
	} {
		t.Run(test.path+" "+test.tag, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, name := range []string{"foo", test.path} { // foo is what oci:foo would be
				copyDangling(t, filepath.Join(dir, name), test.tag)
			}
			_, stderr := runIn(t, dir, "copy", "./"+test.path, "oci:to:x")
			found := regexp.MustCompile("(?m)['`](ocicache repair .* --write)['`] gives it the tag").FindSubmatch(stderr)
			if found == nil {
				t.Fatalf("no command: %s", stderr)
			}
			cmd := exec.CommandContext(t.Context(), "bash", "-c", string(found[1]))
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "GORACE="+noSleep)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", found[1], err, out)
			}
			if _, stderr := runIn(t, dir, "copy", "./"+test.path, "oci:to:x", "--progress", "none"); len(stderr) > 0 {
				t.Errorf("%s: it is as before: %s", found[1], stderr)
			}
		})
	}
}

// copyDangling copies a layout whose tag names nothing, and calls that tag.
func copyDangling(t *testing.T, dir, tag string) {
	t.Helper()
	if err := os.CopyFS(dir, os.DirFS("../../testdata/caches/dangling-index")); err != nil {
		t.Fatal(err)
	}
	index := filepath.Join(dir, "index.json")
	raw, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	name, err := json.Marshal(tag)
	if err != nil {
		t.Fatal(err)
	}
	raw = []byte(strings.ReplaceAll(string(raw), `"latest"`, string(name)))
	if err := os.WriteFile(index, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}
