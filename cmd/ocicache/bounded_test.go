package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a command may take of the machine where its case does not say otherwise.
const (
	boundedSpace  = 2 << 30 // bytes of addresses, of which a Go program takes more than half before it begins
	boundedMemory = 160     // MiB that were in memory at once
	boundedCPU    = 4 * time.Second
	boundedTime   = 2 * time.Minute // of the clock, on a machine that may be busy with other things
)

// spent is what a command has taken.
type spent struct {
	Memory int           // MiB
	CPU    time.Duration // of all its threads
}

// bounded runs a program with an address space that has an end, and writes to a file what it took. It is a process of its
// own between the test and the program: of a program that a large process starts, Linux says that it was large.
func bounded() {
	if !hasRaceDetector() { // which needs terabytes of addresses
		space, err := strconv.ParseUint(os.Args[2], 10, 64)
		if err != nil {
			panic(err)
		}
		limit := unix.Rlimit{Cur: space, Max: space}
		if err := unix.Setrlimit(unix.RLIMIT_AS, &limit); err != nil {
			panic(err)
		}
	}
	cmd := exec.Command(os.Args[3], os.Args[4:]...) //nolint:gosec // the test's own
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		panic(err)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		panic("no usage")
	}
	report, err := json.Marshal(spent{
		Memory: int(usage.Maxrss >> 10), CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(),
	})
	if err == nil {
		err = os.WriteFile(os.Args[1], report, 0o600)
	}
	if err != nil {
		panic(err)
	}
	os.Exit(cmd.ProcessState.ExitCode()) // -1, where a signal ended it, becomes 255
}

// hasRaceDetector reports whether this is a build with the race detector, with which everything takes many times as much.
func hasRaceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

// hostileCase is a command whose input somebody made to harm us.
type hostileCase struct {
	name   string
	make   func(t *testing.T, dir string) // the input, in the directory where the command runs
	args   []string
	stdin  string // a file
	status int
	says   string // a regular expression for standard error, or for standard output where the status is that of a result
	memory int    // MiB, 0 for boundedMemory
	space  uint64 // bytes of addresses, 0 for boundedSpace
	alike  bool   // another case is about the same, and this one for all samples
	// outside are paths in the directory that must be there afterwards, as they were; DST is dst.
	outside []string
}

// run runs a case and says what it took.
func (c hostileCase) run(t *testing.T) spent {
	t.Helper()
	dir := t.TempDir()
	if c.make != nil {
		c.make(t, dir)
	}
	before := map[string]tree{}
	for _, name := range c.outside {
		before[name] = readTree(t, filepath.Join(dir, name))
	}
	ctx, cancel := context.WithTimeout(t.Context(), boundedTime)
	defer cancel()
	report, space := filepath.Join(t.TempDir(), "report"), strconv.FormatUint(cmp.Or(c.space, boundedSpace), 10)
	cmd := exec.CommandContext(ctx, "bounded", append([]string{report, space, "ocicache"}, c.args...)...) //nolint:gosec // the test's own
	// Whatever happens, nobody outlives the test.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GORACE="+noSleep, "TMPDIR="+dir)
	if c.stdin != "" {
		stdin, err := os.Open(filepath.Join(dir, c.stdin))
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
		cmd.Stdin = stdin
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("it did not end within %v\n%.2000s", boundedTime, stderr.String())
	}
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	c.check(t, cmd.ProcessState.ExitCode(), stdout.String(), stderr.String())
	for name, was := range before {
		if differs := readTree(t, filepath.Join(dir, name)).differs(was); differs != "" {
			t.Errorf("%s: %s", name, differs)
		}
	}
	return c.checkSpent(t, report)
}

func (c hostileCase) check(t *testing.T, status int, stdout, stderr string) {
	t.Helper()
	if status != c.status {
		t.Errorf("status %d, want %d\n%.2000s%.2000s", status, c.status, stdout, stderr)
	}
	for _, sign := range []string{"panic", "goroutine ", "fatal error", "SIGSEGV"} {
		if strings.Contains(stderr, sign) {
			t.Errorf("it crashed: %.3000s", stderr)
		}
	}
	shown, said := stderr, stderr
	if status == exitDone || status == exitFound {
		shown, said = stdout, stdout+stderr
	} else if stdout != "" {
		t.Errorf("a failure wrote a result: %.1000s", stdout)
	}
	if !regexp.MustCompile(c.says).MatchString(shown) {
		t.Errorf("want %q, got %.2000s", c.says, shown)
	}
	if strings.ContainsFunc(said, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
		t.Errorf("control characters in %.1000q", said)
	}
	if len(stderr) > 256<<10 {
		t.Errorf("it wrote %d bytes: %.1000s", len(stderr), stderr)
	}
}

// checkSpent reads what the program took, and compares with what it may.
func (c hostileCase) checkSpent(t *testing.T, report string) (took spent) {
	t.Helper()
	raw, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &took); err != nil {
		t.Fatal(err)
	}
	most := cmp.Or(c.memory, boundedMemory)
	cpu := boundedCPU
	if hasRaceDetector() {
		most, cpu = 10*most, 10*cpu
	}
	if took.Memory > most || took.CPU > cpu {
		t.Errorf("it took %d MiB and %v, and may take %d MiB and %v", took.Memory, took.CPU, most, cpu)
	}
	t.Logf("%d MiB, %v", took.Memory, took.CPU.Round(time.Millisecond))
	return took
}
