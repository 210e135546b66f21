package convert_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// corpus is where the caches lie that BuildKit itself exported.
const corpus = "../testdata/caches"

func readFile(tb testing.TB, path string) []byte {
	tb.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func copyTree(tb testing.TB, from string) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), filepath.Base(from))
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		tb.Fatal(err)
	}
	return dir
}

func openCorpus(tb testing.TB, name string) *layout.Dir {
	tb.Helper()
	return open(tb, filepath.Join(corpus, name))
}

func open(tb testing.TB, path string) *layout.Dir {
	tb.Helper()
	dir, err := layout.Open(path, layout.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

func blobPath(dir string, d digest.Digest) string {
	return filepath.Join(dir, "blobs", d.Algorithm().String(), d.Encoded())
}

func load(tb testing.TB, src layout.Source, tag string) *layout.Cache {
	tb.Helper()
	cache, err := layout.Load(tb.Context(), src, layouttest.Entry(tb, src, tag))
	if err != nil {
		tb.Fatal(err)
	}
	return cache
}

// run converts the cache with the tag latest, and wants success.
func run(tb testing.TB, src layout.Source, dst layout.Place, o convert.Options) *convert.Result {
	tb.Helper()
	result, err := convert.Convert(tb.Context(), src, layouttest.Entry(tb, src, "latest"), dst, "latest", o)
	if err != nil {
		tb.Fatal(err)
	}
	return result
}

// wantClean unpacks everything that a cache names and wants nothing wrong with it.
func wantClean(tb testing.TB, src layout.Source, tag string) {
	tb.Helper()
	problems, err := inspect.Verify(tb.Context(), src, layouttest.Entry(tb, src, tag), inspect.Options{Deep: true})
	if err != nil {
		tb.Fatal(err)
	}
	for _, problem := range problems {
		tb.Errorf("problem: %s", problem)
	}
}

// wantFile compares two files.
func wantFile(tb testing.TB, got, want string) {
	tb.Helper()
	if a, b := readFile(tb, got), readFile(tb, want); string(a) != string(b) {
		tb.Errorf("%s differs from %s:\n%.2000s\n%.2000s", got, want, a, b)
	}
}

// contents is tree without modes, which a checkout of the corpus does not keep.
func contents(tb testing.TB, root string) map[string]string {
	tb.Helper()
	files := map[string]string{}
	for path, text := range layouttest.Tree(tb, root) {
		if mode, sum, ok := strings.Cut(text, " "); ok && mode[0] == '-' {
			files[path] = sum
		}
	}
	return files
}

// wantKept wants everything of a directory that was there before to be as it was. More may have come.
func wantKept(tb testing.TB, root string, want map[string]string) {
	tb.Helper()
	got := layouttest.Tree(tb, root)
	for path, text := range want {
		if got[path] != text {
			tb.Errorf("%s: was %q, is %q", path, text, got[path])
		}
	}
}

// wantNoTemporary looks for temporary files and locks that should be gone.
func wantNoTemporary(tb testing.TB, path string) {
	tb.Helper()
	entries, err := os.ReadDir(filepath.Join(path, ".ocicache"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		tb.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != "journal" {
			tb.Errorf("%s was left behind", entry.Name())
		}
	}
	if _, err := os.Lstat(filepath.Join(path, "index.json.lock")); !errors.Is(err, fs.ErrNotExist) {
		tb.Errorf("index.json.lock was left behind (%v)", err)
	}
}

// wantIntact wants a layout to hold no blob whose bytes are not those of its name.
func wantIntact(tb testing.TB, path string) {
	tb.Helper()
	names, err := os.ReadDir(filepath.Join(path, "blobs", "sha256"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		tb.Fatal(err)
	}
	for _, name := range names {
		raw := readFile(tb, filepath.Join(path, "blobs", "sha256", name.Name()))
		if got := digest.FromBytes(raw).Encoded(); got != name.Name() {
			tb.Errorf("the blob %s has the digest %s", name.Name(), got)
		}
	}
}

// watched is a layout that counts how often each blob is opened.
type watched struct {
	*layout.Dir
	mu     sync.Mutex
	opened map[digest.Digest]int
}

func watch(dir *layout.Dir) *watched { return &watched{Dir: dir, opened: map[digest.Digest]int{}} }

func (w *watched) count(blob digest.Digest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened[blob]++
}

func (w *watched) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	w.count(blob.Digest)
	return w.Dir.Open(ctx, blob)
}

func (w *watched) OpenAt(ctx context.Context, blob buildcache.Descriptor) (*layout.Section, error) {
	w.count(blob.Digest)
	return w.Dir.OpenAt(ctx, blob)
}

// events counts what was begun, by verb and blob.
type events struct {
	mu    sync.Mutex
	begun map[string]map[digest.Digest]int
}

func (e *events) handle(event layout.Event) {
	if event.Kind != layout.EventStart {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.begun == nil {
		e.begun = map[string]map[digest.Digest]int{}
	}
	if e.begun[event.Verb] == nil {
		e.begun[event.Verb] = map[digest.Digest]int{}
	}
	e.begun[event.Verb][event.Digest]++
}

// wantEqual compares two values.
func wantEqual(tb testing.TB, what string, got, want any) {
	tb.Helper()
	if !reflect.DeepEqual(got, want) {
		tb.Errorf("%s: got %v, want %v", what, got, want)
	}
}
