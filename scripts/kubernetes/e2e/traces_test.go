//go:build e2e && linux

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestClusterKilled says that nothing runs on when a cluster is killed, and that the next one removes what it could not.
func TestClusterKilled(t *testing.T) {
	before := traces(t)
	p := buildAll(t)
	t.Run("Killed", func(t *testing.T) {
		c := p.startCluster(t, "node-a")
		c.kubectl(t, "run", "idle", "--image=localhost/pause:e2e", `--overrides={"spec": {"hostNetwork": true}}`)
		c.kubectl(t, "wait", "--for=condition=Ready", "--timeout=60s", "pod/idle")
		if of := processesOf(t, c.dir); len(of) < 8 {
			t.Errorf("before it was killed there are %v", of)
		}
		if err := c.process.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, "all processes end", func() error {
			if of := processesOf(t, c.dir); len(of) > 0 {
				return fmt.Errorf("there are %v", of)
			}
			return nil
		})
	})
	t.Run("Next", func(t *testing.T) { p.startCluster(t, "node-a") })
	before.check(t)
}

// processesOf are the processes of a cluster: those that are named after it, or are in a cgroup of its name.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, process := range found {
		line, errLine := os.ReadFile(filepath.Join(process, "cmdline"))
		cgroups, errCgroups := os.ReadFile(filepath.Join(process, "cgroup"))
		if errors.Join(errLine, errCgroups) != nil {
			continue // it has ended meanwhile
		}
		if bytes.Contains(line, []byte(dir)) || bytes.Contains(cgroups, []byte("/"+filepath.Base(dir)+"/")) {
			all = append(all, filepath.Base(process)+" "+string(bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	return all
}

// trace is what a cluster could leave on the machine.
type trace map[string]string

// traces looks at the machine.
func traces(t *testing.T) trace {
	t.Helper()
	found := trace{}
	for _, name := range []string{
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
	} {
		value, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if err != nil {
			t.Fatal(err)
		}
		found[name] = string(value)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for mount := range strings.Lines(string(mounts)) {
		if strings.Contains(mount, "ocicache-cluster") || strings.Contains(mount, "kubelet") || strings.Contains(mount, "/k8s.io/") {
			found[mount] = "mounted"
		}
	}
	for _, pattern := range []string{
		"/sys/fs/cgroup/ocicache-cluster-*", "/sys/fs/cgroup/*/ocicache-cluster-*", filepath.Join(os.TempDir(), "ocicache-cluster-*"),
		"/etc/cni*", "/etc/containerd*", "/etc/kubernetes*", "/var/lib/kubelet*", "/var/lib/containerd*", "/var/lib/cni*", "/var/log/pods*",
		"/var/log/containers*", "/run/containerd*", "/run/runc*", "/opt/containerd*", "/usr/libexec/kubernetes*",
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if !ofRunning(path) {
				found[path] = "there"
			}
		}
	}
	return found
}

// ofRunning reports whether a path belongs to a cluster that runs: somebody else's.
func ofRunning(path string) bool {
	number, ok := strings.CutPrefix(filepath.Base(path), "ocicache-cluster-")
	pid, err := strconv.Atoi(number)
	return ok && err == nil && syscall.Kill(pid, 0) == nil
}

// check says that the machine is as it was.
func (before trace) check(t *testing.T) {
	t.Helper()
	after := traces(t)
	for _, what := range slices.Sorted(maps.Keys(after)) {
		if after[what] != before[what] {
			t.Errorf("%s: was %q, and is %q", what, before[what], after[what])
		}
	}
}
