//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestRivals brings 64 caches into a layout, each under its own tag, by as
// many processes, while BuildKit exports into it again and again.
//
// BuildKit does not wait for index.json.lock: it may refuse an export, which
// is its own decision. It also locks a file that may have been removed just
// before, by another BuildKit or by us, and then writes into an index.json
// that nobody reads any more; that can lose its own tag, never one of ours.
func TestRivals(t *testing.T) {
	needOcicache(t)
	const writers, least = 64, 3
	dir := filepath.Join(t.TempDir(), "cache")
	caches := []string{"docker-list-gzip", "oci-index-zstd", "artifact-gzip", "artifact-estargz"}
	err := withDaemon(t.Context(), func(d *daemon) error {
		b := build{Context: contextDir(t, "small")}
		if _, err := d.build(t.Context(), b); err != nil { // the next ones only export
			return err
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			bringAll(t, writers, func(i int) []string {
				return []string{"copy", filepath.Join(testdata, "caches", caches[i%len(caches)]), fmt.Sprintf("oci:%s:ours-%d", dir, i)}
			})
		}()
		exported, refused, err := d.exportWhile(t, ended, b, dir, least)
		if err != nil {
			return err
		}
		for i := range writers {
			want := mustReadCache(t, filepath.Join(testdata, "caches", caches[i%len(caches)]), defaultTag)
			if got := mustReadCache(t, dir, fmt.Sprint("ours-", i)); got.rootDigest != want.rootDigest {
				t.Errorf("ours-%d is %s, want %s", i, got.rootDigest, want.rootDigest)
			}
		}
		lost := 0
		for _, tag := range exported {
			if _, err := readCache(dir, tag); errors.Is(err, errNoCache) {
				lost++
			} else if err != nil {
				t.Error(err)
			}
		}
		ocicache(t, "verify", dir)
		t.Logf("beside %d processes BuildKit exported %d times, lost %d of these, and refused %d times",
			writers, len(exported), lost, refused)
		if len(exported) == lost {
			t.Error("no export of BuildKit's is there")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// bringAll runs processes of ocicache at once, all of which have to succeed.
func bringAll(t *testing.T, n int, args func(i int) []string) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			if c := runOcicache(t, args(i)...); c.Status != 0 {
				t.Errorf("%v: exit status %d: %s", c.Args, c.Status, c.Stderr)
			}
		})
	}
	group.Wait()
}

// exportWhile exports a build under one tag after the other, until ended is
// closed, and so often at least. It returns the tags.
func (d *daemon) exportWhile(t *testing.T, ended <-chan struct{}, b build, dir string, least int) (tags []string, refused int, err error) {
	for n := 0; ; n++ {
		select {
		case <-ended:
			if n >= least {
				return tags, refused, nil
			}
		default:
		}
		tag := fmt.Sprint("theirs-", n)
		b.Exports = []string{fmt.Sprintf("type=local,dest=%s,mode=max,tag=%s", dir, tag)}
		p, err := d.build(t.Context(), b)
		isLocked := func(said string) bool { return strings.Contains(said, "lock") }
		switch {
		case err == nil:
			tags = append(tags, tag)
		case errors.Is(err, errBuild) && slices.ContainsFunc(append(p.Errors, err.Error()), isLocked):
			refused++
		default:
			<-ended
			return nil, 0, err
		}
	}
}
