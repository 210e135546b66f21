package convert_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// mountVariable says that a test runs where it may mount.
const mountVariable = "OCICACHE_TEST_MOUNT"

// withMounts runs a test in a process that may mount file systems which nobody else sees, and which go with it. It says
// whether this is that process.
func withMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(mountVariable) != "" {
		if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			t.Skipf("NOT TESTED: no mounting here: %v", err)
		}
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mountVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		t.Skipf("NOT TESTED: no namespaces here: %v", err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("the test did not run:\n%s", out)
	}
	return false
}

// tmpfs mounts an empty file system, or gives the one that is there another size.
func tmpfs(t *testing.T, dir string, flags uintptr, bytes int64) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, fmt.Sprintf("size=%d", bytes)); err != nil {
		if flags == 0 {
			t.Skipf("NOT TESTED: no mounting here: %v", err)
		}
		t.Fatal(err)
	}
	if flags == 0 {
		t.Cleanup(func() { // before the directory is removed
			if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDiskFull converts where there is a little more room each time, until it is enough. The old cache stays whole, and
// what was done by then is of use.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	if !withMounts(t) {
		return
	}
	pristine := gzipped(t, 3, 200<<10)
	o := convert.Options{Compression: buildcache.Zstd, Form: buildcache.DockerList, Jobs: 2}
	old := layouttest.Entry(t, pristine, "latest").Descriptor.Digest
	want := run(t, pristine, layouttest.Create(t), o).To.Digest
	for _, inPlace := range []bool{true, false} {
		refused := 0
		for spare := int64(0); ; spare += 36 << 10 {
			disk := t.TempDir()
			tmpfs(t, disk, 0, 64<<20)
			src, path := open(t, pristine.String()), filepath.Join(disk, "layout")
			if inPlace {
				if err := os.CopyFS(path, os.DirFS(pristine.String())); err != nil {
					t.Fatal(err)
				}
				src = open(t, path)
			} else if _, err := layout.Create(t.Context(), path, layout.Options{}); err != nil {
				t.Fatal(err)
			}
			var stat syscall.Statfs_t
			if err := syscall.Statfs(disk, &stat); err != nil {
				t.Fatal(err)
			}
			used := int64(stat.Blocks-stat.Bfree) * stat.Bsize
			before, dst := layouttest.Tree(t, path), open(t, path)
			if inPlace {
				dst = src
			}
			tmpfs(t, disk, syscall.MS_REMOUNT, used+spare)

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

			tmpfs(t, disk, syscall.MS_REMOUNT, 64<<20)
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
	if !withMounts(t) {
		return
	}
	disk := t.TempDir()
	tmpfs(t, disk, 0, 64<<20)
	path := filepath.Join(disk, "layout")
	if err := os.CopyFS(path, os.DirFS(filepath.Join(corpus, "artifact-gzip"))); err != nil {
		t.Fatal(err)
	}
	before := layouttest.Tree(t, path)
	tmpfs(t, disk, syscall.MS_REMOUNT|syscall.MS_RDONLY, 64<<20)
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
