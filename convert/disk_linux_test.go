package convert_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/layout"
)

// TestDiskFull converts where there is a little more room each time, until it is enough. The old cache stays whole, and
// what was done by then is of use.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	if !layouttest.WithMounts(t) {
		return
	}
	pristine := gzipped(t, 3, 100<<10)
	o := convert.Options{Compression: buildcache.Zstd, Form: buildcache.DockerList, Jobs: 2}
	old := layouttest.Entry(t, pristine, "latest").Descriptor.Digest
	want := run(t, pristine, layouttest.Create(t), o).To.Digest
	for _, inPlace := range []bool{true, false} {
		refused := 0
		for spare := int64(0); ; spare += int64(quicktest.Rounds(40<<10, 20<<10)) {
			disk := t.TempDir()
			layouttest.Mount(t, disk, 64<<20)
			src, path := open(t, pristine.String()), filepath.Join(disk, "layout")
			if inPlace {
				if err := os.CopyFS(path, os.DirFS(pristine.String())); err != nil {
					t.Fatal(err)
				}
				src = open(t, path)
			} else if _, err := layout.Create(t.Context(), path, layout.Options{}); err != nil {
				t.Fatal(err)
			}
			used := layouttest.Used(t, disk)
			before, dst := layouttest.Tree(t, path), open(t, path)
			if inPlace {
				dst = src
			}
			layouttest.Resize(t, disk, used+spare)

			_, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, "latest"), dst, "latest", o)
			if err == nil {
				if refused < 5 {
					t.Errorf("in place %v: the disk was full only %d times", inPlace, refused)
				}
				wantEqual(t, "root", layouttest.Entry(t, dst, "latest").Descriptor.Digest, want)
				break
			}
			refused++
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("with %d bytes to spare it ended with %v", spare, err)
			}
			wantKept(t, path, before)
			wantIntact(t, path)
			wantNoTemporary(t, path)
			if inPlace {
				wantEqual(t, "root", layouttest.Entry(t, dst, "latest").Descriptor.Digest, old)
				wantClean(t, dst, "latest")
			}

			layouttest.Resize(t, disk, 64<<20)
			result := run(t, src, dst, o)
			wantEqual(t, "root in the end", result.To.Digest, want)
			wantClean(t, dst, "latest")
		}
		t.Logf("in place %v: refused %d times", inPlace, refused)
	}
}

// TestReadOnlyDisk reads from a file system that nobody can write to, and refuses to convert in place there.
func TestReadOnlyDisk(t *testing.T) {
	t.Parallel()
	if !layouttest.WithMounts(t) {
		return
	}
	disk := t.TempDir()
	layouttest.Mount(t, disk, 64<<20)
	path := filepath.Join(disk, "layout")
	if err := os.CopyFS(path, os.DirFS(filepath.Join(corpus, "artifact-gzip"))); err != nil {
		t.Fatal(err)
	}
	before := layouttest.Tree(t, path)
	layouttest.MakeReadOnly(t, disk)
	src := open(t, path)
	for _, o := range []convert.Options{toList, toZstd} {
		if _, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, ""), src, "latest", o); !errors.Is(err, syscall.EROFS) {
			t.Errorf("it ended with %v", err)
		}
		o.DryRun = true
		run(t, src, src, o)
		o.DryRun = false
		dst := layouttest.Create(t)
		run(t, src, dst, o)
		wantClean(t, dst, "latest")
	}
	wantClean(t, src, "latest")
	layouttest.WantTree(t, path, before)
}
