package durable_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/internal/durable"
)

// roleVariable makes the test binary play another process instead of running tests.
const roleVariable = "OCICACHE_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := play(role, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play is the other process: it does the first half of its role, says so on standard output, waits for standard input
// to end, and does the second half.
func play(role, path string) error {
	wait := func(said string) error {
		fmt.Println(said)
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	}
	switch role {
	case "write":
		file, err := durable.FS{}.Create(path)
		if err != nil {
			return err
		}
		if _, err := file.Write([]byte("by another process")); err != nil {
			return err
		}
		if err := wait(file.File().Name()); err != nil {
			return err
		}
		return file.Commit(filepath.Join(path, "committed"), 0o644)
	case "lock-shared", "lock-exclusive":
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		if err := durable.TryLock(file, role == "lock-exclusive"); err != nil {
			return err
		}
		return wait("locked")
	case "adopt":
		file, err := os.Create(filepath.Join(path, "mine"))
		if err != nil {
			return err
		}
		// The directory belongs to somebody else: chown would fail.
		return durable.Adopt(file, path)
	default:
		return fmt.Errorf("unknown role %q", role)
	}
}

// process is another process that has done the first half of its role.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	said  string // what the first half said
}

func command(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, path)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

func start(t *testing.T, role, path string) *process {
	t.Helper()
	cmd := command(t, role, path)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		t.Fatalf("the process that should %s says nothing: %v", role, cmd.Wait())
	}
	return &process{cmd: cmd, stdin: stdin, said: lines.Text()}
}

// finish lets the process do its second half.
func (p *process) finish(t *testing.T) {
	t.Helper()
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
}

// kill ends the process as a crash would.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // fails, for the process was killed
}
