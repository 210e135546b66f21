package layout_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// atOnce are options of somebody who does not wait for locks.
var atOnce = layout.Options{LockTimeout: -1}

func openWith(t *testing.T, path string, options layout.Options) *layout.Dir {
	t.Helper()
	dir, err := layout.Open(path, options)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// wantLocked wants a *LockedError about a file, which names the process that holds it.
func wantLocked(t *testing.T, err error, path string, holder *process) {
	t.Helper()
	var locked *layout.LockedError
	if !errors.As(err, &locked) {
		t.Fatalf("got %v, want a *LockedError", err)
	}
	if locked.Path != path {
		t.Errorf("it is about %s, want %s", locked.Path, path)
	}
	want := fmt.Sprintf("process %d (", holder.cmd.Process.Pid)
	if !strings.HasPrefix(locked.Holder, want) || !strings.Contains(err.Error(), path+" is locked by "+want) {
		t.Errorf("%q with the holder %q, want one with %q", err, locked.Holder, want)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		held string // how another process holds cache.lock
		free bool
	}{
		{"shared", true}, // by another writer
		{"exclusive", false},
	} {
		t.Run(test.held, func(t *testing.T) {
			t.Parallel()
			path := byHand(t).path
			lockPath := filepath.Join(path, "cache.lock")
			holder := start(t, "hold", lockPath, test.held)
			unlock, err := openWith(t, path, atOnce).Lock(t.Context())
			if test.free {
				if err != nil {
					t.Fatal(err)
				}
			} else {
				wantLocked(t, err, lockPath, holder)
				_, err = openWith(t, path, layout.Options{LockTimeout: 30 * time.Millisecond}).Lock(t.Context())
				wantLocked(t, err, lockPath, holder)

				// Who waits gets it as soon as it is free.
				got := make(chan error, 1)
				go func() {
					var err error
					unlock, err = open(t, path).Lock(t.Context())
					got <- err
				}()
				holder.kill(t)
				if err := <-got; err != nil {
					t.Fatal(err)
				}
			}
			deleter, err := os.OpenFile(lockPath, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer deleter.Close()
			if err := tryLock(deleter, true); !errors.Is(err, syscall.EWOULDBLOCK) {
				t.Errorf("beside a writer one can delete: %v", err)
			}
			if err := unlock(); err != nil {
				t.Fatal(err)
			}
			if test.free {
				holder.finish(t)
			}
			if err := tryLock(deleter, true); err != nil {
				t.Errorf("after the writer: %v", err)
			}
			if !names(lockPath, deleter) {
				t.Error("cache.lock did not stay, so that two processes could lock two files")
			}
		})
	}
}

func TestLockGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	path := byHand(t).path
	holder := start(t, "hold", filepath.Join(path, "cache.lock"), "exclusive")
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	cancel(interrupted)
	_, err := open(t, path).Lock(ctx)
	if !errors.Is(err, interrupted) || !strings.Contains(err.Error(), "cache.lock") {
		t.Errorf("got %v", err)
	}
	holder.finish(t)
}

// A lock that somebody has removed from under its holder keeps nobody out: the path names another file by now.
func TestLockOfRemovedFile(t *testing.T) {
	t.Parallel()
	path := byHand(t).path
	lockPath := filepath.Join(path, "index.json.lock")
	holder := start(t, "hold", lockPath, "exclusive")
	if err := os.Remove(lockPath); err != nil {
		t.Fatal(err)
	}
	root, _ := bytesOf("root")
	if err := openWith(t, path, atOnce).Tag(t.Context(), "latest", root, ""); err != nil {
		t.Error(err)
	}
	holder.finish(t)
	wantNoTemporary(t, path)
}

func TestLockRemovesLeftovers(t *testing.T) {
	t.Parallel()
	path := byHand(t).path
	dead, live := start(t, "crash", path), start(t, "crash", path)
	dead.kill(t)
	dir := open(t, path)
	if left, err := dir.Leftovers(); err != nil || len(left) != 2 {
		t.Errorf("leftovers %q (%v), want those of two writers", left, err)
	}
	unlock, err := dir.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if left, err := dir.Leftovers(); err != nil || len(left) != 1 {
		t.Errorf("leftovers %q (%v), want only that of the writer that lives", left, err)
	}
	live.finish(t)
	if has, err := dir.Has(t.Context(), buildcache.Descriptor{Digest: digest.FromString("half"), Size: 4}); err != nil || !has {
		t.Errorf("the living writer's blob: %v %v", has, err)
	}
	wantNoTemporary(t, path)
}

// Both ways in which BuildKit holds index.json.lock stop a writer: writing, and reading.
func TestIndexLockHeld(t *testing.T) {
	t.Parallel()
	for _, held := range []string{"exclusive", "shared"} {
		t.Run(held, func(t *testing.T) {
			t.Parallel()
			h := byHand(t)
			root := h.cache("a")
			before := layouttest.Tree(t, h.path)
			lockPath := filepath.Join(h.path, "index.json.lock")
			holder := start(t, "hold", lockPath, held)
			err := openWith(t, h.path, atOnce).Tag(t.Context(), "latest", root, "")
			wantLocked(t, err, lockPath, holder)
			layouttest.WantTree(t, h.path, before, ".", ".ocicache", "index.json.lock")
			holder.kill(t) // leaves the file, but not the lock
			if err := openWith(t, h.path, atOnce).Tag(t.Context(), "latest", root, ""); err != nil {
				t.Fatal(err)
			}
			wantNoTemporary(t, h.path)
			if entry, err := layout.OneCache(t.Context(), h.open(), "latest"); err != nil || entry.Descriptor.Digest != root.Digest {
				t.Errorf("%v %v", entry, err)
			}
		})
	}
}

// BuildKit does not wait for index.json.lock, so it must not be held while something waits for a disk.
func TestIndexLockIsHeldBriefly(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	lockPath := filepath.Join(h.path, "index.json.lock")
	var renamed, others int
	dir := h.open()
	ctx := durable.WithFault(t.Context(), func(op durable.Op, path string) error {
		lock, err := os.OpenFile(lockPath, os.O_RDONLY, 0)
		held := err == nil && errors.Is(tryLock(lock, false), syscall.EWOULDBLOCK)
		_ = lock.Close()
		if op == durable.OpRename && filepath.Base(path) == "index.json" {
			renamed++
			if !held {
				t.Errorf("index.json is replaced without its lock (%v)", err)
			}
			return nil
		}
		others++
		if held && op != durable.OpOpen { // index.json is looked at once more
			t.Errorf("index.json.lock is held at %s of %s", op, path)
		}
		return nil
	})
	root, _ := bytesOf("root")
	if err := dir.Tag(ctx, "latest", root, ""); err != nil {
		t.Fatal(err)
	}
	if renamed != 1 || others < 4 {
		t.Errorf("%d renames and %d other operations", renamed, others)
	}
}

// Who prepares a new index.json while BuildKit writes it must take in what BuildKit wrote.
func TestTagKeepsWhatOthersWriteMeanwhile(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	root := h.cache("ours")
	meanwhile := 0
	dir := h.open()
	ctx := durable.WithFault(t.Context(), func(op durable.Op, _ string) error {
		if op != durable.OpSync || meanwhile == 3 {
			return nil
		}
		meanwhile++
		_, err := putAsBuildKit(h.path, fmt.Sprint("theirs", meanwhile), digest.FromString("theirs"))
		return err
	})
	if err := dir.Tag(ctx, "ours", root, ""); err != nil {
		t.Fatal(err)
	}
	entries, err := dir.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var tags []string
	for _, entry := range entries {
		tags = append(tags, entry.Tag)
	}
	if got := strings.Join(tags, " "); got != "theirs1 theirs2 theirs3 ours" {
		t.Errorf("tags %q", got)
	}
}

func TestTagGivesUpAgainstAnEndlessWriter(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	root, writes := h.cache("ours"), 0
	dir := h.open()
	ctx := durable.WithFault(t.Context(), func(op durable.Op, _ string) error {
		if op != durable.OpSync {
			return nil
		}
		writes++
		_, err := putAsBuildKit(h.path, "theirs", digest.FromString(strconv.Itoa(writes)))
		return err
	})
	var locked *layout.LockedError
	if err := dir.Tag(ctx, "ours", root, ""); !errors.As(err, &locked) {
		t.Fatalf("got %v, want a *LockedError", err)
	}
	entries, err := dir.Entries(t.Context())
	if err != nil || len(entries) != 1 || entries[0].Descriptor.Digest != digest.FromString(strconv.Itoa(writes)) {
		t.Errorf("%v (%v), want BuildKit's last write", entries, err)
	}
	wantNoTemporary(t, h.path)
}

// rivalsVariable says how many processes write at once, instead of a few.
const rivalsVariable = "OCICACHE_TEST_RIVALS"

func rivals(t *testing.T) int {
	t.Helper()
	text := os.Getenv(rivalsVariable)
	if text == "" {
		return 32
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", rivalsVariable, err)
	}
	return n
}

// Many processes make one layout at once, and tag at once. Nothing may be lost.
func TestWritersMakeOneLayout(t *testing.T) {
	t.Parallel()
	writers, tags := rivals(t), 1
	path := filepath.Join(t.TempDir(), "layout")
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() { run(t, "writer", path, writerPrefix(w), strconv.Itoa(tags)) })
	}
	group.Wait()
	wantTags(t, path, writerTags(writers, tags), nil)
}

// The same beside a BuildKit, which does not wait for locks, writes in place, and removes the lock's file after it has
// unlocked it.
func TestWritersBesideBuildKit(t *testing.T) {
	t.Parallel()
	writers, tags := rivals(t), 2
	dir := layouttest.Create(t)
	buildKit := start(t, "buildkit", dir.String(), "buildkit-")
	var group sync.WaitGroup
	tries := make([]string, writers)
	for w := range writers {
		group.Go(func() {
			tries[w] = strings.TrimSpace(run(t, "writer", dir.String(), writerPrefix(w), strconv.Itoa(tags)))
		})
	}
	group.Wait()
	said := strings.Fields(buildKit.finish(t))
	exports, err := strconv.Atoi(said[0])
	if err != nil {
		t.Fatal(err)
	}
	unsure := map[string]bool{}
	for _, tag := range said[3:] {
		unsure[tag] = true
	}
	want := writerTags(writers, tags)
	for i := range exports {
		tag := fmt.Sprint("buildkit-", i)
		want[tag] = digest.FromString(tag)
	}
	lost := wantTags(t, dir.String(), want, unsure)
	t.Logf("beside %d tags of ours BuildKit exported %d times; of the half that came right behind one of ours %s found "+
		"index.json.lock held, of the other half %s; %d ran into BuildKit's own race, which lost %d of their tags; our "+
		"writers tried at most %s times", writers*tags, exports, said[1], said[2], len(unsure), lost, strings.Join(tries, ", "))
}

func writerPrefix(w int) string { return fmt.Sprintf("writer%d-", w) }

func writerTags(writers, tags int) map[string]digest.Digest {
	want := map[string]digest.Digest{}
	for w := range writers {
		for i := range tags {
			tag := writerPrefix(w) + strconv.Itoa(i)
			want[tag] = digest.FromString(tag)
		}
	}
	return want
}

// wantTags wants the tags of a layout to be just these, but for the unsure ones, which may be missing: it returns how
// many of those are.
func wantTags(t *testing.T, path string, want map[string]digest.Digest, unsure map[string]bool) (lost int) {
	t.Helper()
	dir := open(t, path)
	entries, err := dir.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]digest.Digest{}
	for _, entry := range entries {
		if got[entry.Tag] != "" {
			t.Errorf("the tag %q is there twice", entry.Tag)
		}
		got[entry.Tag] = entry.Descriptor.Digest
	}
	for tag, root := range want {
		switch {
		case got[tag] == root:
		case got[tag] == "" && unsure[tag]:
			lost++
		default:
			t.Errorf("tag %q: want %s, got %q", tag, root, got[tag])
		}
	}
	if len(got)+lost != len(want) {
		t.Errorf("%d tags, want %d", len(got), len(want))
	}
	wantNoTemporary(t, path)
	var layoutFile struct {
		Version string `json:"imageLayoutVersion"`
	}
	raw, err := os.ReadFile(filepath.Join(path, "oci-layout"))
	if err != nil || json.Unmarshal(raw, &layoutFile) != nil || layoutFile.Version != "1.0.0" {
		t.Errorf("oci-layout: %q %v", raw, err)
	}
	return lost
}

// Goroutines of one process are kept apart as processes are.
func TestTagConcurrently(t *testing.T) {
	t.Parallel()
	dir := layouttest.Create(t)
	want := writerTags(12, 4)
	var group sync.WaitGroup
	for tag, root := range want {
		group.Go(func() {
			if err := dir.Tag(t.Context(), tag, buildcache.Descriptor{Digest: root, Size: 1}, ""); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	unlock, err := dir.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	wantTags(t, dir.String(), want, nil)
}

// Locks that can't be told from others' files are refused, and never followed to where they point.
func TestLockIsASymbolicLink(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	outside := filepath.Join(t.TempDir(), "outside")
	for _, name := range []string{"cache.lock", "index.json.lock"} {
		if err := os.Symlink(outside, filepath.Join(h.path, name)); err != nil {
			t.Fatal(err)
		}
	}
	dir := openWith(t, h.path, atOnce)
	if _, err := dir.Lock(t.Context()); err == nil {
		t.Error("cache.lock was locked through a symbolic link")
	}
	root, _ := bytesOf("root")
	if err := dir.Tag(t.Context(), "latest", root, ""); err == nil {
		t.Error("index.json.lock was locked through a symbolic link")
	}
	if _, err := os.Stat(outside); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was made outside the layout (%v)", err)
	}
}
