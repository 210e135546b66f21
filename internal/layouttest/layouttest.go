// Package layouttest makes and compares layout directories for the tests of other packages.
package layouttest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
)

// Corpus is the directory of the caches that BuildKit itself exported, seen from a top-level package.
const Corpus = "../testdata/caches"

// CopyCorpus returns a copy of a layout of the corpus, to write to.
func CopyCorpus(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(Corpus, name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Create returns an empty layout.
func Create(t testing.TB) *layout.Dir {
	t.Helper()
	dir, err := layout.Create(t.Context(), filepath.Join(t.TempDir(), "layout"), layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Entry returns the cache that a place has under a tag, or with "" the one that layout.OneCache chooses.
func Entry(t testing.TB, src layout.Source, tag string) layout.Entry {
	t.Helper()
	found, err := layout.OneCache(t.Context(), src, tag)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Tree returns everything below a directory by its path: kind, permissions and content.
func Tree(t testing.TB, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + digest.FromBytes(data).String()
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " -> " + target
		}
		rel, err := filepath.Rel(root, path)
		files[rel] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// WantTree compares a directory with what Tree returned before, except for ignored names and what is below them.
func WantTree(t testing.TB, root string, want map[string]string, ignored ...string) {
	t.Helper()
	got := Tree(t, root)
	ignore := func(path string) bool {
		for _, name := range ignored {
			if path == name || strings.HasPrefix(path, name+"/") {
				return true
			}
		}
		return false
	}
	for path, text := range want {
		if !ignore(path) && got[path] != text {
			t.Errorf("%s: want %q, got %q", path, text, got[path])
		}
	}
	for path, text := range got {
		if _, ok := want[path]; !ok && !ignore(path) {
			t.Errorf("%s: %q was not there", path, text)
		}
	}
}
