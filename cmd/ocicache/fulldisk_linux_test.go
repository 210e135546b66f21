package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/quicktest"
)

// roomy is the size of a disk where there is room, in bytes.
const roomy = 64 << 20

// diskIsFull is what goes wrong in TestFullDisk.
var diskIsFull = faultKind{name: "a disk that is really full", seam: files, err: syscall.ENOSPC}

// TestFullDisk runs every command that writes files on a file system that has a little more room each time, until it is
// enough. What it looks at is what TestFaults looks at.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if !layouttest.WithMounts(t) {
		return
	}
	loop := newFaultLoop(t)
	refusals, commands, seen := 0, 0, map[string]bool{}
	for at, command := range faultCommands {
		if slices.Contains(command.lacks, diskFull) {
			continue
		}
		word, _, _ := strings.Cut(command.line, " ")
		if loop.step == 0 && seen[word] && (at+2)%3 >= quicktest.Rounds(1, 3) { // the first with each word, and some of the others
			continue
		}
		seen[word] = true
		commands++
		t.Run(command.name, func(t *testing.T) {
			c := newFaultCase(t, loop, command, at)
			c.where = t.TempDir()
			layouttest.Mount(t, c.where, roomy)
			refused := c.fill(t)
			if refused == 0 {
				t.Error("the disk was never full")
			}
			refusals += refused
		})
	}
	t.Logf("full disk: %d commands were refused %d times and survived that", commands, refusals)
}

// fill runs the command with more and more room, and returns how often it was not enough.
func (c *faultCase) fill(t *testing.T) (refused int) {
	t.Helper()
	steps := int64(2)
	if c.loop.step > 0 {
		steps = 24
	}
	step := max(c.needs(t)/steps, 1)
	for spare := int64(0); !t.Failed(); spare += step {
		tr := c.trial(t)
		layouttest.Resize(t, c.where, layouttest.Used(t, c.where)+spare)
		got := tr.do(t.Context(), nil, c.line)
		in := &injector{kind: diskIsFull, n: refused + 1, fired: got.status != exitDone, op: "disk", what: tr.dir}
		may := c.crashed
		if got.status == exitDone {
			may = ""
		}
		now := stateOf(t, tr, in.String(), may)
		c.judge(t, tr, in, got, now)
		if !c.mends || !in.fired {
			c.verify(t, tr, in.String(), now)
		}
		layouttest.Resize(t, c.where, roomy)
		if in.fired {
			refused++
			c.again(t, tr, in.String())
		}
		if err := os.RemoveAll(tr.dir); err != nil {
			t.Fatal(err)
		}
		if !in.fired {
			break
		}
	}
	return refused
}

// needs returns how much the disk holds more after the command, in bytes, at least.
func (c *faultCase) needs(t *testing.T) int64 {
	t.Helper()
	tr := c.trial(t)
	before := layouttest.Used(t, c.where)
	if got := tr.do(t.Context(), nil, c.line); got.status != exitDone {
		t.Fatalf("status %d, %s", got.status, got.stderr)
	}
	added := layouttest.Used(t, c.where) - before
	if err := os.RemoveAll(tr.dir); err != nil {
		t.Fatal(err)
	}
	return max(added, 64<<10)
}

// TestRoom says that what is known not to fit is refused before anything is written, with what is needed and what is free.
func TestRoom(t *testing.T) {
	t.Parallel()
	if !layouttest.WithMounts(t) {
		return
	}
	where := t.TempDir()
	layouttest.Mount(t, where, 64<<10)
	archived := filepath.Join(t.TempDir(), "cache.tar")
	cache := filepath.Join(corpus, "artifact-gzip")
	if status := run([]string{"pack", cache, archived}, io.Discard, io.Discard); status != exitDone {
		t.Fatal("no archive")
	}
	for name, args := range map[string][]string{
		"copy":      {"copy", cache, filepath.Join(where, "further", "down", "copied")},
		"converted": {"convert", cache, filepath.Join(where, "converted"), "--to", "oci-index"},
		"sync":      {"sync", cache, filepath.Join(where, "synced")},
		"pack":      {"pack", cache, filepath.Join(where, "cache.tar")},
		"unpack":    {"unpack", archived, filepath.Join(where, "unpacked")},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			status := run(args, &stdout, &stderr)
			said := stdout.String() + stderr.String()
			if status != exitFailed || !regexp.MustCompile(`no space left on device: \d{5,6} bytes needed, \d{4,5} free`).MatchString(said) {
				t.Errorf("status %d: %s", status, said)
			}
			if left, err := os.ReadDir(where); err != nil || len(left) > 0 {
				t.Errorf("this is left: %v, %v", left, err)
			}
			stdout.Reset()
			if status := run(append(args, "--dry-run"), &stdout, io.Discard); status != exitDone || !strings.Contains(stdout.String(), "not enough space: ") {
				t.Errorf("dry run, status %d: %s", status, &stdout)
			}
		})
	}
}

// TestRoomForVolumes says that recovery volumes and the list of volumes count as well.
func TestRoomForVolumes(t *testing.T) {
	t.Parallel()
	if !layouttest.WithMounts(t) {
		return
	}
	where := t.TempDir()
	layouttest.Mount(t, where, 240<<10) // the archive has 120 kB, each of its volumes 40 kB
	args := []string{"pack", filepath.Join(corpus, "artifact-gzip"), filepath.Join(where, "c"), "--volume-size", "40KB", "--parity", "3"}
	var stdout, stderr bytes.Buffer
	if status := run(append(args, "--dry-run"), &stdout, io.Discard); status != exitDone || strings.Contains(stdout.String(), "not enough space: ") {
		t.Errorf("room for all, status %d: %s", status, &stdout)
	}
	layouttest.Resize(t, where, 200<<10)
	status := run(args, io.Discard, &stderr)
	if said := stderr.String(); status != exitFailed || !strings.Contains(said, "hint: 244 kB needed, 201 kB free; nothing was written") {
		t.Errorf("status %d: %s", status, said)
	}
	if left, err := os.ReadDir(where); err != nil || len(left) > 0 {
		t.Errorf("this is left: %v, %v", left, err)
	}
}

// TestFullWhilePacking says of what did not fit although it seemed to that nothing was packed, and how much it comes to.
func TestFullWhilePacking(t *testing.T) {
	t.Parallel()
	if !layouttest.WithMounts(t) {
		return
	}
	where := t.TempDir()
	layouttest.Mount(t, where, 140<<10)
	var stderr bytes.Buffer
	args := []string{"pack", filepath.Join(corpus, "artifact-gzip"), filepath.Join(where, "c"), "--volume-size", "5KB"} // which take 8 KiB each
	if status := run(args, io.Discard, &stderr); status != exitFailed {
		t.Errorf("status %d", status)
	}
	if said := stderr.String(); !strings.Contains(said, "hint: the disk is full; nothing was packed, and the archive takes 122 kB; free some space and run it again") {
		t.Errorf("it said: %s", said)
	}
	if left, err := os.ReadDir(where); err != nil || len(left) > 0 {
		t.Errorf("this is left: %v, %v", left, err)
	}
}

// TestRoomForSome says of a sync that had room for some of its caches what was not written.
func TestRoomForSome(t *testing.T) {
	t.Parallel()
	if !layouttest.WithMounts(t) {
		return
	}
	where := t.TempDir()
	layouttest.Mount(t, where, roomy)
	both := filepath.Join(where, "both")
	for tag, name := range map[string]string{"large": "artifact-uncompressed", "small": "artifact-gzip"} {
		if status := run([]string{"copy", filepath.Join(corpus, name), "oci:" + both + ":" + tag}, io.Discard, io.Discard); status != exitDone {
			t.Fatalf("%s: status %d", name, status)
		}
	}
	var stderr bytes.Buffer
	disk := t.TempDir()
	layouttest.Mount(t, disk, 240<<10)
	if status := run([]string{"sync", both, filepath.Join(disk, "far")}, io.Discard, &stderr); status != exitFailed {
		t.Errorf("status %d", status)
	}
	if said := stderr.String(); !strings.HasSuffix(said, " free; nothing was written of the cache that does not fit\n") {
		t.Errorf("it said: %s", said)
	}
}

// TestRoomForNothing runs commands again on a disk that their first run has left without room: nothing is left to write.
func TestRoomForNothing(t *testing.T) {
	t.Parallel()
	if !layouttest.WithMounts(t) {
		return
	}
	where := t.TempDir()
	layouttest.Mount(t, where, roomy)
	cache, archived := filepath.Join(corpus, "artifact-gzip"), filepath.Join(t.TempDir(), "cache.tar")
	if status := run([]string{"pack", cache, archived}, io.Discard, io.Discard); status != exitDone {
		t.Fatal("no archive")
	}
	for _, args := range [][]string{
		{"unpack", archived, filepath.Join(where, "unpacked")},
		{"copy", cache, filepath.Join(where, "copied")},
		{"sync", cache, filepath.Join(where, "synced")},
	} {
		for _, again := range []bool{false, true} {
			var stderr bytes.Buffer
			if again {
				layouttest.Resize(t, where, layouttest.Used(t, where)+16<<10)
			}
			if status := run(args, io.Discard, &stderr); status != exitDone {
				t.Errorf("%s, again %v: status %d: %s", args[0], again, status, &stderr)
			}
			layouttest.Resize(t, where, roomy)
		}
	}
}

// TestFullBeforeTag says of what did not fit although it seemed to that nothing was published.
func TestFullBeforeTag(t *testing.T) {
	t.Parallel()
	if !layouttest.WithMounts(t) {
		return
	}
	file := filepath.Join(t.TempDir(), "c.tar")
	if status := run([]string{"pack", filepath.Join(corpus, "artifact-gzip"), file}, io.Discard, io.Discard); status != exitDone {
		t.Fatalf("pack: status %d", status)
	}
	for _, test := range []struct {
		room int64
		args []string // without DST
	}{
		{60 << 10, []string{"convert", filepath.Join(corpus, "artifact-gzip"), "--compression", "zstd"}},
		{4 << 10, []string{"unpack", file}},
		{4 << 10, []string{"copy", filepath.Join(corpus, "artifact-gzip")}},
	} {
		t.Run(test.args[0], func(t *testing.T) {
			t.Parallel()
			where := t.TempDir()
			layouttest.Mount(t, where, test.room)
			var stderr bytes.Buffer
			args := slices.Insert(slices.Clone(test.args), 2, filepath.Join(where, "far"))
			status := run(args, io.Discard, &stderr)
			if said := stderr.String(); status != exitFailed || !strings.Contains(said, "hint: the disk is full; nothing was published, so free") {
				t.Errorf("status %d: %s", status, said)
			}
		})
	}
}
