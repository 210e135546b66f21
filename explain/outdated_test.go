package explain_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/explain/explaintest"
)

// TestCheckKeys tells caches of old versions by their digests alone.
func TestCheckKeys(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "old/", "builds/")
	for at, want := range map[string]string{
		"../testdata/caches/v0.11.6-docker-list":       "before v0.13",
		filepath.Join(dir, "old/v0.16.0-small/cache"):  "before v0.17",
		"../testdata/caches/artifact-gzip":             "",
		"../testdata/caches/many-docker-list-gzip":     "",
		filepath.Join(dir, "builds/3-copyflags/cache"): "",
		filepath.Join(dir, "builds/why/cache"):         "",
		filepath.Join(dir, "builds/1-basic/cache"):     "",
		"../testdata/caches/multi-platform":            "",
		"../testdata/caches/merge-small2-fresh":        "",
		filepath.Join(dir, "builds/6-platform/cache"):  "",
		filepath.Join(dir, "builds/8-llb/cache"):       "",
		"../testdata/caches/gzip-with-estargz-leak":    "",
	} {
		problems := explain.CheckKeys(openCache(t, at).Cache)
		switch {
		case want == "" && len(problems) > 0:
			t.Errorf("%s: %v, want nothing", at, problems)
		case want != "" && (len(problems) != 1 || !strings.Contains(problems[0].Detail, want)):
			t.Errorf("%s: %v, want one that says %s", at, problems, want)
		}
	}
}
