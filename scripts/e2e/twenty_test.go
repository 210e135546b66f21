//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// generated is a build that a test made up, and the cache that BuildKit exported of it.
type generated struct {
	context string
	cache   string
	images  images
}

// generate makes up a build: some of its steps are those of other builds, in other places too, and the rest are its own.
func generate(t *testing.T, n int) *generated {
	t.Helper()
	g := &generated{context: filepath.Join(t.TempDir(), "context"), cache: filepath.Join(t.TempDir(), "cache")}
	if err := copyContext(g.context, filepath.Join(testdata, "contexts", "small")); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(20, uint64(n)))
	run := func(text string) string {
		return fmt.Sprintf("RUN i=0; while [ $i -lt 99 ]; do echo \"row $i of %s\"; i=$((i+1)); done > /%s\n", text, text)
	}
	var dockerfile strings.Builder
	dockerfile.WriteString("FROM scratch AS base\nADD rootfs.tar /\nFROM base AS shared\nCOPY src/a.txt /a.txt\n")
	for range 1 + random.IntN(2) {
		dockerfile.WriteString(run(fmt.Sprint("shared-", random.IntN(3))))
	}
	fmt.Fprintf(&dockerfile, "FROM base AS other\n%s%s", run(fmt.Sprint("group-", n%5)), run(fmt.Sprint("own-", n)))
	fmt.Fprintf(&dockerfile, "FROM shared\nCOPY --from=other /own-%d /result\n", n)
	if random.IntN(2) == 0 {
		dockerfile.WriteString("COPY --link src/dir /linked\n")
	}
	fmt.Fprintf(&dockerfile, "RUN cat /result /a.txt > /last-%d\n", n)
	if err := os.WriteFile(filepath.Join(g.context, "Dockerfile"), []byte(dockerfile.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestMergeTwenty merges the caches of twenty builds, in all forms and compressions, and requires that each of the builds has all of its
// steps cached with the merged cache, and gives the image that it gave. One that was not merged has not.
func TestMergeTwenty(t *testing.T) {
	needOcicache(t)
	const builds = 20
	all := make([]*generated, builds+1) // the last is the control
	for i := range all {
		all[i] = generate(t, i)
	}
	err := withDaemon(t.Context(), func(d *daemon) error {
		targets := allTargets()
		return eachOf(all, func(i int, g *generated) error {
			o := exportOptions{target: targets[i%len(targets)]}
			r, err := d.export(t.Context(), build{Context: g.context, Exports: []string{localExport(g.cache, o)}, Image: o.compression()})
			g.images = r.Images
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	merges := [][]string{{"--to", "oci-index"}}
	if full() {
		merges = append(merges, []string{"--compression", "zstd"})
	}
	for _, flags := range merges {
		dst := filepath.Join(t.TempDir(), "merged")
		args := append([]string{"merge"}, flags...)
		for _, g := range all[:builds] {
			args = append(args, g.cache)
		}
		ocicache(t, append(args, dst)...)
		ocicache(t, "verify", dst, "--deep", "--strict")
		requireBuilds(t, dst, all)
	}
}

// requireBuilds builds all on a daemon that knows nothing but the cache in dir: the last of them is not in it.
func requireBuilds(t *testing.T, dir string, all []*generated) {
	t.Helper()
	got := make([]result, len(all))
	err := withDaemon(t.Context(), func(d *daemon) error {
		return eachOf(all, func(i int, g *generated) (err error) {
			got[i], err = d.importAll(t.Context(), build{Context: g.context, Imports: []string{localCache(dir, defaultTag)}}, nil)
			return err
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	merged, estargzs := mustReadCache(t, dir, defaultTag), 0
	for i, g := range all[:len(all)-1] {
		requireAllCached(t, got[i])
		exported := mustReadCache(t, g.cache, defaultTag)
		if exported.hasEstargz() {
			estargzs++
		}
		requireImages(t, got[i].Images, expectImages(t, g.images, exported, merged))
	}
	if control := got[len(all)-1]; control.Err != nil || countCached(control.Steps) == len(control.Steps) {
		t.Errorf("the build that was not merged has all steps cached (%v)", control.Err)
	}
	if estargzs == 0 || estargzs == len(all)-1 {
		t.Errorf("%d of the caches have estargz", estargzs)
	}
}

// eachOf calls do for all, a few at a time: one daemon bears several builds.
func eachOf(all []*generated, do func(int, *generated) error) error {
	errs, slots := make([]error, len(all)), make(chan struct{}, 4)
	var group sync.WaitGroup
	for i, g := range all {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			errs[i] = do(i, g)
		})
	}
	group.Wait()
	return errors.Join(errs...)
}
