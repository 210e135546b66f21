package archive_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// FuzzUnpack unpacks any bytes in both ways. Whatever they are, nothing comes to lie outside the layout, in it are but
// right blobs, a tag moves only to what is whole, and the two ways agree on what is an archive.
func FuzzUnpack(f *testing.F) {
	path := smallLayout(f)
	ours, foreign := bundleEntries(f, path, nil), layoutEntries(f, path, "")
	f.Add(tarOf(f, ours))
	f.Add(tarOf(f, foreign))
	f.Add(zstdOf(f, tarOf(f, ours)))
	f.Add(gzipOf(f, tarOf(f, foreign)))
	for _, h := range hostiles() {
		for _, entries := range [][]tarEntry{ours, foreign} {
			if data := h.spoil(f, entries); len(data) < 1<<15 {
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		around := t.TempDir()
		file := filepath.Join(around, "the-archive")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		failed := map[string]error{}
		for _, way := range []string{"file", "stream"} {
			dir := filepath.Join(around, way)
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			failed[way] = unpackAnything(t, way, file, data, dir)
		}
		if now := outside(t, named(filepath.Join(around, "file"))); !slices.Equal(now, []string{"file", "stream", "the-archive"}) {
			t.Errorf("outside lies %v", now)
		}
		if failed["file"] == nil && failed["stream"] != nil {
			t.Errorf("as a file it is an archive, as a stream it is none: %v", failed["stream"])
		}
	})
}

// unpackAnything unpacks data, which are also in a file, below a directory, in one way. Most of it is no archive, so the
// layout is made only where it is needed: that takes long.
func unpackAnything(t *testing.T, way, file string, data []byte, dir string) error {
	t.Helper()
	var dst *layout.Dir
	o := archive.UnpackOptions{MaxSize: 1 << 22, Create: func(ctx context.Context) (_ *layout.Dir, err error) {
		dst, err = layout.Create(ctx, filepath.Join(dir, "layout"), layout.Options{})
		return dst, err
	}}
	var err error
	if way == "stream" {
		_, err = archive.UnpackStream(t.Context(), bytes.NewReader(data), "the-archive", nil, o)
	} else {
		var opened *archive.Archive
		if opened, err = archive.Open(t.Context(), []string{file}, archive.OpenOptions{}); err == nil {
			_, err = archive.Unpack(t.Context(), opened, nil, o)
			if err := opened.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if dst == nil {
		if err == nil {
			t.Errorf("%s: unpacked to nowhere", way)
		}
		if beside := outside(t, named(filepath.Join(dir, "layout"))); len(beside) > 0 {
			t.Errorf("%s: there lies %v", way, beside)
		}
		return err
	}
	wantSound(t, dst)
	if err == nil {
		wantWhole(t, dst)
	} else {
		wantTags(t, dst, nil)
	}
	if beside := outside(t, dst); !slices.Equal(beside, []string{"layout"}) {
		t.Errorf("%s: beside the layout lies %v", way, beside)
	}
	return err
}

// named is a path that says what it is.
type named string

func (n named) String() string { return string(n) }

// smallLayout returns a layout with an image, so small that many variations of it can be tried.
func smallLayout(tb testing.TB) string {
	tb.Helper()
	dir := emptyDir(tb)
	put := func(mediaType, text string) buildcache.Descriptor {
		d := buildcache.Descriptor{MediaType: mediaType, Digest: digest.FromString(text), Size: int64(len(text))}
		if err := dir.Put(tb.Context(), d, layout.OpenBytes([]byte(text))); err != nil {
			tb.Fatal(err)
		}
		return d
	}
	config := put("application/vnd.oci.image.config.v1+json", "{}")
	layer := put("application/vnd.oci.image.layer.v1.tar", "layer")
	root := put(buildcache.MediaTypeOCIManifest, fmt.Sprintf(
		`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":5}]}`,
		buildcache.MediaTypeOCIManifest, config.MediaType, config.Digest, layer.MediaType, layer.Digest))
	if err := dir.Tag(tb.Context(), "latest", root, ""); err != nil {
		tb.Fatal(err)
	}
	return dir.String()
}
