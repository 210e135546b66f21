package convert_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/layout"
)

// roleVariable makes the test binary a process that converts, instead of running tests.
const roleVariable = "OCICACHE_TEST_CONVERT"

func TestMain(m *testing.M) {
	if path := os.Getenv(roleVariable); path != "" {
		if err := convertForEver(context.Background(), path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(quicktest.Of(m).Run())
}

// rounds are what a cache is converted to, over and over.
func rounds() []convert.Options {
	return []convert.Options{
		{Compression: buildcache.Zstd, Form: buildcache.OCIIndex},
		{Compression: buildcache.Gzip, Level: 1, Form: buildcache.Artifact},
		{Form: buildcache.DockerList},
		{Compression: buildcache.Uncompressed},
		{Compression: buildcache.Estargz, Level: 1, Form: buildcache.Artifact},
		{Compression: buildcache.Zstd, Level: 19},
		{Compression: buildcache.Gzip, Level: 3, Form: buildcache.DockerList},
	}
}

// convertForEver converts a cache in place, back and forth, and says what it became each time.
func convertForEver(ctx context.Context, path string) error {
	place, err := layout.Open(path, layout.Options{})
	if err != nil {
		return err
	}
	fmt.Println("start")
	for i := 0; ; i++ {
		found, err := layout.OneCache(ctx, place, "latest")
		if err != nil {
			return err
		}
		o := rounds()[i%len(rounds())]
		o.Jobs = 2
		result, err := convert.Convert(ctx, place, found, place, "latest", o)
		if err != nil {
			return err
		}
		fmt.Println(result.To.Digest)
	}
}

// killsVariable says how often a process is killed, instead of a few times.
const killsVariable = "OCICACHE_TEST_KILLS"

func kills(t *testing.T) int {
	t.Helper()
	text := os.Getenv(killsVariable)
	if text == "" {
		return quicktest.Rounds(4, 8)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", killsVariable, err)
	}
	return n
}

// TestKilled kills a process that converts in place, at any time. The cache is the one before or the one after.
func TestKilled(t *testing.T) {
	t.Parallel()
	kills := kills(t)
	pristine := gzipped(t, 3, 400<<10)
	old := load(t, pristine, "latest")
	random := rand.New(rand.NewPCG(20, 26))
	progressed := 0
	for i := range kills {
		path := copyTree(t, pristine.String())
		said := killConverter(t, path, random.IntN(4), time.Duration(random.Int64N(int64(60*time.Millisecond))))
		if len(said) > 0 {
			progressed++
		}
		place := open(t, path)
		now := load(t, place, "latest")
		wantEqual(t, "records", now.Config.Records, old.Config.Records)
		// What was said to be done stays done. What came after may be done and not said.
		past := said[max(0, len(said)-len(rounds())+1):max(0, len(said)-1)]
		if got := now.Descriptor.Digest; len(said) > 0 && got == old.Descriptor.Digest || slices.Contains(past, got.String()) {
			t.Errorf("kill %d: the root is %s again, after %v", i, got, said)
		}
		wantClean(t, place, "latest")
		wantIntact(t, path)
		wantKept(t, filepath.Join(path, "blobs"), layouttest.Tree(t, filepath.Join(pristine.String(), "blobs")))

		run(t, place, place, convert.Options{Form: buildcache.OCIIndex, Compression: buildcache.Gzip, Level: 2, Force: true})
		wantClean(t, place, "latest")
		entries, err := os.ReadDir(filepath.Join(path, ".ocicache"))
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if entry.Name() != "journal" {
				t.Errorf("kill %d: %s is there still", i, entry.Name())
			}
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d were killed after a conversion or more", progressed, kills)
}

// killConverter lets a process do some conversions, and a part of the next, and returns what it said by then.
func killConverter(t *testing.T, path string, conversions int, after time.Duration) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), roleVariable+"="+path)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() {
		t.Errorf("it said nothing: %s", stderr.String())
	}
	for len(said) < conversions && lines.Scan() {
		said = append(said, lines.Text())
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) // at any time, so nothing can be waited for
	defer timer.Stop()
	for lines.Scan() {
		said = append(said, lines.Text())
	}
	if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
		t.Errorf("it ended by itself: %v, %s", err, stderr.String())
	}
	return said
}
