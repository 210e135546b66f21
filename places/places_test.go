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

// TestCreateRefuses says what can't be written to, before anything is opened or made.
func TestCreateRefuses(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file.tar")
	if err := os.WriteFile(file, []byte("no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	var isFile *places.IsFileError
	bare := layout.Reference{Transport: layout.TransportPath, Path: file}
	if _, err := places.Create(t.Context(), bare, places.Options{}); !errors.As(err, &isFile) {
		t.Errorf("a file: %v", err)
	}
	var notWritable *places.NotWritableError
	archive := layout.Reference{Transport: layout.TransportArchive, Path: file}
	if _, err := places.Create(t.Context(), archive, places.Options{}); !errors.As(err, &notWritable) {
		t.Errorf("an archive: %v", err)
	}
	byDigest, err := layout.ParseReference("docker://localhost:1/cache@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := places.Create(t.Context(), byDigest, places.Options{}); !errors.Is(err, layout.ErrReference) {
		t.Errorf("a digest: %v", err)
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
