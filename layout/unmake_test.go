package layout_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// TestUnmake removes what Create has made for nothing, and nothing else.
func TestUnmake(t *testing.T) {
	t.Parallel()
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, test := range []struct {
		name   string
		before func(t *testing.T, path string)
		after  func(t *testing.T, dir *layout.Dir)
		left   string // the first that is still there, below the temporary directory
	}{
		{name: "made"},
		{name: "the directory was there", before: func(t *testing.T, path string) { makeDir(t, path) }, left: "a/b"},
		{
			name: "an unfinished layout was there", left: "a/b/index.json",
			before: func(t *testing.T, path string) {
				t.Helper()
				makeDir(t, path)
				if err := os.WriteFile(filepath.Join(path, "oci-layout"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			},
		},
		{name: "the one around was there", before: func(t *testing.T, path string) { makeDir(t, filepath.Dir(path)) }, left: "a"},
		{
			name: "something has come", left: "a/b/blobs/sha256/" + empty,
			after: func(t *testing.T, dir *layout.Dir) {
				t.Helper()
				if err := dir.Put(t.Context(), buildcache.Descriptor{Digest: "sha256:" + empty}, layout.OpenBytes(nil)); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "somebody is at work there", left: "a/b/index.json",
			after: func(t *testing.T, dir *layout.Dir) {
				t.Helper()
				unlock, err := dir.Lock(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = unlock() })
			},
		},
		{
			name: "something lies beside it", left: "a/beside",
			after: func(t *testing.T, dir *layout.Dir) {
				t.Helper()
				makeDir(t, filepath.Join(filepath.Dir(dir.String()), "beside"))
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			around := t.TempDir()
			path := filepath.Join(around, "a", "b")
			if test.before != nil {
				test.before(t, path)
			}
			dir, err := layout.Create(t.Context(), path, layout.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if test.after != nil {
				test.after(t, dir)
			}
			if err := dir.Unmake(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, err = os.Stat(filepath.Join(path, "index.json"))
			stays := test.left != "" && filepath.Dir(test.left) != "a" && test.left != "a"
			if stays != (err == nil) {
				t.Errorf("the layout: %v", err)
			}
			if entries, err := os.ReadDir(around); err != nil || len(entries) > 0 != (test.left != "") {
				t.Errorf("left: %v, %v", entries, err)
			}
			if _, err := os.Stat(filepath.Join(around, test.left)); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(path, "cache.lock")); err != nil && test.after != nil && stays {
				t.Errorf("the lock of a layout that stays: %v", err)
			}
		})
	}
}

func makeDir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o750); err != nil {
		t.Fatal(err)
	}
}
