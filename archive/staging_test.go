package archive_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// plainStore is a source without random access.
type plainStore struct{ layout.Source }

// TestPackChanged converts on the way: what comes out is what a conversion to a layout gives, and nothing is left.
func TestPackChanged(t *testing.T) {
	t.Parallel()
	for _, o := range []convert.Options{
		{},
		{Form: buildcache.DockerList},
		{Compression: buildcache.Zstd},
		{Compression: buildcache.Uncompressed, Form: buildcache.OCIIndex},
		{Compression: buildcache.Estargz},
	} {
		src := openDir(t, filepath.Join(caches, "artifact-gzip"))
		entry := chosen(t, src, false)[0].Entry
		before := tarOf(t, layoutEntries(t, src.String(), ""))
		want := emptyDir(t)
		converted, err := convert.Convert(t.Context(), src, entry, want, "new", o)
		if err != nil {
			t.Fatal(err)
		}
		wantFile, _ := packFile(t, chosen(t, want, false), archive.PackOptions{})
		for _, store := range []layout.Source{src, plainStore{src}} {
			dir := t.TempDir()
			file, spooled := filepath.Join(dir, "a.tar"), int64(-1)
			change := func(ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place) (layout.Entry, error) {
				done, err := convert.Convert(ctx, src, entry, dst, "new", o)
				spooled = bytesBelow(t, filepath.Join(dir, ".a.tar.ocicache"))
				return done.Entry(), err
			}
			roots := []archive.Chosen{{Source: store, Entry: entry}}
			result, err := archive.Pack(t.Context(), roots, archive.Target{File: file}, archive.PackOptions{Change: change})
			if err != nil {
				t.Fatal(err)
			}
			if result.Tags[0].Digest != converted.To.Digest || !bytes.Equal(readFile(t, file), readFile(t, wantFile)) {
				t.Errorf("%+v: it is another archive than that of a converted layout", o)
			}
			if o.Compression == "" && spooled > 20000 {
				t.Errorf("%+v: %d bytes were spooled for a change of form", o, spooled)
			}
			wantOnly(t, dir, "a.tar")
		}
		if !bytes.Equal(before, tarOf(t, layoutEntries(t, src.String(), ""))) {
			t.Error("the source was touched")
		}
	}
}

func bytesBelow(tb testing.TB, dir string) int64 {
	tb.Helper()
	var total int64
	for _, e := range layoutEntries(tb, dir, "") {
		total += int64(len(e.data))
	}
	return total
}

// TestPackChangedFails leaves nothing behind.
func TestPackChangedFails(t *testing.T) {
	t.Parallel()
	src := openDir(t, filepath.Join(caches, "artifact-gzip"))
	dir := t.TempDir()
	reason := errors.New("no")
	change := func(ctx context.Context, _ layout.Source, entry layout.Entry, dst layout.Place) (layout.Entry, error) {
		_, err := dst.Ingest(ctx, func(w io.Writer) error {
			_, err := w.Write([]byte("much"))
			return err
		})
		return entry, errors.Join(err, reason)
	}
	_, err := archive.Pack(t.Context(), chosen(t, src, false), archive.Target{File: filepath.Join(dir, "a.tar")}, archive.PackOptions{Change: change})
	if !errors.Is(err, reason) {
		t.Errorf("got %v", err)
	}
	wantOnly(t, dir)
}

// TestStreamWork changes a cache for a stream; what was spooled is gone then, and what a killed process spooled as well.
func TestStreamWork(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	src := openDir(t, filepath.Join(caches, "artifact-gzip"))
	makeWork(t, filepath.Join(os.TempDir(), "ocicache-pack-1"), archive.MarkText)
	release, err := archive.HoldWork(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	change := func(ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place) (layout.Entry, error) {
		done, err := convert.Convert(ctx, src, entry, dst, "latest", convert.Options{Compression: buildcache.Zstd})
		return done.Entry(), err
	}
	_, err = archive.Pack(t.Context(), chosen(t, src, false), archive.Target{Stream: &out}, archive.PackOptions{Change: change})
	if err != nil || out.Len() == 0 {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) != 1 {
		t.Errorf("left are %v (%v), want only what is held", left, err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	wantOnly(t, os.TempDir())
}

// TestStagingTags says what Tag promises.
func TestStagingTags(t *testing.T) {
	t.Parallel()
	src := openDir(t, filepath.Join(caches, "multi-tag"))
	place := archive.NewStaging(src, emptyDir(t))
	entries, err := src.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a, b := entries[0].Descriptor, entries[1].Descriptor
	if got, err := place.Entries(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("the source's entries show: %v (%v)", got, err)
	}
	var moved *layout.TagMovedError
	if err := errors.Join(place.Tag(t.Context(), "x", a, ""), place.Tag(t.Context(), "x", b, a.Digest), place.Tag(t.Context(), "", a, "")); err != nil {
		t.Fatal(err)
	}
	if err := place.Tag(t.Context(), "x", a, ""); !errors.As(err, &moved) || moved.Now != b.Digest {
		t.Errorf("got %v", err)
	}
	if err := place.Tag(t.Context(), "y", a, b.Digest); !errors.As(err, &moved) {
		t.Errorf("got %v", err)
	}
	got, err := place.Entries(t.Context())
	if err != nil || len(got) != 2 || got[0].Descriptor.Digest != b.Digest || got[1].Tag != "" {
		t.Errorf("got %v (%v)", got, err)
	}
	nothing := buildcache.Descriptor{Digest: digest.FromString("nowhere"), Size: 1}
	if _, err := place.Open(t.Context(), nothing); !errors.Is(err, layout.ErrBlobMissing) {
		t.Errorf("got %v", err)
	}
	if _, ok := place.(layout.RandomAccess); !ok {
		t.Error("a stage over files can't be read anywhere")
	}
	if _, ok := archive.NewStaging(plainStore{src}, emptyDir(t)).(layout.RandomAccess); ok {
		t.Error("a stage over a stream pretends it could be read anywhere")
	}
}

// limitVariable makes TestPackFileLimit run where files can't grow.
const limitVariable = "OCICACHE_TEST_FILE_LIMIT"

// TestPackFileLimit packs where a file can't get large enough.
func TestPackFileLimit(t *testing.T) {
	t.Parallel()
	dir := os.Getenv(limitVariable)
	if dir == "" {
		dir = t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "a.tar"), oldArchive(t), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPackFileLimit$", "-test.v")
		cmd.Env = append(os.Environ(), limitVariable+"="+dir)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestPackFileLimit") {
			t.Errorf("%v\n%s", err, out)
		}
		wantOnly(t, dir, "a.tar")
		if !bytes.Equal(readFile(t, filepath.Join(dir, "a.tar")), oldArchive(t)) {
			t.Error("the old archive was touched")
		}
		return
	}
	limit := syscall.Rlimit{Cur: 10000, Max: 10000}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	roots := chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false)
	_, err := archive.Pack(t.Context(), roots, archive.Target{File: filepath.Join(dir, "a.tar")}, archive.PackOptions{Overwrite: true})
	if !errors.Is(err, syscall.EFBIG) {
		t.Errorf("got %v", err)
	}
}
