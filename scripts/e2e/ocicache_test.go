//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// command is what one call of ocicache left behind.
type command struct {
	Args           []string
	Stdout, Stderr string
	Status         int
}

// runOcicache calls ocicache and takes any exit status for an answer.
func runOcicache(t *testing.T, args ...string) command {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), env.ocicache, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run ocicache: %v", err)
	}
	return command{args, stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// ocicache calls ocicache with --json and requires that it succeeds.
func ocicache(t *testing.T, args ...string) {
	t.Helper()
	c := runOcicache(t, append(args, "--json")...)
	if c.Status != 0 {
		t.Fatalf("ocicache %s: exit status %d\n%s%s", strings.Join(c.Args, " "), c.Status, c.Stdout, c.Stderr)
	}
	if !json.Valid([]byte(c.Stdout)) {
		t.Fatalf("ocicache %s: the standard output is not one JSON value:\n%s", strings.Join(c.Args, " "), c.Stdout)
	}
}

// convert writes the cache with the tag in src to dst.
func convert(t *testing.T, src, tag, dst string, to target) {
	t.Helper()
	ocicache(t, convertArgs(src, tag, dst, to)...)
}

func convertArgs(src, tag, dst string, to target) []string {
	return append([]string{"convert", "oci:" + src + ":" + tag, dst}, to.flags()...)
}

// convertInPlace converts every cache in dir.
func convertInPlace(t *testing.T, dir string, to target) {
	t.Helper()
	ocicache(t, append([]string{"convert", dir}, to.flags()...)...)
}
