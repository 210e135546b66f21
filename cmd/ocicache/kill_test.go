package main

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// killsVariable says how often each of these tests kills a process, instead of a few times.
const killsVariable = "OCICACHE_TEST_KILLS"

func kills(t *testing.T) int {
	t.Helper()
	text := os.Getenv(killsVariable)
	if text == "" {
		return 4
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", killsVariable, err)
	}
	return n
}

// killedCache has many blobs, so that there are many points between which something can end.
const killedCache = "../../testdata/caches/many-docker-list-gzip"

// runOf runs ocicache to its end and returns how long that took.
func runOf(t *testing.T, args ...string) time.Duration {
	t.Helper()
	start := time.Now()
	out, err := exec.CommandContext(t.Context(), "ocicache", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ocicache %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return time.Since(start)
}

// killOf runs ocicache and kills it after a while. It reports whether that was before its end.
func killOf(t *testing.T, after time.Duration, args ...string) bool {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ocicache", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // at any time, so nothing can be waited for
	defer timer.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.Exited()) {
		t.Fatalf("ocicache %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return err != nil
}

// filesIn returns the files below a directory with their bytes.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		found[strings.TrimPrefix(path, dir+"/")] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// sameFiles compares two directories.
func sameFiles(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %s is there as well", what, name)
		}
	}
	for name, raw := range want {
		if got[name] != raw {
			t.Errorf("%s: %s has %d bytes, want %d others", what, name, len(got[name]), len(raw))
		}
	}
}

// TestKilledPack kills pack at any time while it replaces an older archive. Where it left a file, that is the one before or
// the one after; the next run ends right, and leaves nothing else.
func TestKilledPack(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(4, 1))
	for _, flags := range [][]string{nil, {"--volume-size", "100KB", "--parity", "2"}, {"--compression", "zstd"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			args := func(dir string) []string {
				return append([]string{"pack", killedCache, filepath.Join(dir, "cache.tar"), "--overwrite"}, flags...)
			}
			whole := t.TempDir()
			took := runOf(t, args(whole)...)
			want, hits := filesIn(t, whole), 0
			for range kills(t) {
				dir := t.TempDir()
				single := filepath.Join(dir, "cache.tar")
				older := []string{"pack", "../../testdata/caches/artifact-gzip", single}
				if slices.Contains(flags, "--volume-size") {
					older = append(older, "--volume-size", "20KB", "--parity", "1")
				}
				runOf(t, older...)
				old := filesIn(t, dir)
				if killOf(t, time.Duration(random.Int64N(int64(took))), args(dir)...) {
					hits++
				}
				if raw, err := os.ReadFile(single); err == nil && string(raw) != old["cache.tar"] && string(raw) != want["cache.tar"] {
					t.Errorf("cache.tar has %d bytes, and they are neither the old ones nor the new", len(raw))
				}
				runOf(t, args(dir)...)
				sameFiles(t, "after another run", filesIn(t, dir), want)
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("%d of %d were killed before their end", hits, kills(t))
			if hits == 0 && kills(t) > 20 { // of a few, each may have been too late
				t.Error("none was killed before its end")
			}
		})
	}
}

// TestKilledUnpack kills unpack at any time. No blob is wrong, and the tag is not there or right; the next run ends right,
// and leaves nothing else.
func TestKilledUnpack(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(4, 2))
	dir := t.TempDir()
	archive := filepath.Join(dir, "cache.tar")
	runOf(t, "pack", killedCache, archive)
	whole := filepath.Join(dir, "whole")
	took := runOf(t, "unpack", archive, whole)
	want, hits := filesIn(t, whole), 0
	for range kills(t) {
		far := filepath.Join(t.TempDir(), "far")
		if killOf(t, time.Duration(random.Int64N(int64(took))), "unpack", archive, far) {
			hits++
		}
		for name, raw := range filesIn(t, filepath.Dir(far)) {
			name = strings.TrimPrefix(name, "far/")
			if strings.HasPrefix(name, "blobs/") && raw != want[name] {
				t.Errorf("%s has %d bytes, want %d others", name, len(raw), len(want[name]))
			}
			if name == "index.json" && raw != want[name] && strings.Contains(raw, "digest") {
				t.Errorf("index.json is neither empty nor whole: %s", raw)
			}
		}
		runOf(t, "unpack", archive, far)
		sameFiles(t, "after another run", filesIn(t, far), want)
		if err := os.RemoveAll(far); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d were killed before their end", hits, kills(t))
	if hits == 0 && kills(t) > 20 { // of a few, each may have been too late
		t.Error("none was killed before its end")
	}
}
