//go:build e2e && linux

package e2e

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// process finds the process of a pod's container on this machine, which sees those of all nodes. It is 0 where there is none.
func process(t *testing.T, p pod) int {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range found {
		cgroups, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(cgroups, []byte("/pod"+string(p.UID)+"/")) {
			continue // it has ended meanwhile, or is another's
		}
		dir := filepath.Dir(file)
		if line, err := os.ReadFile(filepath.Join(dir, "cmdline")); err == nil && bytes.HasPrefix(line, []byte("/ocicache\x00migrate\x00")) {
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	return 0
}

// checkPrivileges says that a container has none in fact: what the kernel says of its process.
func checkPrivileges(t *testing.T, p pod) {
	t.Helper()
	pid := process(t, p)
	if pid == 0 {
		t.Fatalf("%s does not run", p.Name)
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Uid": "65532 65532 65532 65532", "Gid": "65532 65532 65532 65532", "NoNewPrivs": "1", "Seccomp": "2",
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapBnd": "0000000000000000", "CapAmb": "0000000000000000",
	} {
		found := regexp.MustCompile(`(?m)^` + name + `:\s+(.*)$`).FindSubmatch(status)
		if found == nil || strings.Join(strings.Fields(string(found[1])), " ") != want {
			t.Errorf("%s: %s is %q, want %q", p.Name, name, found, want)
		}
	}
	for path, want := range map[string]error{
		"probe": syscall.EROFS, "home/ocicache/probe": syscall.EROFS, "plan/probe": syscall.EROFS, "credentials/probe": syscall.EROFS, "tmp/probe": nil,
	} {
		// A user who may do all writes where the mount does, whatever the files' modes.
		if err := os.WriteFile(filepath.Join(dir, "root", path), nil, 0o600); !errors.Is(err, want) {
			t.Errorf("%s: write /%s: %v, want %v", p.Name, path, err, want)
		}
	}
}
