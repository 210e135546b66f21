package places_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// TestNotThere says what is probably meant where nothing is.
func TestNotThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file.tar")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ path, meant string }{
		{path: dir + ":v1", meant: "oci:" + dir + ":v1"},
		{path: file + ":v1", meant: "oci-archive:" + file + ":v1"},
		{path: dir + "/nothing:v1"},
		{path: dir + ":no tag"},
		{path: dir + "/nothing"},
		{path: ":v1"},
		{path: dir + ":"},
		{path: dir + ":docker://x/y:1"},
	} {
		_, err := places.Open(t.Context(), layout.Reference{Transport: layout.TransportPath, Path: test.path}, places.Options{})
		var notThere *places.NotThereError
		if !errors.As(err, &notThere) || notThere.Meant != test.meant || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v, meant %q, want %q", test.path, err, notThere.Meant, test.meant)
		}
	}
}

// TestLikeHosts asks whether a registry was meant, before a directory of such a name is made.
func TestLikeHosts(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.MkdirAll("there.example.com/team", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path string
		host bool
	}{
		{path: "registry.example.com/team/cache:main", host: true},
		{path: "registry.example.com/team", host: true},
		{path: "localhost/cache", host: true},
		{path: "localhost:5000/cache", host: true},
		{path: "build:5000/cache:x", host: true},
		{path: "10.0.0.1/cache", host: true},
		{path: "./registry.example.com/team"},
		{path: "../registry.example.com/team"},
		{path: "cache"},
		{path: "cache.d"},
		{path: "team/cache"},
		{path: "team:x/cache"},
		{path: ".cache/buildkit"},
		{path: "there.example.com/team/cache"},
	} {
		ref := layout.Reference{Transport: layout.TransportPath, Path: test.path}
		var host *places.HostError
		_, err := places.Open(t.Context(), ref, places.Options{})
		if errors.As(err, &host) != test.host || err == nil {
			t.Errorf("open %s: %v", test.path, err)
		}
		created, err := places.Create(t.Context(), ref, places.Options{})
		if errors.As(err, &host) != test.host {
			t.Errorf("create %s: %v", test.path, err)
		}
		if err == nil {
			if err := created.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
