package main

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ocicache/ocicache/internal/quicktest"
)

// TestMain lets the test binary also be the programs that scripts run.
func TestMain(m *testing.M) {
	testscript.Main(quicktest.Of(m), map[string]func(){
		"ocicache":     mainPasted,
		"errands":      errands,
		"unprivileged": unprivileged,
		"bounded":      bounded,
	})
}

// unprivileged runs another program as somebody to whom file modes apply: root without the power to pass over them.
func unprivileged() {
	runtime.LockOSThread() // the powers belong to the thread, and the thread becomes the program
	dropPowers()
	self, err := os.Executable()
	if err == nil {
		err = syscall.Exec(self, os.Args[1:], os.Environ())
	}
	panic(err)
}

// TestFullOutput is about help and completion, which cobra writes: what could not be written is no success, and the disk
// of a cache is not the reason.
func TestFullOutput(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"--help"}, {"help", "pack"}, {"pack", "--help"}, {"completion", "bash"}, {"version"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			var stderr bytes.Buffer
			status := run(args, fullWriter{}, &stderr)
			if status != exitFailed || strings.Count(stderr.String(), "ocicache: error: ") != 1 ||
				!strings.Contains(stderr.String(), "hint: the work itself is done") {
				t.Errorf("status %d, %s", status, stderr.String())
			}
		})
	}
}

// fullWriter is a disk without room.
type fullWriter struct{}

func (fullWriter) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// runIn runs the program as a process in a directory, and returns what it wrote, whatever its status.
func runIn(t *testing.T, dir string, args ...string) (stdout, stderr []byte) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ocicache", args...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, append(os.Environ(), "GORACE="+noSleep), &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.Bytes(), errs.Bytes()
}
