package layouttest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// mountVariable says that a test runs in the process that may mount.
const mountVariable = "OCICACHE_TEST_MOUNT"

// WithMounts runs a test in a process that may mount file systems that nobody else sees, and that go away with it. It reports
// whether this is that process. If the system does not allow it, the test is skipped, or fails with E2E=required.
func WithMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(mountVariable) != "" {
		if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			cant(t, "no mounting here: %v", err)
		}
		return true
	}
	out, err := namespaced(t, syscall.CLONE_NEWUSER|syscall.CLONE_NEWNS)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) { // root may need no user namespace
		out, err = namespaced(t, syscall.CLONE_NEWNS)
	}
	switch {
	case err != nil && !errors.As(err, &exit):
		cant(t, "no namespaces here: %v", err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(out, "--- SKIP"):
		t.Skip(out)
	case !strings.Contains(out, "--- PASS: "+t.Name()):
		t.Errorf("the test did not run:\n%s", out)
	default:
		t.Log(out)
	}
	return false
}

// namespaced runs the test in a process with namespaces of its own.
func namespaced(t *testing.T, flags uintptr) (out string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v") //nolint:gosec // it is this program
	cmd.Env = append(os.Environ(), mountVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags&syscall.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	raw, err := cmd.CombinedOutput()
	return string(raw), err
}

// cant skips a test that can't run here, or fails it with E2E=required.
func cant(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("E2E") == "required" {
		t.Fatalf("E2E=required, but "+format, args...)
	}
	t.Skipf("NOT TESTED: "+format, args...)
}

// Mount mounts an empty file system of a size in bytes. It needs WithMounts.
func Mount(t *testing.T, dir string, size int64) {
	t.Helper()
	if err := mount(dir, 0, size); err != nil {
		cant(t, "no mounting here: %v", err)
	}
	t.Cleanup(func() { // before the directory is removed
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// Resize changes the size of a file system that Mount has mounted, in bytes.
func Resize(t *testing.T, dir string, size int64) {
	t.Helper()
	if err := mount(dir, syscall.MS_REMOUNT, size); err != nil {
		t.Fatal(err)
	}
}

// MakeReadOnly makes a file system that Mount has mounted read-only.
func MakeReadOnly(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
}

func mount(dir string, flags uintptr, size int64) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", flags, fmt.Sprintf("size=%d", size))
}

// Used returns how many bytes of a file system are in use.
func Used(t *testing.T, dir string) int64 {
	t.Helper()
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		t.Fatal(err)
	}
	return int64(stat.Blocks-stat.Bfree) * stat.Bsize
}
