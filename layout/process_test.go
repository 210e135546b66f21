package layout_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/layout"
)

// roleVariable makes the test binary play another process instead of running tests.
const roleVariable = "OCICACHE_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := play(role, os.Args[1:]); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(quicktest.Of(m).Run())
}

func play(role string, args []string) error {
	switch role {
	case "hold":
		return playHolder(args[0], args[1] == "exclusive")
	case "writer":
		return playWriter(args[0], args[1], args[2])
	case "buildkit":
		return playBuildKit(args[0], args[1])
	case "crash":
		return playCrash(args[0])
	case "reader":
		return playReader(args[0])
	}
	return errors.New("unknown role")
}

// sayAndWait tells the test that the first half is done, and waits for it to close standard input.
func sayAndWait(words ...any) error {
	fmt.Println(words...)
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// tryLock takes a flock as any process might. It fails with syscall.EWOULDBLOCK where that is held.
func tryLock(file *os.File, exclusive bool) error {
	how := syscall.LOCK_SH
	if exclusive {
		how = syscall.LOCK_EX
	}
	return syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB)
}

// names reports whether a path names an open file.
func names(path string, file *os.File) bool {
	opened, errOpened := file.Stat()
	named, errNamed := os.Lstat(path)
	return errors.Join(errOpened, errNamed) == nil && os.SameFile(opened, named)
}

// playHolder holds a lock as any process might.
func playHolder(path string, exclusive bool) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := tryLock(file, exclusive); err != nil {
		return err
	}
	return sayAndWait("locked")
}

// playWriter stores and tags some blobs, as a conversion does at its end. It makes the layout if it is not there. It says
// how often it had to try at most until a tag was set.
func playWriter(path, prefix, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	tries, most := 0, 0
	ctx := durable.WithFault(context.Background(), func(op durable.Op, path string) error {
		if op == durable.OpSync && filepath.Base(filepath.Dir(path)) == ".ocicache" {
			tries++
		}
		return nil
	})
	for i := range n {
		dir, err := layout.Create(ctx, path, layout.Options{})
		if err != nil {
			return err
		}
		unlock, err := dir.Lock(ctx)
		if err != nil {
			return err
		}
		root, bytes := bytesOf(prefix + strconv.Itoa(i))
		if err := dir.Put(ctx, root, bytes); err != nil {
			return err
		}
		tries = 0
		if err := dir.Tag(ctx, prefix+strconv.Itoa(i), root, ""); err != nil {
			return err
		}
		most = max(most, tries)
		if err := unlock(); err != nil {
			return err
		}
	}
	fmt.Println(most)
	return nil
}

// playBuildKit exports a cache each time that somebody else has changed index.json, until standard input ends, and tags
// it as BuildKit v0.34.2 does, trying again where BuildKit would fail its build. Every second time it does so at once,
// while the other still holds the lock, else a little later, when only chance can have the lock held.
//
// In the end it says how many it exported, how many of the later ones found the lock held, and which tags it set while
// its own lock did not count: BuildKit opens index.json.lock, then locks it, and does not look whether the path still
// names what it has locked, so that a process that removes the file in between leaves it without a lock. No other
// process can help that.
func playBuildKit(path, prefix string) error {
	exports, heldAtOnce, held := 0, 0, 0
	var unsure []string
	export := func() (done bool, err error) {
		tag := prefix + strconv.Itoa(exports)
		counts, err := putAsBuildKit(path, tag, digest.FromString(tag))
		switch {
		case errors.Is(err, errBuildKitLocked):
			return false, nil
		case err != nil:
			return false, err
		case !counts:
			unsure = append(unsure, tag)
		}
		exports++
		return true, nil
	}
	if _, err := export(); err != nil {
		return err
	}
	fmt.Println("exporting")
	end := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		end <- err
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	index := filepath.Join(path, "index.json")
	mine, err := os.Stat(index)
	for err == nil {
		var now os.FileInfo
		now, err = os.Stat(index)
		if err == nil && os.SameFile(mine, now) { // others replace the file; BuildKit writes in place
			select {
			case err := <-end:
				fmt.Println(exports, heldAtOnce, held, strings.Join(unsure, " "))
				return err
			case <-tick.C:
			}
			continue
		}
		atOnce := exports%2 == 0
		for try, done := 0, false; err == nil && !done; try++ {
			if !atOnce || try > 0 {
				<-tick.C
			}
			if done, err = export(); !done && try == 0 {
				if atOnce {
					heldAtOnce++
				} else {
					held++
				}
			}
		}
		if err == nil {
			mine, err = os.Stat(index)
		}
	}
	return err
}

var errBuildKitLocked = errors.New("could not lock")

// putAsBuildKit does what client/ociindex.StoreIndex.Put of BuildKit v0.34.2 does, system call by system call, and says
// whether its lock counted from the beginning to the end.
func putAsBuildKit(path, tag string, root digest.Digest) (counts bool, err error) {
	lockPath := filepath.Join(path, "index.json.lock")
	lock, err := os.OpenFile(lockPath, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return false, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return false, errors.Join(errBuildKitLocked, lock.Close())
	}
	defer func() {
		counts = names(lockPath, lock)
		err = errors.Join(err, syscall.Flock(int(lock.Fd()), syscall.LOCK_UN), lock.Close(), os.RemoveAll(lockPath))
	}()
	if err := os.WriteFile(filepath.Join(path, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644); err != nil {
		return false, err
	}
	file, err := os.OpenFile(filepath.Join(path, "index.json"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	raw, err := io.ReadAll(file)
	if err != nil {
		return false, err
	}
	var index ocispec.Index
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &index); err != nil {
			return false, fmt.Errorf("could not unmarshal %q: %w", raw, err)
		}
	}
	index.SchemaVersion, index.MediaType = 2, ocispec.MediaTypeImageIndex
	var others []ocispec.Descriptor
	for _, m := range index.Manifests {
		if m.Annotations[ocispec.AnnotationRefName] != tag {
			others = append(others, m)
		}
	}
	index.Manifests = append(others, ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: root, Size: 1,
		Annotations: map[string]string{ocispec.AnnotationRefName: tag},
	})
	if raw, err = json.Marshal(index); err != nil {
		return false, err
	}
	if _, err := file.WriteAt(raw, 0); err != nil {
		return false, err
	}
	return false, file.Truncate(int64(len(raw)))
}

// playCrash begins to write a blob, and waits for its death.
func playCrash(path string) error {
	dir, err := layout.Open(path, layout.Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if _, err := dir.Lock(ctx); err != nil {
		return err
	}
	_, err = dir.Ingest(ctx, func(w io.Writer) error {
		if _, err := w.Write([]byte("half")); err != nil {
			return err
		}
		return sayAndWait("writing")
	})
	return err
}

// playReader does everything that a reader can do, as a user who may write nothing, and fails to write.
func playReader(path string) error {
	ctx := context.Background()
	dir, err := layout.Open(path, layout.Options{})
	if err != nil {
		return err
	}
	entry, err := layout.OneCache(ctx, dir, "")
	if err != nil {
		return err
	}
	cache, err := layout.Load(ctx, dir, entry)
	if err != nil {
		return err
	}
	for _, layer := range cache.Root.Layers {
		if _, err := layout.ReadBlob(ctx, dir, layer, 1<<20); err != nil {
			return err
		}
	}
	if _, err := layout.Reach(ctx, dir); err != nil {
		return err
	}
	if _, err := dir.UnnamedRoots(ctx); err != nil {
		return err
	}
	if _, err := dir.Leftovers(); err != nil {
		return err
	}
	if _, err := dir.Recall(ctx); err != nil {
		return err
	}
	if _, err := layout.Create(ctx, path, layout.Options{}); err != nil {
		return fmt.Errorf("to open what is there needs no writing: %w", err)
	}
	root, bytes := bytesOf("new")
	_, lockErr := dir.Lock(ctx)
	_, ingestErr := dir.Ingest(ctx, func(io.Writer) error { return nil })
	for what, err := range map[string]error{
		"lock": lockErr, "put": dir.Put(ctx, root, bytes), "ingest": ingestErr, "tag": dir.Tag(ctx, "new", root, ""),
	} {
		if !errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("%s: want no permission, got %w", what, err)
		}
	}
	return nil
}

// process is another process that has done the first half of its role.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	said  *bufio.Scanner
}

func command(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	return cmd
}

// run lets another process play a role to its end, and returns what it said.
func run(t *testing.T, role string, args ...string) string {
	t.Helper()
	cmd := command(t, role, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s: %v: %s", role, err, stderr.String())
	}
	return string(out)
}

// start lets another process play the first half of a role.
func start(t *testing.T, role string, args ...string) *process {
	t.Helper()
	cmd := command(t, role, args...)
	cmd.Stderr = os.Stderr
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
	said := bufio.NewScanner(stdout)
	if !said.Scan() {
		t.Fatalf("%s says nothing: %v", role, cmd.Wait())
	}
	return &process{cmd: cmd, stdin: stdin, said: said}
}

// finish lets the process do its second half, and returns the last line of what it said.
func (p *process) finish(t *testing.T) string {
	t.Helper()
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	var last string
	for p.said.Scan() {
		last = p.said.Text()
	}
	if err := p.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return last
}

// kill ends the process as a crash would.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // fails, for the process was killed
}
