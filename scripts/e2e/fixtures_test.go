//go:build e2e

package e2e

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
)

// testdata is seen from the directory of this package, where go test runs.
const testdata = "../../testdata"

// fixture is a cache in testdata/caches, with what the untouched cache is known
// to give.
type fixture struct {
	cache, tag string
	context    string
	ref        string         // the file in testdata/refs; empty: named as the cache
	misses     *regexp.Regexp // steps that run even with the untouched cache; nil: none
	noCache    bool           // it is not a cache; convert must refuse it

	mu       sync.Mutex
	baseline *result // of the untouched cache, once it was imported
}

// contexts says what of the contexts is built besides the last stage, so that
// every layer of their caches is unpacked at least once.
var contexts = map[string]options{
	"small":  {Targets: []string{"base", "b1", "b2", "b3"}},
	"small2": {Targets: []string{"base", "b1", "extra", "b2"}},
	"multi":  {Platforms: []string{"linux/amd64", "linux/arm64"}},
	"many":   {Targets: numbered("s", 36)},
}

var everyStep = regexp.MustCompile("")

var fixtures = []*fixture{
	{cache: "docker-list-gzip", context: "small"},
	{cache: "oci-index-gzip", context: "small"},
	{cache: "artifact-gzip", context: "small"},
	{cache: "docker-list-zstd", context: "small"},
	{cache: "oci-index-zstd", context: "small"},
	{cache: "artifact-zstd", context: "small"},
	{cache: "artifact-uncompressed", context: "small"},
	{cache: "artifact-estargz", context: "small"},
	{cache: "artifact-mixed-gzip-zstd", context: "small"},
	{cache: "artifact-gzip-level9", context: "small"},
	{cache: "gzip-with-estargz-leak", context: "small"},
	{cache: "stale-blobs", context: "small"},
	{cache: "multi-tag", tag: "v1", context: "small", ref: "multi-tag.v1"},
	{cache: "multi-tag", tag: "v2", context: "small2", ref: "multi-tag.v2"},
	{cache: "multi-platform", context: "multi"},
	{cache: "merge-small2-fresh", context: "small2"},
	{cache: "many-docker-list-gzip", context: "many"},
	// The cache keys of RUN have changed since.
	{cache: "v0.11.6-docker-list", context: "small", misses: regexp.MustCompile(`\] RUN `)},
	// BuildKit imports what an image carries inline; it is no cache of its own.
	{cache: "inline-image", tag: "1", context: "small", noCache: true},
	// Its index.json names a root that is not there.
	{cache: "dangling-index", context: "small", misses: everyStep, noCache: true},
}

func numbered(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint(prefix, i)
	}
	return names
}

func findFixture(t *testing.T, cache string) *fixture {
	t.Helper()
	for _, f := range fixtures {
		if f.cache == cache {
			return f
		}
	}
	t.Fatalf("there is no fixture %s", cache)
	return nil
}

func (f *fixture) name() string {
	if f.tag == "" {
		return f.cache
	}
	return f.cache + "/" + f.tag
}

// tagName is the tag of the cache in its layout.
func (f *fixture) tagName() string { return cmp.Or(f.tag, defaultTag) }

// reference gives the images of the build that the cache was exported from.
func (f *fixture) reference(t *testing.T) images {
	t.Helper()
	i, err := readReference(filepath.Join(testdata, "refs", cmp.Or(f.ref, f.cache)+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// copy copies the fixture: importers lock a layout for a moment, so two tests
// must not share one, and none may change testdata.
func (f *fixture) copy(t *testing.T) string {
	t.Helper()
	return copyDir(t, filepath.Join(testdata, "caches", f.cache))
}

func copyDir(t *testing.T, src string) string {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "cache")
	if err := os.CopyFS(dst, os.DirFS(src)); err != nil {
		t.Fatal(err)
	}
	return dst
}

// importFrom builds the fixture's context with the cache in dir.
func (f *fixture) importFrom(t *testing.T, dir string) result {
	t.Helper()
	return importCache(t, dir, f.tagName(), contextDir(t, f.context), contexts[f.context])
}

// untouched gives what the untouched cache gives; it is imported once a run.
func (f *fixture) untouched(t *testing.T) result {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.baseline == nil {
		r, err := runImport(t.Context(), "untouched "+f.name(),
			f.copy(t), f.tagName(), contextDir(t, f.context), contexts[f.context])
		if err != nil {
			t.Fatal(err)
		}
		f.baseline = &r
	}
	return *f.baseline
}

var contextCopies struct {
	mu  sync.Mutex
	dir map[string]string
}

// contextDir gives a copy of a build context in which the modes are those of
// the original builds. They are part of the cache keys, and a checkout takes
// them from the umask.
func contextDir(t *testing.T, name string) string {
	t.Helper()
	c := &contextCopies
	c.mu.Lock()
	defer c.mu.Unlock()
	if dir, ok := c.dir[name]; ok {
		return dir
	}
	dir := filepath.Join(env.dir, name)
	if err := copyContext(dir, filepath.Join(testdata, "contexts", name)); err != nil {
		t.Fatal(err)
	}
	if c.dir == nil {
		c.dir = map[string]string{}
	}
	c.dir[name] = dir
	return dir
}

func copyContext(dst, src string) error {
	if err := os.CopyFS(dst, os.DirFS(src)); err != nil {
		return err
	}
	return filepath.WalkDir(dst, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return os.Chmod(path, 0o644)
	})
}
