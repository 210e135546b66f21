package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/internal/registrytest"
)

// interruptCase is a command that does not end by itself within the time of a test.
type interruptCase struct {
	name string
	args []string
	// busy says that it is where it should be interrupted; nil: after a while.
	busy func() bool
	// alike says that another case waits in the same way, and this one is for all samples.
	alike bool
	// files are what it inherits as standard output and standard error, nil for none.
	stdout, stderr *os.File
}

// TestInterrupted has commands that wait, or have work for hours, and sends them a signal. Each ends with 130 within a second,
// as the grace says; the rest of the limit is for a machine with other work.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for i, c := range interruptCases(t) {
		if c.alike && quicktest.Rounds(0, 1) == 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), "ocicache", c.args...)
			var said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &said, &said
			if c.stdout != nil {
				cmd.Stdout = c.stdout
			}
			if c.stderr != nil {
				cmd.Stderr = c.stderr
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := waitFor(cmd)
			waitUntil(t, c.busy, ended, &said)
			start := time.Now()
			signals := interruptions() // with a hangup, where the test itself does not ignore it
			if err := cmd.Process.Signal(signals[i%len(signals)]); err != nil {
				t.Fatal(err)
			}
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				_ = cmd.Process.Kill()
				<-ended
				t.Fatalf("it goes on and on: %s", said.String())
			}
			took := time.Since(start)
			limit := 3 * time.Second
			if took > limit {
				limit += 10 * runOf(t, "version")
			}
			if status := cmd.ProcessState.ExitCode(); status != exitInterrupted || took > limit {
				t.Errorf("status %d after %v: %s", status, took, said.String())
			}
			t.Logf("after %v", took)
		})
	}
}

// waitFor waits for a process beside everything else.
func waitFor(cmd *exec.Cmd) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(ended)
	}()
	return ended
}

// waitUntil waits until a process is busy.
func waitUntil(t *testing.T, busy func() bool, ended <-chan struct{}, said *bytes.Buffer) {
	t.Helper()
	enough := time.Minute
	if busy == nil { // how long a process takes to begin depends on what else the machine does
		enough = 300*time.Millisecond + 5*runOf(t, "version")
	}
	start := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			t.Fatalf("it ended before it was interrupted: %s", said.String())
		case <-tick.C:
		}
		if waited := time.Since(start); busy == nil && waited > enough || busy != nil && busy() {
			return
		} else if waited > time.Minute {
			t.Fatal("it does not get to where it is to be interrupted")
		}
	}
}

func interruptCases(t *testing.T) []interruptCase {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	bomb := cacheWith(t, zstdBomb(), "zstd")
	toc := cacheWith(t, tocBomb(t), "gzip")
	cases := []interruptCase{
		{name: "verify --deep of 22 GB of zstd", args: []string{"verify", "--deep", bomb}},
		{name: "convert of 22 GB of zstd", args: []string{"convert", bomb, at("gzip"), "--compression", "gzip"}},
		{name: "sync of 22 GB of zstd", alike: true, args: []string{"sync", bomb, at("estargz"), "--compression", "estargz"}},
		{name: "pack of 22 GB of zstd", alike: true, args: []string{"pack", bomb, at("bomb.tar"), "--compression", "gzip"}},
		{name: "verify --deep of a TOC of 20 GB", args: []string{"verify", "--deep", toc}},
		{name: "convert of a TOC of 20 GB", alike: true, args: []string{"convert", toc, at("toc"), "--compression", "zstd"}},
	}
	cases = append(cases, stalledCases(t, at)...)
	return append(cases, fifoCases(t, at)...)
}

// stalledCases talk to registries that do not answer any more.
func stalledCases(t *testing.T, at func(string) string) []interruptCase {
	t.Helper()
	var cases []interruptCase
	stalled := func(name, method, path string, args ...string) {
		server := registrytest.New(t, registrytest.Options{TakesLists: true})
		repository := "docker://" + server.Host + "/stalled:latest"
		runOf(t, "copy", corpus+"/artifact-gzip", repository, "--tls-verify=false")
		stall := server.Inject(registrytest.Fault{Method: method, Path: path, Hang: true, Times: -1})
		whole := strings.TrimSuffix(repository, ":latest")
		names := strings.NewReplacer("{}", repository, "{all}", whole, "{new}", whole+"/new")
		for i, arg := range args {
			args[i] = names.Replace(arg)
		}
		cases = append(cases, interruptCase{
			name: name, args: append(args, "--tls-verify=false"), busy: func() bool { return stall.Fired() > 0 },
		})
	}
	stalled("copy from a registry", "GET", "/blobs/", "copy", "{}", at("a"))
	stalled("convert to a registry", "PATCH", "", "convert", corpus+"/artifact-gzip", "{new}", "--compression", "zstd")
	stalled("copy to a registry", "PUT", "/blobs/", "copy", corpus+"/artifact-gzip", "{new}")
	stalled("copy to a registry, tag", "PUT", "/manifests/latest", "copy", corpus+"/artifact-gzip", "{new}:latest")
	stalled("sync from a registry", "GET", "/tags/", "sync", "{all}", at("b"))
	stalled("convert from a registry", "GET", "/blobs/", "convert", "{}", at("c"), "--compression", "zstd")
	stalled("verify --deep of a registry", "GET", "/blobs/", "verify", "--deep", "{}")
	stalled("inspect of a registry", "", "/v2/$", "inspect", "{}")
	stalled("extract from a registry", "GET", "/manifests/", "extract", "{}", at("d"))
	stalled("pack from a registry", "GET", "/blobs/", "pack", "{}", at("e.tar"))
	return cases
}

// fifoCases have a FIFO that nobody reads or writes, or a pipe that is full.
func fifoCases(t *testing.T, at func(string) string) []interruptCase {
	t.Helper()
	fifo := at("fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	full := fullPipe(t)
	fullErr := fullPipe(t)
	held := at("held")
	if err := os.CopyFS(held, os.DirFS(filepath.Join(corpus, "artifact-gzip"))); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(held, "cache.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() })
	wants := registrytest.New(t, registrytest.Options{User: "ann", Password: "secret"})
	return []interruptCase{
		{name: "unpack from a FIFO", args: []string{"unpack", fifo, at("f")}},
		{name: "pack to a pipe that nobody reads", args: []string{"pack", killedCache, "-"}, stdout: full},
		{name: "a result that nobody reads", alike: true, args: []string{"inspect", killedCache, "--json"}, stdout: full},
		{name: "progress that nobody reads", args: []string{"copy", killedCache, at("g"), "--progress", "json"}, stderr: fullErr},
		{
			name: "credentials from a FIFO", args: []string{"inspect", "docker://" + wants.Host + "/a", "--authfile", fifo, "--tls-verify=false"},
			busy: func() bool { return len(wants.Requests()) > 0 },
		},
		{name: "convert of a locked layout", args: []string{"convert", held, "--to", "docker-list"}},
	}
}

// fullPipe returns a pipe that takes no more.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(r.Close(), w.Close()) })
	if err := w.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = w.Write(make([]byte, 4096))
	}
	return w
}

// zstdBomb is a frame of blocks of one byte repeated: 22 GB in 700 kB.
func zstdBomb() []byte {
	const size, blocks = 128 << 10, 22_000_000_000 / (128 << 10)
	bomb := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 7 << 3} // a window of 128 KiB
	for i := range blocks {
		header := uint32(size<<3 | 1<<1)
		if i == blocks-1 {
			header |= 1
		}
		bomb = append(bomb, byte(header), byte(header>>8), byte(header>>16), 0)
	}
	return bomb
}

// tocBomb is an estargz blob whose table of contents has 20 GB.
func tocBomb(t *testing.T) []byte {
	t.Helper()
	const size = 20 << 30
	var bomb bytes.Buffer
	pack := func(raw []byte) {
		w, err := gzip.NewWriterLevel(&bomb, gzip.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(raw); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
	}
	pack(tarHeader(t, "file", 0))
	offset := bomb.Len()
	pack(tarHeader(t, "stargz.index.json", size))
	begin := bomb.Len()
	pack(make([]byte, 64<<20))
	piece := bytes.Clone(bomb.Bytes()[begin:])
	for range size/(64<<20) - 1 {
		bomb.Write(piece)
	}
	bomb.Write(estargz.CreateGzipFooter(fmt.Appendf(nil, "SG\x16\x00%016xSTARGZ", offset)))
	return bomb.Bytes()
}

func tarHeader(t *testing.T, name string, size int64) []byte {
	t.Helper()
	var raw bytes.Buffer
	if err := tar.NewWriter(&raw).WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
		t.Fatal(err)
	}
	return raw.Bytes()
}

// cacheWith returns a cache of the corpus whose first layer has other bytes, under the same diffID.
func cacheWith(t *testing.T, layer []byte, compression string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(corpus, "artifact-"+compression))); err != nil {
		t.Fatal(err)
	}
	root, config, layers, err := readCache(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	put := func(raw []byte) digest.Digest {
		d := digest.FromBytes(raw)
		if err := os.WriteFile(blobPath(dir, d), raw, 0o644); err != nil {
			t.Fatal(err)
		}
		return d
	}
	get := func(path string) []byte {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	old, replaced := layers[0], put(layer)
	newConfig := bytes.ReplaceAll(get(blobPath(dir, config.Digest)), []byte(old.Digest), []byte(replaced))
	newRoot := get(blobPath(dir, root.Digest))
	for _, change := range [][2]string{
		{fmt.Sprintf(`"digest":"%s","size":%d`, old.Digest, old.Size), fmt.Sprintf(`"digest":"%s","size":%d`, replaced, len(layer))},
		{config.Digest.String(), put(newConfig).String()},
	} {
		if !bytes.Contains(newRoot, []byte(change[0])) {
			t.Fatalf("%s is not in the root", change[0])
		}
		newRoot = bytes.ReplaceAll(newRoot, []byte(change[0]), []byte(change[1]))
	}
	index := bytes.ReplaceAll(get(filepath.Join(dir, "index.json")), []byte(root.Digest), []byte(put(newRoot)))
	if err := os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestInterruptedTwice sends two signals to a command that can't end by itself: the second one ends it, as it ends any
// program. Where the machine is so busy that the grace is over before the second one arrives, it is tried again.
func TestInterruptedTwice(t *testing.T) {
	t.Parallel()
	for range 10 {
		cmd := exec.CommandContext(t.Context(), "ocicache", "inspect", killedCache, "--json")
		cmd.Stdout = fullPipe(t)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := waitFor(cmd)
		waitUntil(t, nil, ended, &bytes.Buffer{})
		for range 2 {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			time.Sleep(grace / 4) // two signals at once may count as one
		}
		<-ended
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGTERM {
			return
		}
		if status := cmd.ProcessState.ExitCode(); status != exitInterrupted {
			t.Fatalf("it ended with %v", cmd.ProcessState)
		}
	}
	t.Error("the second signal never ended it")
}

// TestHangup has a terminal go: that is an interruption, and none for what nohup runs.
func TestHangup(t *testing.T) {
	t.Parallel()
	for _, ignored := range []bool{false, true} {
		args := []string{"ocicache", "inspect", killedCache, "--json"}
		if ignored {
			args = append([]string{"sh", "-c", `trap "" HUP; exec "$@"`, "sh"}, args...)
		} else if signal.Ignored(syscall.SIGHUP) {
			continue // nor would it be heard then
		}
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = fullPipe(t), &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := waitFor(cmd)
		waitUntil(t, nil, ended, &bytes.Buffer{})
		for range 2 { // the shell of a terminal hangs up, and the kernel as well
			if err := cmd.Process.Signal(syscall.SIGHUP); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			time.Sleep(grace / 4)
		}
		if ignored {
			select {
			case <-ended:
				t.Errorf("a hangup that is ignored ended it with %v", cmd.ProcessState)
			case <-time.After(grace * 2):
			}
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
		<-ended
		if status := cmd.ProcessState.ExitCode(); status != exitInterrupted || !strings.Contains(said.String(), "interrupted; nothing was changed") {
			t.Errorf("ignored %v: status %d: %s", ignored, status, said.String())
		}
	}
}

// TestBrokenPipe has nobody read the result, or the messages. That ends the program, but never by a panic.
func TestBrokenPipe(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"ocicache inspect $CACHE --json | head -c 1",
		"ocicache inspect $CACHE --json 2>&1 | true",
		"ocicache verify $CACHE --progress json 2>&1 >/dev/null | head -c 1",
		"ocicache pack $CACHE - | head -c 1 | wc -c",
		"ocicache verify $CACHE 2>&-",
		"ocicache inspect $CACHE >&- 2>&-",
		"ocicache inspect $CACHE <&- >&-",
		"ocicache copy $CACHE $DIR/far --progress json 2>&- && ocicache verify $DIR/far",
		"ocicache inspect $CACHE --json >/dev/full",
		"ocicache verify $CACHE >/dev/full 2>/dev/full",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), "bash", "-c", "set -o pipefail; "+line)
			cmd.Env = append(os.Environ(), "CACHE="+killedCache, "DIR="+dir)
			out, err := cmd.CombinedOutput()
			const panicked = 2
			if cmd.ProcessState.ExitCode() == panicked || bytes.Contains(out, []byte("goroutine")) {
				t.Errorf("%v: %s", err, out)
			}
			if strings.Contains(line, "&&") && err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
