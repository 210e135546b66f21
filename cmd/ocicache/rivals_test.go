package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// rivalsVariable says how many processes each of these tests runs at once, instead of a few.
const rivalsVariable = "OCICACHE_TEST_RIVALS"

func rivals(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv(rivalsVariable)
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", rivalsVariable, err)
	}
	return n
}

// rival is a process that has ended.
type rival struct {
	args   []string
	status int
	said   string
}

// race runs processes of ocicache side by side to their ends.
func race(t *testing.T, n int, args func(i int) []string) []rival {
	t.Helper()
	ended := make([]rival, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			r := &ended[i]
			r.args = append(args(i), "--progress", "none")
			out, err := exec.CommandContext(t.Context(), "ocicache", r.args...).CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Error(err)
			}
			r.said = string(out)
			if exit != nil {
				r.status = exit.ExitCode()
			}
		})
	}
	group.Wait()
	return ended
}

// rivalCaches are different caches, all with the tag latest.
var rivalCaches = []string{"artifact-gzip", "docker-list-gzip", "oci-index-zstd", "artifact-zstd"}

func rivalCache(i int) string { return filepath.Join(corpus, rivalCaches[i%len(rivalCaches)]) }

// TestRivalTags has many processes make one layout and bring caches there, each under a tag of its own. All are there in the
// end.
func TestRivalTags(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := rivals(t, 12)
	ended := race(t, n, func(i int) []string {
		return []string{"copy", rivalCache(i), fmt.Sprintf("oci:%s/far:tag%d", dir, i)}
	})
	left := readTree(t, dir)
	tags, err := left.tags("far")
	if err != nil {
		t.Fatal(err)
	}
	if len(tags) != n {
		t.Errorf("%d tags, want %d", len(tags), n)
	}
	for i, r := range ended {
		root, _, _, err := readCache(rivalCache(i), "latest")
		if err != nil {
			t.Fatal(err)
		}
		if r.status != exitDone || tags[fmt.Sprint("tag", i)] != root.Digest {
			t.Errorf("%s: status %d: %s", strings.Join(r.args, " "), r.status, r.said)
		}
		if err := left.whole("far", root.Digest); err != nil {
			t.Error(err)
		}
	}
	wantNoLitter(t, left)
}

// TestRivalsOfOneTag has many processes bring different caches to one tag. Those that were overtaken say so, and the tag
// names what one of the others brought.
func TestRivalsOfOneTag(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ended := race(t, max(1, rivals(t, 12)/2), func(i int) []string {
		return []string{"copy", rivalCache(i), "oci:" + dir + "/far:one"}
	})
	left := readTree(t, dir)
	tags, err := left.tags("far")
	if err != nil || len(tags) != 1 {
		t.Fatalf("the tags are %v (%v)", tags, err)
	}
	won, overtaken := false, 0
	for i, r := range ended {
		root, _, _, err := readCache(rivalCache(i), "latest")
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case r.status == exitDone:
			won = won || root.Digest == tags["one"]
		case r.status == exitFailed && strings.Contains(r.said, `the tag "one"`):
			overtaken++
		default:
			t.Errorf("%s: status %d: %s", strings.Join(r.args, " "), r.status, r.said)
		}
	}
	if !won {
		t.Errorf("the tag names %s, which nobody says that he brought", tags["one"])
	}
	if err := left.whole("far", tags["one"]); err != nil {
		t.Error(err)
	}
	wantNoLitter(t, left)
	t.Logf("%d of %d were overtaken", overtaken, len(ended))
}

// TestRivalPacks has processes pack to one FILE. One wins, and the others say that it is there.
func TestRivalPacks(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{nil, {"--volume-size", "60KB", "--parity", "1"}} {
		dir, alone := t.TempDir(), t.TempDir()
		ended := race(t, 8, func(i int) []string {
			return append([]string{"pack", rivalCache(i), filepath.Join(dir, "cache.tar")}, flags...)
		})
		won := -1
		for i, r := range ended {
			switch {
			case r.status == exitDone && won < 0:
				won = i
			case r.status == exitFailed && strings.Contains(r.said, "already there"):
			default:
				t.Errorf("%s: status %d: %s", strings.Join(r.args, " "), r.status, r.said)
			}
		}
		if won < 0 {
			t.Fatal("nobody won")
		}
		runOf(t, append([]string{"pack", rivalCache(won), filepath.Join(alone, "cache.tar")}, flags...)...)
		if diff := readTree(t, dir).differs(readTree(t, alone)); diff != "" {
			t.Error(diff)
		}
	}
}

func wantNoLitter(t *testing.T, left tree) {
	t.Helper()
	for path := range left {
		if strings.Contains(path, "/tmp-") {
			t.Errorf("%s was left behind", path)
		}
	}
}
