package archive_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// caches is where the real caches lie.
const caches = "../testdata/caches"

// tarEntry is an entry of a tar that a test makes.
type tarEntry struct {
	name   string
	data   []byte
	change func(*tar.Header) // nil for a regular file
}

// tarOf makes a tar as anybody would.
func tarOf(tb testing.TB, entries []tarEntry) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: int64(len(e.data)), Mode: 0o444}
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if e.change != nil {
			e.change(h)
		}
		if err := w.WriteHeader(h); err != nil {
			tb.Fatalf("%s: %v", e.name, err)
		}
		if _, err := w.Write(e.data); err != nil {
			tb.Fatalf("%s: %v", e.name, err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// layoutEntries lists a directory as tar does, below prefix.
func layoutEntries(tb testing.TB, dir, prefix string) []tarEntry {
	tb.Helper()
	var entries []tarEntry
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name := prefix + rel
		if rel == "." {
			name = prefix
		}
		if entry.IsDir() {
			if name != "" {
				entries = append(entries, tarEntry{name: strings.TrimSuffix(name, "/") + "/"})
			}
			return nil
		}
		data, err := os.ReadFile(path)
		entries = append(entries, tarEntry{name: name, data: data})
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return entries
}

func blobName(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }

func openDir(tb testing.TB, path string) *layout.Dir {
	tb.Helper()
	dir, err := layout.Open(path, layout.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

// bundleEntries lists what an archive of ours has in it, but for the blobs that left leaves out.
func bundleEntries(tb testing.TB, path string, left func(digest.Digest) bool) []tarEntry {
	tb.Helper()
	dir := openDir(tb, path)
	index, err := os.ReadFile(filepath.Join(path, "index.json"))
	if err != nil {
		tb.Fatal(err)
	}
	entries, err := dir.Entries(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	description := &archive.Description{Index: digest.FromBytes(index)}
	var early, late []tarEntry
	seen := map[digest.Digest]bool{}
	for _, entry := range entries {
		blobs, err := layout.Graph(tb.Context(), dir, entry.Descriptor)
		if err != nil {
			tb.Fatal(err)
		}
		for _, blob := range blobs {
			if seen[blob.Digest] {
				continue
			}
			seen[blob.Digest] = true
			b := archive.Blob{Digest: blob.Digest, Size: blob.Size}
			if left != nil && left(blob.Digest) {
				description.Requires = append(description.Requires, b)
				continue
			}
			description.Blobs = append(description.Blobs, b)
			data, err := os.ReadFile(filepath.Join(path, blobName(blob.Digest)))
			if err != nil {
				tb.Fatal(err)
			}
			e := tarEntry{name: blobName(blob.Digest), data: data}
			if _, isLayer := buildcache.LayerCompression(blob.MediaType); isLayer {
				late = append(late, e)
			} else {
				early = append(early, e)
			}
		}
	}
	raw, err := description.Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	all := []tarEntry{
		{name: "oci-layout", data: []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {name: "index.json", data: index}, {name: "ocicache.json", data: raw},
	}
	return slices.Concat(all, early, late)
}

func gzipOf(tb testing.TB, data []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		tb.Fatal(err)
	}
	_, err = w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func zstdOf(tb testing.TB, data []byte) []byte {
	tb.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		tb.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// way is one way to unpack.
type way struct {
	name   string
	unpack func(tb testing.TB, tar []byte, dst *layout.Dir, o archive.UnpackOptions) (*archive.UnpackResult, error)
}

// ways are all ways to unpack.
func ways() []way {
	stream := func(pack func(testing.TB, []byte) []byte) func(testing.TB, []byte, *layout.Dir, archive.UnpackOptions) (*archive.UnpackResult, error) {
		return func(tb testing.TB, tar []byte, dst *layout.Dir, o archive.UnpackOptions) (*archive.UnpackResult, error) {
			tb.Helper()
			return archive.UnpackStream(tb.Context(), bytes.NewReader(pack(tb, tar)), "the-archive", dst, o)
		}
	}
	return []way{
		{"file", unpackFile},
		{"stream", stream(func(_ testing.TB, data []byte) []byte { return data })},
		{"gzip", stream(gzipOf)},
		{"zstd", stream(zstdOf)},
	}
}

func unpackFile(tb testing.TB, tar []byte, dst *layout.Dir, o archive.UnpackOptions) (*archive.UnpackResult, error) {
	tb.Helper()
	a, err := openArchive(tb, tar)
	if err != nil {
		return nil, err
	}
	return archive.Unpack(tb.Context(), a, dst, o)
}

func openArchive(tb testing.TB, tar []byte) (*archive.Archive, error) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "the-archive")
	if err := os.WriteFile(path, tar, 0o600); err != nil {
		tb.Fatal(err)
	}
	a, err := archive.Open(tb.Context(), []string{path}, archive.OpenOptions{})
	if err == nil {
		tb.Cleanup(func() { _ = a.Close() })
	}
	return a, err
}

// emptyDir returns a layout with nothing in it.
func emptyDir(tb testing.TB) *layout.Dir {
	tb.Helper()
	dir, err := layout.Create(tb.Context(), filepath.Join(tb.TempDir(), "dir"), layout.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

// dirOf returns a layout with what a cache of the corpus has.
func dirOf(tb testing.TB, name string) *layout.Dir {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "dir")
	if err := os.CopyFS(path, os.DirFS(filepath.Join(caches, name))); err != nil {
		tb.Fatal(err)
	}
	return openDir(tb, path)
}

// linkedDir returns another layout with what one has. The blobs are the same files, for making files is what takes the time:
// nobody may write into them, and that nobody did is checked in the end.
func linkedDir(tb testing.TB, origin *layout.Dir) *layout.Dir {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "dir")
	err := filepath.WalkDir(origin.String(), func(from string, entry fs.DirEntry, err error) error {
		to := filepath.Join(path, strings.TrimPrefix(from, origin.String()))
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return os.Mkdir(to, 0o755)
		case entry.Name() == "cache.lock":
			return nil // with it they would share the lock
		default:
			return os.Link(from, to)
		}
	})
	if err != nil {
		tb.Fatal(err)
	}
	return openDir(tb, path)
}

// originDir is dirOf for linkedDir.
func originDir(tb testing.TB, name string) *layout.Dir {
	tb.Helper()
	dir := dirOf(tb, name)
	was := snapshot(tb, dir.String())
	tb.Cleanup(func() {
		if !maps.Equal(snapshot(tb, dir.String()), was) {
			tb.Error("files were written to that layouts have in common")
		}
	})
	return dir
}

// wantSound says that a layout holds nothing but blobs that are right, and what belongs to a layout.
func wantSound(tb testing.TB, dir *layout.Dir) {
	tb.Helper()
	err := filepath.WalkDir(dir.String(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir.String(), path)
		if err != nil {
			return err
		}
		switch rel {
		case "index.json", "oci-layout", "cache.lock":
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if entry.Type()&fs.ModeType != 0 || rel != blobName(digest.FromBytes(data)) && rel != blobName(digest.SHA512.FromBytes(data)) {
			tb.Errorf("%s has no business there, or has the wrong bytes", rel)
		}
		return nil
	})
	if err != nil {
		tb.Error(err)
	}
}

// wantTags says what the tags of a layout are.
func wantTags(tb testing.TB, dir *layout.Dir, want map[string]digest.Digest) {
	tb.Helper()
	index, err := dir.Index(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	got := map[string]digest.Digest{}
	for _, entry := range index.Entries {
		got[entry.Tag()] = entry.Digest
	}
	for tag, d := range want {
		if got[tag] != d {
			tb.Errorf("tag %q names %q, want %q", tag, got[tag], d)
		}
	}
	if len(got) != len(want) || len(index.Entries) != len(want) {
		tb.Errorf("tags %v, want %v", got, want)
	}
}

func tagsOf(tb testing.TB, path string) map[string]digest.Digest {
	tb.Helper()
	index, err := openDir(tb, path).Index(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tags := map[string]digest.Digest{}
	for _, entry := range index.Entries {
		tags[entry.Tag()] = entry.Digest
	}
	return tags
}

// wantWhole says that everything which the tags reach is there with the right bytes.
func wantWhole(tb testing.TB, dir *layout.Dir) {
	tb.Helper()
	wantSound(tb, dir)
	entries, err := dir.Entries(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	for _, entry := range entries {
		blobs, err := layout.Graph(tb.Context(), dir, entry.Descriptor)
		if err != nil {
			tb.Fatal(err)
		}
		for _, blob := range blobs {
			if has, err := dir.Has(tb.Context(), blob); err != nil || !has {
				tb.Errorf("tag %q needs %s, which is not there (%v)", entry.Tag, blob.Digest, err)
			}
		}
	}
}
