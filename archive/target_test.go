package archive_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/layout"
)

func wantSame(tb testing.TB, dir string, before map[string]string) {
	tb.Helper()
	after := snapshot(tb, dir)
	for path, text := range before {
		if after[path] != text {
			tb.Errorf("%s was changed", path)
		}
	}
	if len(after) != len(before) {
		tb.Errorf("%d files instead of %d", len(after), len(before))
	}
}

// TestPackOccupied refuses to write an archive into what it is made of, before any work.
func TestPackOccupied(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cache := filepath.Join(dir, "cache")
	if err := os.CopyFS(cache, os.DirFS(filepath.Join(caches, "artifact-gzip"))); err != nil {
		t.Fatal(err)
	}
	fromLayout := chosen(t, openDir(t, cache), false)
	file, set := filepath.Join(dir, "a.tar"), filepath.Join(dir, "b.tar")
	for _, path := range []string{file, set} {
		o := archive.PackOptions{}
		if path == set {
			o = archive.PackOptions{VolumeSize: 20000, Parity: 1}
		}
		if _, err := archive.Pack(t.Context(), fromLayout, archive.Target{File: path}, o); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"link.tar": "a.tar", "into": "cache", "new.tar": "cache/c.tar"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	open := func(path string) []archive.Chosen {
		a, err := archive.Open(t.Context(), []string{path}, archive.OpenOptions{Base: fromLayout[0].Source})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Close() })
		entries, err := a.Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return []archive.Chosen{{Source: a, Entry: entries[0]}}
	}
	staged := []archive.Chosen{{
		Source: archive.NewStaging(openDir(t, cache), emptyDir(t)), Entry: fromLayout[0].Entry,
	}}
	before := snapshot(t, dir)
	for _, tt := range []struct {
		name   string
		chosen []archive.Chosen
		file   string
	}{
		{"in the layout", fromLayout, "cache/c.tar"},
		{"in its blobs", fromLayout, "cache/blobs/sha256/c.tar"},
		{"its index", fromLayout, "cache/index.json"},
		{"the layout behind a link", fromLayout, "into/c.tar"},
		{"a link into the layout", fromLayout, "new.tar"},
		{"the layout behind a stage", staged, "cache/c.tar"},
		{"the file itself", open(file), "a.tar"},
		{"a link to the file", open(file), "link.tar"},
		{"the base", open(file), "cache/c.tar"},
		{"the set by its name", open(set), "b.tar"},
		{"the set by a volume", open(set + ".001"), "b.tar"},
		{"a volume of the set", open(set), "b.tar.002"},
		{"a recovery volume of the set", open(set), "b.tar.parity.001"},
	} {
		for _, o := range []archive.PackOptions{
			{}, {Overwrite: true}, {VolumeSize: 20000, Overwrite: true}, {Overwrite: true, DryRun: true},
		} {
			if o.VolumeSize > 0 && tt.name == "a link into the layout" {
				continue // for volumes it is a name that is taken
			}
			to := archive.Target{File: filepath.Join(dir, tt.file)}
			_, err := archive.Pack(t.Context(), tt.chosen, to, o)
			var occupied *archive.OccupiedError
			if !errors.As(err, &occupied) || occupied.File != to.File {
				t.Errorf("%s: %v", tt.name, err)
			}
			o.Change = changeFails(t)
			if _, err := archive.Pack(t.Context(), tt.chosen, to, o); !errors.As(err, &occupied) {
				t.Errorf("%s, changed: %v", tt.name, err)
			}
		}
	}
	// A layout that has the name of the work directory is none.
	work := filepath.Join(dir, ".d.tar.ocicache")
	if err := os.Rename(cache, work); err != nil {
		t.Fatal(err)
	}
	var occupied *archive.OccupiedError
	if _, err := archive.Pack(t.Context(), chosen(t, openDir(t, work), false), archive.Target{File: filepath.Join(dir, "d.tar")}, archive.PackOptions{}); !errors.As(err, &occupied) {
		t.Errorf("got %v", err)
	}
	if _, err := archive.Pack(t.Context(), open(file), archive.Target{File: filepath.Join(dir, "d.tar")}, archive.PackOptions{}); err == nil || !strings.Contains(err.Error(), work) {
		t.Errorf("somebody's directory was taken for a work directory: %v", err)
	}
	if err := os.Rename(work, cache); err != nil {
		t.Fatal(err)
	}
	wantSame(t, dir, before)
}

// TestPackTaken replaces nothing, before any work, unless it was told to.
func TestPackTaken(t *testing.T) {
	t.Parallel()
	roots := chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false)
	for _, set := range []bool{false, true} {
		dir := t.TempDir()
		to := archive.Target{File: filepath.Join(dir, "a.tar")}
		o := archive.PackOptions{}
		if set {
			o = archive.PackOptions{VolumeSize: 20000, Parity: 1}
		}
		first, err := archive.Pack(t.Context(), roots, to, o)
		if err != nil {
			t.Fatal(err)
		}
		before := snapshot(t, dir)
		for _, o := range []archive.PackOptions{{}, {DryRun: true}, {VolumeSize: 30000}} {
			var exists *archive.ExistsError
			if _, err := archive.Pack(t.Context(), roots, to, o); !errors.As(err, &exists) || len(exists.Names) != len(first.Files) {
				t.Errorf("%+v: %v", o, err)
			}
			changed := o
			changed.Change = changeFails(t)
			if _, err := archive.Pack(t.Context(), roots, to, changed); !errors.As(err, &exists) {
				t.Errorf("%+v, changed: %v", o, err)
			}
			if err := archive.CheckTarget(t.Context(), to.File, o); !errors.As(err, &exists) {
				t.Errorf("%+v, asked: %v", o, err)
			}
		}
		wantSame(t, dir, before)
		o.Overwrite = true
		if _, err := archive.Pack(t.Context(), roots, to, o); err != nil {
			t.Errorf("overwrite: %v", err)
		}
		wantSame(t, dir, before)
	}
}

// TestPackRace packs different caches to one file at once: one wins, and what it wrote is whole.
func TestPackRace(t *testing.T) {
	t.Parallel()
	one := chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false)
	two := chosen(t, openDir(t, filepath.Join(caches, "artifact-zstd")), false)
	for _, o := range []archive.PackOptions{{}, {VolumeSize: 20000, Parity: 1}} {
		for _, timeout := range []int{-1, 0} {
			o.Layout = layout.Options{LockTimeout: layout.DefaultLockTimeout * -1}
			if timeout == 0 {
				o.Layout.LockTimeout = 0
			}
			file := filepath.Join(t.TempDir(), "a.tar")
			var group sync.WaitGroup
			errs, ids := make([]error, 2), make([]string, 2)
			for i, roots := range [][]archive.Chosen{one, two} {
				group.Go(func() {
					result, err := archive.Pack(t.Context(), roots, archive.Target{File: file}, o)
					if errs[i] = err; err == nil {
						ids[i] = result.ID.String()
					}
				})
			}
			group.Wait()
			winner := 0
			if errs[0] != nil {
				winner = 1
			}
			var exists *archive.ExistsError
			var locked *layout.LockedError
			lost := errs[1-winner]
			if errs[winner] != nil || !errors.As(lost, &exists) && (timeout == 0 || !errors.As(lost, &locked)) {
				t.Errorf("%v", errs)
				continue
			}
			a, err := archive.Open(t.Context(), []string{file}, archive.OpenOptions{})
			if err != nil {
				t.Error(err)
				continue
			}
			if a.ID().String() != ids[winner] || len(a.Notes()) > 0 {
				t.Errorf("it is %s, %q", a.ID(), a.Notes())
			}
			a.Close()
			if _, err := os.Lstat(filepath.Join(filepath.Dir(file), ".a.tar.ocicache")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the work directory was left (%v)", err)
			}
		}
	}
}

// TestPackLongName refuses names that leave no room for what belongs to an archive.
func TestPackLongName(t *testing.T) {
	t.Parallel()
	roots := chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false)
	for _, length := range []int{244, 245, 246, 255, 256} {
		for _, o := range []archive.PackOptions{{}, {DryRun: true}, {VolumeSize: 20000, Parity: 1}, {VolumeSize: 20000, DryRun: true}} {
			dir := t.TempDir()
			_, err := archive.Pack(t.Context(), roots, archive.Target{File: filepath.Join(dir, strings.Repeat("n", length))}, o)
			isLong := errors.Is(err, syscall.ENAMETOOLONG) || errors.Is(err, archive.ErrSplit)
			if ok := length <= 244 || length == 245 && o.VolumeSize == 0; ok && err != nil || !ok && !isLong {
				t.Errorf("%d bytes, volumes of %d: %v", length, o.VolumeSize, err)
			}
			if err != nil {
				wantOnly(t, dir)
			}
		}
	}
}

// TestPackLinkedFile follows a link, and locks what it leads to.
func TestPackLinkedFile(t *testing.T) {
	t.Parallel()
	roots := chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false)
	dir, far := t.TempDir(), t.TempDir()
	link, file := filepath.Join(dir, "link"), filepath.Join(far, "a.tar")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	release, err := archive.HoldWork(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	var locked *layout.LockedError
	impatient := archive.PackOptions{Layout: layout.Options{LockTimeout: -1}}
	if _, err := archive.Pack(t.Context(), roots, archive.Target{File: link}, impatient); !errors.As(err, &locked) {
		t.Errorf("got %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := archive.Pack(t.Context(), roots, archive.Target{File: link}, archive.PackOptions{Overwrite: true}); err != nil {
			t.Fatal(err)
		}
		wantOnly(t, dir, "link")
		wantOnly(t, far, "a.tar")
	}
	a, err := archive.Open(t.Context(), []string{link}, archive.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
}

// TestPackTargets refuses two targets, and none.
func TestPackTargets(t *testing.T) {
	t.Parallel()
	roots := chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false)
	for _, to := range []archive.Target{{}, {File: filepath.Join(t.TempDir(), "a.tar"), Stream: io.Discard}} {
		if _, err := archive.Pack(t.Context(), roots, to, archive.PackOptions{}); err == nil {
			t.Errorf("%+v: no error", to)
		}
	}
}

// TestPackFull tells a disk that is full before the archive is whole from one that does not let older volumes go after that.
func TestPackFull(t *testing.T) {
	t.Parallel()
	roots := chosen(t, openDir(t, filepath.Join(caches, "artifact-gzip")), false)
	for _, op := range []durable.Op{durable.OpWrite, durable.OpRemove} {
		file := filepath.Join(t.TempDir(), "a.tar")
		if _, err := archive.Pack(t.Context(), roots, archive.Target{File: file}, archive.PackOptions{VolumeSize: 40000}); err != nil {
			t.Fatal(err)
		}
		ctx := durable.WithFault(t.Context(), func(fails durable.Op, path string) error {
			if fails == op && (op == durable.OpWrite || path == file+".001") {
				return syscall.ENOSPC
			}
			return nil
		})
		_, err := archive.Pack(ctx, roots, archive.Target{File: file}, archive.PackOptions{Overwrite: true})
		var full *archive.FullError
		is := errors.As(err, &full)
		if _, lost := os.Stat(file); !errors.Is(err, syscall.ENOSPC) || is != (op == durable.OpWrite) || is != (lost != nil) {
			t.Errorf("%v: %v, packed: %v", op, err, lost)
		}
	}
}

// changeFails says that nothing is changed before the names are known to be free.
func changeFails(t *testing.T) func(context.Context, layout.Source, layout.Entry, layout.Place) (layout.Entry, error) {
	t.Helper()
	return func(context.Context, layout.Source, layout.Entry, layout.Place) (layout.Entry, error) {
		t.Error("work was done")
		return layout.Entry{}, errors.New("work was done")
	}
}
