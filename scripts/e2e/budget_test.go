//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestSyncBudget brings a cache to a registry within a budget: BuildKit hits what was kept, and runs the rest; the source is hit as before.
func TestSyncBudget(t *testing.T) {
	needRegistry(t)
	const changes = "> f " // in a stage between
	f := findFixture(t, "artifact-gzip")
	src, host := f.copy(t), startRegistry(t)
	ocicache(t, "sync", src, "docker://"+host+"/whole/cache", plain) // the control
	requireAllCached(t, f.importRef(t, host+"/whole/cache:"+f.tagName()))
	all := countCached(f.changed(t, registryCache(host+"/whole/cache:"+f.tagName()), changes).Steps)
	for _, change := range [][]string{nil, {"--to", "artifact", "--compression", "zstd"}} {
		budget := append([]string{"sync", src, "docker://" + host + "/budget/cache", "--keep-bytes", "90KB", plain}, change...)
		ocicache(t, budget...)
		ocicache(t, "verify", "docker://"+host+"/budget/cache", "--deep", plain)
		// The last result is the newest of all: nothing of its build runs. A build that needs results that were not kept runs those steps.
		cache := registryCache(host + "/budget/cache:" + f.tagName())
		last, err := runImportOf(t.Context(), t.Name(), cache, contextDir(t, f.context), options{})
		if err != nil {
			t.Fatal(err)
		}
		requireAllCached(t, last)
		requireImages(t, last.Images, f.reference(t))
		if hits := countCached(f.changed(t, cache, changes).Steps); hits == 0 || hits >= all {
			t.Errorf("of the changed build %d steps are cached, and %d without a budget", hits, all)
		}
		// What a later run finds is there already.
		if again := runOcicache(t, append(budget, "--json")...); again.Status != 0 || !strings.Contains(again.Stdout, `"skipped": true`) {
			t.Errorf("it was brought over again: %s%s", again.Stdout, again.Stderr)
		}
	}
	requireAllCached(t, f.importFrom(t, src))
	var small, whole int64
	for repository, bytes := range map[string]*int64{"budget": &small, "whole": &whole} {
		dir := filepath.Join(t.TempDir(), repository)
		ocicache(t, "copy", "docker://"+host+"/"+repository+"/cache:"+f.tagName(), dir, plain)
		*bytes = sizeOf(t, dir)
	}
	if small >= whole {
		t.Errorf("within its budget it has %d bytes, and without %d", small, whole)
	}
}
