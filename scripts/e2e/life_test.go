//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestMerge merges caches of several builds, and requires that each build hits all that it hit with its own cache, and gives
// the image that it gave.
func TestMerge(t *testing.T) {
	needOcicache(t)
	for _, tt := range []struct {
		caches []string
		flags  []string
	}{
		{[]string{"artifact-gzip", "merge-small2-fresh"}, nil},
		{[]string{"docker-list-zstd", "multi-platform"}, []string{"--to", "docker-list"}},
		{[]string{"artifact-gzip", "artifact-zstd"}, []string{"--compression", "zstd"}}, // the same build
		{[]string{"oci-index-gzip", "artifact-mixed-gzip-zstd", "multi-platform", "merge-small2-fresh"}, []string{"--to", "oci-index", "--compression", "gzip"}},
	} {
		t.Run(strings.Join(tt.caches, " "), func(t *testing.T) {
			t.Parallel()
			dst := filepath.Join(t.TempDir(), "merged")
			args := []string{"merge"}
			for _, name := range tt.caches {
				args = append(args, findFixture(t, name).copy(t))
			}
			ocicache(t, append(append(args, dst), tt.flags...)...)
			ocicache(t, "verify", dst, "--deep")
			for _, name := range tt.caches {
				f := findFixture(t, name)
				got := f.importFrom(t, copyDir(t, dst))
				requireSteps(t, got, f.untouched(t).Steps)
				requireAllCached(t, got)
			}
			newest := findFixture(t, tt.caches[len(tt.caches)-1])
			requireImages(t, newest.importFrom(t, dst).Images, newest.reference(t))
		})
	}
	t.Run("control", func(t *testing.T) {
		t.Parallel()
		dst := filepath.Join(t.TempDir(), "merged")
		ocicache(t, "merge", findFixture(t, "artifact-gzip").copy(t), dst)
		f := findFixture(t, "merge-small2-fresh")
		if got := f.importFrom(t, dst); got.Err != nil || countCached(got.Steps) == len(got.Steps) {
			t.Errorf("the build of a cache that was not merged has all steps cached (%v)", got.Err)
		}
	})
}

// TestPrune requires that what is left of a pruned cache is hit, and that what is gone runs where it is needed: in a build whose last
// step has changed, which needs the results of those before it.
func TestPrune(t *testing.T) {
	needOcicache(t)
	f := findFixture(t, "artifact-gzip")
	hits := func(t *testing.T, dir string) int {
		t.Helper()
		return countCached(f.changed(t, localCache(copyDir(t, dir), f.tagName()), "> /sum ").Steps)
	}
	whole := hits(t, f.copy(t))
	for _, rule := range [][]string{{"--leaves"}, {"--keep-bytes", "88KB"}} {
		t.Run(rule[0], func(t *testing.T) {
			t.Parallel()
			dir := f.copy(t)
			ocicache(t, append([]string{"prune", dir, "--gc", "--keep-since", "0s"}, rule...)...)
			ocicache(t, "verify", dir, "--deep", "--strict")
			got := importCache(t, dir, f.tagName(), contextDir(t, f.context), options{})
			requireAllCached(t, got)
			requireImages(t, got.Images, f.reference(t))
			if now := hits(t, dir); now > whole || rule[0] == "--leaves" && now == whole {
				t.Errorf("of the changed build %d steps are cached, and were %d before", now, whole)
			}
		})
	}
}

// changed builds the fixture with a cache after one step has changed: that which writes like this.
func (f *fixture) changed(t *testing.T, cache, writes string) result {
	t.Helper()
	changed := copyDir(t, contextDir(t, f.context))
	name := filepath.Join(changed, "Dockerfile")
	dockerfile, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(strings.Replace(string(dockerfile), writes, "> /other; true "+writes, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := runImportOf(t.Context(), t.Name(), cache, changed, options{})
	if err = errors.Join(err, got.Err); err != nil {
		t.Fatal(err)
	}
	return got
}

// requireFewer requires that a cache in dir is imported, and that some steps are cached, and others ran.
func (f *fixture) requireFewer(t *testing.T, dir string) {
	t.Helper()
	got := f.importFrom(t, dir)
	if hits := countCached(got.Steps); got.Err != nil || hits == 0 || hits == len(got.Steps) {
		t.Errorf("%d of %d steps were cached (%v)", hits, len(got.Steps), got.Err)
	}
}

// TestRepair requires that builds hit what is left of a repaired cache. What a cache that is broken like that does, each control says.
func TestRepair(t *testing.T) {
	needOcicache(t)
	f := findFixture(t, "artifact-gzip")
	base := mustReadCache(t, f.copy(t), f.tagName()).blob(f.reference(t)["linux/amd64"][0])
	t.Run("layer missing", func(t *testing.T) {
		t.Parallel()
		dir := f.copy(t)
		if err := os.Remove(filepath.Join(dir, descriptor{Digest: base}.path())); err != nil {
			t.Fatal(err)
		}
		if got := f.importFrom(t, copyDir(t, dir)); got.Err == nil {
			t.Error("control: the build did not fail")
		}
		based := copyDir(t, dir)
		ocicache(t, "repair", dir, "--write")
		ocicache(t, "verify", dir, "--deep")
		f.requireFewer(t, dir)
		ocicache(t, "repair", based, "--write", "--base", f.copy(t))
		requireAllCached(t, f.importFrom(t, based))
	})
	t.Run("config not rewritten", func(t *testing.T) {
		t.Parallel()
		src, dir := f.copy(t), filepath.Join(t.TempDir(), "converted")
		convert(t, src, f.tagName(), dir, target{ociIndex, zstd})
		replaceConfig(t, dir, f.tagName(), configOf(t, src, f.tagName()))
		f.requireHits(t, copyDir(t, dir), 0)
		ocicache(t, "repair", dir, "--write", "--by-position") // nothing but their places tells these layers
		ocicache(t, "verify", dir, "--deep")
		got := f.importFrom(t, dir)
		requireAllCached(t, got)
		requireImages(t, got.Images, f.reference(t))
	})
	t.Run("dangling", func(t *testing.T) {
		t.Parallel()
		dangling := findFixture(t, "dangling-index")
		dir := dangling.copy(t)
		ocicache(t, "repair", dir, "--write")
		ocicache(t, "verify", dir, "--deep", "--strict")
		got := dangling.importFrom(t, dir)
		if hits := countCached(got.Steps); got.Err != nil || hits == 0 {
			t.Errorf("%d of %d steps were cached (%v)", hits, len(got.Steps), got.Err)
		}
	})
}

// TestCollectBeside collects garbage again and again while BuildKit exports into the same directory, and processes of ocicache write
// to it. Nothing that a tag names is ever lost.
func TestCollectBeside(t *testing.T) {
	needOcicache(t)
	const writers, least = 20, 3
	dir := filepath.Join(t.TempDir(), "cache")
	caches := []string{"docker-list-gzip", "oci-index-zstd", "artifact-gzip", "merge-small2-fresh"}
	ocicache(t, "copy", filepath.Join(testdata, "caches", caches[0]), "oci:"+dir+":first")
	err := withDaemon(t.Context(), func(d *daemon) error {
		b := build{Context: contextDir(t, "small")}
		if _, err := d.build(t.Context(), b); err != nil { // the next ones only export
			return err
		}
		ended, collected := make(chan struct{}), 0
		var group sync.WaitGroup
		group.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				if c := runOcicache(t, "gc", dir, "--keep-since", "0s"); c.Status != 0 {
					t.Errorf("gc: exit status %d: %s", c.Status, c.Stderr)
					return
				}
				collected++
			}
		})
		go func() {
			defer close(ended)
			bringAll(t, writers, func(i int) []string {
				src := filepath.Join(testdata, "caches", caches[i%len(caches)])
				switch i % 3 {
				case 0:
					return []string{"convert", src, fmt.Sprintf("oci:%s:ours-%d", dir, i), "--to", "oci-index"}
				case 1:
					return []string{"merge", src, "oci:" + dir + ":first", fmt.Sprintf("oci:%s:ours-%d", dir, i)}
				default:
					return []string{"copy", src, fmt.Sprintf("oci:%s:ours-%d", dir, i)}
				}
			})
		}()
		exported, refused, err := d.exportWhile(t, ended, b, dir, least)
		group.Wait()
		if err != nil {
			return err
		}
		ocicache(t, "verify", dir, "--deep")
		for i := range writers {
			mustReadCache(t, dir, fmt.Sprint("ours-", i))
		}
		t.Logf("%d collections beside %d processes and %d exports, of which BuildKit refused %d", collected, writers, len(exported), refused)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestBudget exports a build that changes again and again into one directory, which stays within a budget.
func TestBudget(t *testing.T) {
	needOcicache(t)
	rounds, budget := 8, int64(95_000)
	if full() {
		rounds = 40
	}
	dir, changing := filepath.Join(t.TempDir(), "cache"), filepath.Join(t.TempDir(), "context")
	if err := copyContext(changing, filepath.Join(testdata, "contexts", "small")); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(changing, "Dockerfile")
	dockerfile, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	err = withDaemon(t.Context(), func(d *daemon) error {
		b := build{Context: changing, Exports: []string{fmt.Sprintf("type=local,dest=%s,mode=max", dir)}}
		for round := range rounds {
			step := fmt.Sprintf("\nRUN i=0; while [ $i -lt 500 ]; do echo \"row $i of round %d\"; i=$((i+1)); done > /round\n", round)
			if err := os.WriteFile(name, append(slices.Clone(dockerfile), step...), 0o644); err != nil {
				return err
			}
			if _, err := d.build(t.Context(), b); err != nil {
				return err
			}
			c := runOcicache(t, "prune", dir, "--keep-bytes", fmt.Sprint(budget), "--gc", "--keep-since", "0s")
			if c.Status != 0 {
				t.Fatalf("round %d: %s", round, c.Stderr)
			}
			if size := sizeOf(t, dir); size > budget*3/2 { // roots and configs come on top
				t.Errorf("after %d exports it has %d bytes", round+1, size)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ocicache(t, "verify", dir, "--deep", "--strict")
	t.Logf("after %d exports it has %d bytes", rounds, sizeOf(t, dir))
}

// sizeOf returns the size of all files.
func sizeOf(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}
