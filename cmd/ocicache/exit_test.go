package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

var unnamed = digest.FromString("unnamed")

// exitCases are the errors that a user can meet, with what the program makes of them.
var exitCases = []struct {
	name   string
	err    error
	status int
	hint   string // a part of it; "" means that there is none
}{
	{"anything", errors.New("no idea"), exitFailed, ""},
	{"usage", &usageError{errors.New("--to what?")}, exitUsage, ""},
	{"several caches", &layout.AmbiguousError{Place: "cache", Tags: []string{"a", "b"}}, exitUsage, "--tag TAG"},
	{"no such path", &places.NotThereError{Path: "nowhere"}, exitNotFound, ""},
	{"no such tag", &layout.NotFoundError{Place: "cache", Tag: "c", Tags: []string{"a"}}, exitNotFound, ""},
	{"no cache at all", &layout.NotFoundError{Place: "cache"}, exitNotFound, "nothing to export"},
	{"images only", &layout.NotFoundError{Place: "cache", Images: true}, exitNotFound, "--cache-to type=local"},
	{"inline cache", &layout.NotFoundError{Place: "cache", Images: true, Inline: true}, exitNotFound, "inline cache"},
	{
		"unnamed cache", &layout.NotFoundError{Place: "cache", Unnamed: []digest.Digest{unnamed}},
		exitNotFound, unnamed.String(),
	},
	{
		"dangling tag", &layout.DanglingError{Place: "cache", Unnamed: []digest.Digest{unnamed}},
		exitNotFound, "digest=" + unnamed.String(),
	},
	{"dangling tag, nothing there", &layout.DanglingError{Place: "cache"}, exitNotFound, "export the cache again"},
	{"no layout", fmt.Errorf("dir: %w", layout.ErrNotLayout), exitFailed, "--cache-to type=local"},
	{"no layout to read", &noCacheThereError{fmt.Errorf("dir: %w", layout.ErrNotLayout)}, exitNotFound, "--cache-to type=local"},
	{"not for estargz", &convert.EstargzError{Err: errors.New("odd")}, exitFailed, "--compression zstd"},
	{"not to be uncompressed", &convert.EmptyTarError{}, exitFailed, "--compression zstd"},
	{"locked", &layout.LockedError{Path: "cache.lock"}, exitLocked, "--lock-timeout"},
	{"tag moved", &layout.TagMovedError{Tag: "a"}, exitFailed, "run the command again"},
	{"tag of an image", &layout.TakenError{Tag: "a", Is: layout.KindImage, Want: layout.KindCache}, exitFailed, "use another tag in DST"},
	{"blob missing", &layout.BlobError{Err: layout.ErrBlobMissing}, exitFailed, "'ocicache repair SRC'"},
	{"blob cut short", &layout.BlobError{Err: layout.ErrBlobSize}, exitFailed, "'ocicache verify SRC'"},
	{"blob altered", &layout.BlobError{Err: layout.ErrBlobDamaged}, exitFailed, "'ocicache verify SRC'"},
	{"wrong diffID", &convert.DiffIDError{}, exitFailed, "verify SRC --deep"},
	{
		"no proof",
		&convert.ProofError{Problems: []buildcache.Problem{buildcache.NewProblem(buildcache.RootTooLarge, "root", "")}},
		exitFailed, "'ocicache prune SRC --fit'",
	},
	{"too large to read", &buildcache.SizeError{}, exitFailed, "mode=min"},
	{"blobs missing", &archive.MissingError{Archive: "a.tar"}, exitNotFound, "--base"},
	{"blobs missing in the base too", &archive.MissingError{Archive: "a.tar", Base: "b.tar"}, exitNotFound, "without --have"},
	{"names taken", &archive.ExistsError{Names: []string{"a.tar.001", "a.tar.002"}}, exitFailed, "use --overwrite"},
	{"name taken", &archive.ExistsError{Names: []string{"a.tar"}}, exitFailed, "use --overwrite"},
	{"names of others", &archive.ExistsError{Names: []string{"a.tar.001"}, Overwrite: true}, exitFailed, "choose another FILE"},
	{"file in the source", &archive.OccupiedError{File: "a.tar", Place: "a"}, exitUsage, ""},
	{"volumes missing", &archive.VolumesError{File: "a.tar"}, exitNotFound, ""},
	{"tag of a cache", &layout.TakenError{Tag: "a", Is: layout.KindCache, Want: layout.KindImage}, exitFailed, "another DIR"},
	{"tag of a cache, for an index", &layout.TakenError{Tag: "a", Is: layout.KindCache, Want: layout.KindIndex}, exitFailed, "another DIR"},
	{"archive refused", &archive.HostileError{Entry: "link", Err: errors.New("a symbolic link")}, exitFailed, ""},
	{"archive cut off", &archive.HostileError{Err: archive.ErrTruncated}, exitFailed, "copy the archive again"},
	{"archive damaged", &archive.HostileError{Err: fmt.Errorf("%w: no entry", archive.ErrDamaged)}, exitFailed, "copy the archive again"},
	{"name of a volume", &archive.NameError{Path: "a.001", Is: "a volume", Of: "a"}, exitUsage, ""},
	{"receipt in the place of something", &archive.ReceiptTakenError{Path: "a", Names: []string{"a"}}, exitFailed, "replace an older receipt"},
	{"bomb", &archive.HostileError{Err: archive.ErrTooLarge}, exitFailed, "unpack - DIR"},
	{"compressed archive", &archive.StreamError{File: "FILE"}, exitFailed, "'ocicache unpack FILE DIR'"},
	{"changed receipt", archive.ErrReceipt, exitFailed, "--receipt"},
	{"disk full", &layout.BlobError{Err: syscall.ENOSPC}, exitFailed, "disk is full"},
	{"disk full before the tag moved", unpublished(&layout.BlobError{Err: syscall.ENOSPC}), exitFailed, "nothing was published, so free some space"},
	{"disk full, perhaps after that", unpublished(&fs.PathError{Op: "sync", Path: "d", Err: syscall.ENOSPC}), exitFailed, "everything published so far is complete"},
	{"disk full of an archive", &archive.FullError{Need: 5e9, Err: syscall.ENOSPC}, exitFailed, "nothing was published, and the archive takes 5.0 GB"},
	{"disk full before that is known", &archive.FullError{Err: syscall.EDQUOT}, exitFailed, "nothing was published; free some space"},
	{"no room", &layout.RoomError{Path: "far", Need: 5e9, Free: 2e6}, exitFailed, "5.0 GB needed, 2.0 MB free"},
	{"quota used up", &fs.PathError{Op: "write", Path: "f", Err: syscall.EDQUOT}, exitFailed, "disk is full"},
	{"no permission", &fs.PathError{Op: "open", Path: "f", Err: syscall.EACCES}, exitFailed, "permission"},
	{"read-only", &fs.PathError{Op: "open", Path: "f", Err: syscall.EROFS}, exitFailed, "the file system is read-only"},
}

// TestExit looks at status, error and hint of every failure, as it is and wrapped twice over.
func TestExit(t *testing.T) {
	t.Parallel()
	for _, failure := range exitCases {
		for _, err := range []error{
			failure.err, fmt.Errorf("convert: %w", failure.err), errors.Join(fmt.Errorf("one: %w", failure.err), errors.New("two")),
		} {
			t.Run(failure.name, func(t *testing.T) {
				t.Parallel()
				var stdout, stderr bytes.Buffer
				a := &app{stdout: &stdout, stderr: &stderr}
				if got := a.exit(t.Context(), err); got != failure.status {
					t.Errorf("status %d, want %d", got, failure.status)
				}
				if stdout.Len() > 0 {
					t.Errorf("an error on standard output: %s", stdout.String())
				}
				said, advice, _ := strings.Cut(stderr.String(), "ocicache: hint: ")
				if said != "ocicache: error: "+strings.ReplaceAll(err.Error(), "\ntwo", "\n  two")+"\n" {
					t.Errorf("said %q", said)
				}
				if failure.hint == "" && advice != "" || !strings.Contains(advice, failure.hint) {
					t.Errorf("hint %q, want %q", advice, failure.hint)
				}
			})
		}
	}
}

// TestExitSilent looks at the ends about which there is no more to say.
func TestExitSilent(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	a := &app{stderr: &stderr}
	if got := a.exit(t.Context(), nil); got != exitDone {
		t.Errorf("no error: status %d", got)
	}
	if got := a.exit(t.Context(), errFound); got != exitFound {
		t.Errorf("problems found: status %d", got)
	}
	gone := &fs.PathError{Op: "write", Path: os.Stdout.Name(), Err: syscall.EPIPE}
	for _, err := range []error{&outputError{gone}, fmt.Errorf("write the archive: %w", errors.Join(gone, errors.New("more")))} {
		if got := a.exit(t.Context(), err); got != exitPipe {
			t.Errorf("nobody reads: status %d", got)
		}
	}
	if stderr.Len() > 0 {
		t.Errorf("said %q", stderr.String())
	}
	if got := a.exit(t.Context(), &fs.PathError{Op: "write", Path: "socket", Err: syscall.EPIPE}); got != exitFailed || stderr.Len() == 0 {
		t.Errorf("another pipe: status %d", got)
	}
}

// TestExitCancelled says that after a signal whatever failed is an interruption, and without one nothing is.
func TestExitCancelled(t *testing.T) {
	t.Parallel()
	cancelled := fmt.Errorf("read: %w", context.Canceled)
	a := &app{stderr: new(bytes.Buffer)}
	if got := a.exit(t.Context(), cancelled); got != exitFailed {
		t.Errorf("without a signal: status %d", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range []error{cancelled, errors.New("short read")} {
		if got := a.exit(ctx, err); got != exitInterrupted {
			t.Errorf("after a signal, %v: status %d", err, got)
		}
	}
	if got := a.exit(ctx, nil); got != exitDone {
		t.Errorf("done before the signal: status %d", got)
	}
}

// TestInterrupt sends the signal of Ctrl-C to a conversion that waits for a lock. It is not parallel, because the
// signal is for the whole process.
func TestInterrupt(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(corpus, "docker-list-gzip"))); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "cache.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Close() }()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}

	wantInterrupted(t, "convert", dir, "--to", "artifact", "--lock-timeout", "10m")
	after, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("index.json changed: %v", err)
	}
}

// TestInterruptFIFO is about an archive that nobody begins to write.
func TestInterruptFIFO(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	wantInterrupted(t, "unpack", fifo, filepath.Join(dir, "far"))
	wantInterrupted(t, "unpack", fifo, filepath.Join(dir, "far"), "--receipt", filepath.Join(dir, "receipt"))
}

// wantInterrupted runs a command that waits for something, and sends signals until it ends.
func wantInterrupted(t *testing.T, args ...string) {
	t.Helper()
	// Keeps a signal that comes too early, or after the end of this test, from ending all tests. So it is never stopped.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	var stdout, stderr bytes.Buffer
	status := make(chan int)
	go func() { status <- run(args, &stdout, &stderr) }()
	interrupt := time.NewTicker(10 * time.Millisecond)
	defer interrupt.Stop()
	for {
		select {
		case got := <-status:
			if got != exitInterrupted || stdout.Len() > 0 || !strings.HasPrefix(stderr.String(), "ocicache: error: interrupted") {
				t.Errorf("status %d, standard output %q, standard error %q", got, stdout.String(), stderr.String())
			}
			return
		case <-interrupt.C:
			if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestColonHint(t *testing.T) {
	t.Parallel()
	if got := (&app{}).hint(&places.NotThereError{Path: "x:v1", Meant: "oci:x:v1"}); !strings.HasSuffix(got, "did you mean oci:x:v1?") {
		t.Errorf("got %q", got)
	}
	if got := (&app{}).hint(&places.NotThereError{Path: "x:v1"}); got != "" {
		t.Errorf("nothing was meant, and yet %q", got)
	}
}

func TestFullDiskHint(t *testing.T) {
	t.Parallel()
	for failed, want := range map[int]string{1: "the caches that are not among those that failed are complete", 2: "all caches failed"} {
		errs := slices.Repeat([]error{&layout.BlobError{Err: syscall.ENOSPC}}, failed)
		if got := (&app{}).hint(&convert.SyncError{Failed: failed, Of: 2, Errs: errs}); !strings.Contains(got, want) {
			t.Errorf("%d of 2 failed: %q", failed, got)
		}
	}
}
