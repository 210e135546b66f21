package layout_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		make func(dir string) error
		want error // of Open
		open error // of Create
	}{
		{"nothing there", os.Remove, fs.ErrNotExist, nil},
		{"empty directory", func(string) error { return nil }, layout.ErrNotLayout, nil},
		{"directory of something else", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "Dockerfile"), nil, 0o644)
		}, layout.ErrNotLayout, layout.ErrNotLayout},
		{"file", func(dir string) error {
			return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o644))
		}, layout.ErrNotLayout, layout.ErrNotLayout},
		{"below a file", func(dir string) error {
			return errors.Join(os.Remove(dir), os.Remove(filepath.Dir(dir)), os.WriteFile(filepath.Dir(dir), nil, 0o644))
		}, syscall.ENOTDIR, syscall.ENOTDIR},
		{"only index.json", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "index.json"), []byte(`{"schemaVersion":2,"manifests":[]}`), 0o644)
		}, nil, nil},
		{"index.json of another program", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "index.json"), []byte(`{"name":"my-app","version":1}`), 0o644)
		}, layout.ErrNotLayout, layout.ErrOtherFiles},
		{"index.json of another program, with a schema version", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "index.json"), []byte(`{"name":"npm","schemaVersion":7}`), 0o644)
		}, layout.ErrNotLayout, layout.ErrOtherFiles},
		{"index.json of another program, with version 2", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "index.json"), []byte(`{"name":"npm","schemaVersion":2}`), 0o644)
		}, layout.ErrNotLayout, layout.ErrOtherFiles},
		{"index.json of another program, with manifests", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "index.json"), []byte(`{"manifests":[{"name":"app"}]}`), 0o644)
		}, layout.ErrNotLayout, layout.ErrOtherFiles},
		{"large index.json of another program", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "index.json"), []byte(`{"name":"`+strings.Repeat("x", 5<<20)+`"}`), 0o644)
		}, layout.ErrNotLayout, layout.ErrOtherFiles},
		{"index.json of another program beside empty blobs", func(dir string) error {
			return errors.Join(os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755),
				os.WriteFile(filepath.Join(dir, "index.json"), []byte(`{"name":"npm"}`), 0o644))
		}, layout.ErrNotLayout, layout.ErrOtherFiles},
		{"garbage", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "index.json"), []byte(`garbage`), 0o644)
		}, layout.ErrNotLayout, layout.ErrOtherFiles},
		{"link to nothing beside empty blobs", func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "blobs"), 0o755), os.Symlink("nothing", filepath.Join(dir, "index.json")))
		}, layout.ErrNotLayout, layout.ErrOtherFiles},
		{"only blobs", func(dir string) error { return os.Mkdir(filepath.Join(dir, "blobs"), 0o755) }, nil, nil},
		{"only oci-layout", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
		}, layout.ErrNotLayout, nil},
		{"symbolic link to a layout", func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "blobs"), 0o755), os.Rename(dir, dir+".real"), os.Symlink(dir+".real", dir))
		}, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "parent", "dir")
			if err := errors.Join(os.MkdirAll(dir, 0o755), test.make(dir)); err != nil {
				t.Fatal(err)
			}
			if _, err := layout.Open(dir, layout.Options{}); !errors.Is(err, test.want) {
				t.Errorf("Open: %v, want %v", err, test.want)
			}
			made, err := layout.Create(t.Context(), dir, layout.Options{})
			if !errors.Is(err, test.open) {
				t.Errorf("Create: %v, want %v", err, test.open)
			}
			if err != nil {
				return
			}
			if entries, err := made.Entries(t.Context()); err != nil || len(entries) != 0 {
				t.Errorf("entries %v (%v), want none", entries, err)
			}
			if made.String() != dir {
				t.Errorf("it is called %s, want %s", made, dir)
			}
			if _, err := layout.Caches(t.Context(), made); !isNotFound(err) {
				t.Errorf("All: %v, want a *NotFoundError", err)
			}
		})
	}
}

// What shows that a directory is a layout makes a damaged index.json ours, so that repair works.
func TestOpenDamagedIndex(t *testing.T) {
	t.Parallel()
	for _, mark := range []string{"oci-layout", "blobs/sha256/" + strings.Repeat("0", 64)} {
		for _, index := range []string{"", "garbage", `{"schemaVersion":2,"manif`, `{"schemaVersion":2}`, `{"name":"npm"}`} {
			path := t.TempDir()
			err := errors.Join(os.MkdirAll(filepath.Join(path, "blobs", "sha256"), 0o755),
				os.WriteFile(filepath.Join(path, mark), nil, 0o644), os.WriteFile(filepath.Join(path, "index.json"), []byte(index), 0o644))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := layout.Open(path, layout.Options{}); err != nil {
				t.Errorf("%s beside %q: %v", mark, index, err)
			}
		}
	}
}

func isNotFound(err error) bool {
	var e *layout.NotFoundError
	return errors.As(err, &e)
}

func TestCreate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deep", "below", "layout")
	if _, err := layout.Create(t.Context(), path+"/", layout.Options{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"oci-layout": `{"imageLayoutVersion":"1.0.0"}`,
		"index.json": `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`,
	} {
		if got, err := os.ReadFile(filepath.Join(path, name)); err != nil || string(got) != want {
			t.Errorf("%s: %s (%v), want %s", name, got, err, want)
		}
	}
	wantNoTemporary(t, path)
	before := layouttest.Tree(t, path)
	if _, err := layout.Create(t.Context(), path, layout.Options{}); err != nil {
		t.Fatal(err)
	}
	layouttest.WantTree(t, path, before) // a second Create changes nothing
}

// Wherever a Create stops, the next one ends up with a whole layout.
func TestCreateGoesOn(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		path := filepath.Join(t.TempDir(), "layout")
		broken, fired := failNth(n)
		if _, err := layout.Create(durable.WithFault(t.Context(), broken), path, layout.Options{}); !fired() {
			if err != nil || n < 10 {
				t.Errorf("ends after %d operations with %v", n, err)
			}
			return
		} else if !errors.Is(err, errFault) {
			t.Errorf("operation %d: %v, want the fault", n, err)
		}
		made, err := layout.Create(t.Context(), path, layout.Options{})
		if err != nil {
			t.Fatalf("after a fault of operation %d: %v", n, err)
		}
		root, _ := bytesOf("root")
		if err := made.Tag(t.Context(), "latest", root, ""); err != nil {
			t.Fatal(err)
		}
		wantTags(t, path, map[string]digest.Digest{"latest": root.Digest}, map[string]bool{})
	}
}

// Of two that make one layout the slower one must not empty the index that the other has tagged in meanwhile.
func TestCreateKeepsWhatOthersTag(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "layout")
	root, _ := bytesOf("root")
	syncs := 0
	slow := durable.WithFault(t.Context(), func(op durable.Op, _ string) error {
		if op != durable.OpSync {
			return nil
		}
		if syncs++; syncs != 2 { // of oci-layout, of index.json
			return nil
		}
		quick, err := layout.Create(t.Context(), path, layout.Options{})
		if err != nil {
			return err
		}
		return quick.Tag(t.Context(), "latest", root, "")
	})
	if _, err := layout.Create(slow, path, layout.Options{}); err != nil || syncs != 2 {
		t.Fatalf("%v after %d files", err, syncs)
	}
	wantTags(t, path, map[string]digest.Digest{"latest": root.Digest}, nil)
}

var errFault = errors.New("injected fault")

// failNth returns a fault for durable.WithFault that fails the n-th durable operation, and a function that reports whether it came to that.
func failNth(n int) (fault func(durable.Op, string) error, fired func() bool) {
	var mu sync.Mutex
	count := 0
	return func(op durable.Op, path string) error {
			mu.Lock()
			defer mu.Unlock()
			if count++; count == n {
				return fmt.Errorf("%w: %s of %s", errFault, op, path)
			}
			return nil
		}, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return count >= n
		}
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	want := map[string]string{ // the tags of caches, where it is not just latest
		"multi-tag": "v1 v2", "inline-image": "", "dangling-index": "",
	}
	for _, name := range corpusCaches(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := open(t, filepath.Join(corpus, name))
			found, err := layout.Survey(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			var tags []string
			for _, f := range found {
				if f.Kind != layout.KindCache {
					continue
				}
				tags = append(tags, f.Tag)
				cache, err := layout.Load(t.Context(), dir, f)
				if err != nil {
					t.Fatal(err)
				}
				if len(cache.Config.Layers) == 0 || len(cache.Config.Layers) != len(cache.Root.Layers) {
					t.Errorf("%d layers in the config, %d in the root", len(cache.Config.Layers), len(cache.Root.Layers))
				}
				for _, layer := range cache.Root.Layers {
					if has, err := dir.Has(t.Context(), layer); err != nil || !has {
						t.Errorf("layer %s: %v %v", layer.Digest, has, err)
					}
				}
			}
			wanted, ok := want[name]
			if !ok {
				wanted = "latest"
			}
			if got := strings.Join(tags, " "); got != wanted {
				t.Errorf("tags %q, want %q", got, wanted)
			}
		})
	}
}

// A layout of an old BuildKit stays one: its index.json gets no mediaType, and it needs no oci-layout.
func TestOldLayout(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "v0.11.6-docker-list")
	dir := open(t, path)
	root, bytes := bytesOf(`{"new":"root"}`)
	was := entryOf(t, dir, "latest").Descriptor.Digest
	if err := errors.Join(dir.Put(t.Context(), root, bytes), dir.Tag(t.Context(), "latest", root, was)); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(path, "index.json"))
	want := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"text/plain","digest":"%s","size":%d,`+
		`"annotations":{"org.opencontainers.image.ref.name":"latest"}}]}`, root.Digest, root.Size)
	if err != nil || string(raw) != want {
		t.Errorf("index.json %s (%v), want %s", raw, err, want)
	}
}

func entryOf(t *testing.T, dir *layout.Dir, tag string) layout.Entry {
	t.Helper()
	entry, err := layout.OneCache(t.Context(), dir, tag)
	if err != nil {
		t.Fatal(err)
	}
	return entry
}

// What index.json says of sizes nothing checks, so it is not believed.
func TestEntriesHaveTheSizesOfFiles(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	root := h.cache("a")
	wrong, gone := root, root
	wrong.Size = 7
	gone.Digest, gone.Size = digest.FromString("gone"), 8
	h.index(tagged(wrong, "wrong"), tagged(gone, "gone"))
	entries, err := h.open().Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if entries[0].Descriptor.Size != root.Size || entries[1].Descriptor.Size != 8 {
		t.Errorf("sizes %d and %d, want %d and 8", entries[0].Descriptor.Size, entries[1].Descriptor.Size, root.Size)
	}
	if _, err := layout.Load(t.Context(), h.open(), entries[0]); err != nil {
		t.Error(err)
	}
}

func TestIndexCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		make func(path string) error
	}{
		{"empty", func(path string) error { return os.WriteFile(path, nil, 0o644) }},
		{"torn for ever", func(path string) error { return os.WriteFile(path, []byte(`{"schemaVersion":2,"manif`), 0o644) }},
		{"not cut to its length", func(path string) error {
			return os.WriteFile(path, []byte(`{"schemaVersion":2,"manifests":[]}latest"}}]}`), 0o644)
		}},
		{"other JSON", func(path string) error { return os.WriteFile(path, []byte(`[]`), 0o644) }},
		{"FIFO", func(path string) error { return syscall.Mkfifo(path, 0o644) }},
		{"directory", func(path string) error { return os.Mkdir(path, 0o755) }},
		{"a terabyte", func(path string) error {
			return errors.Join(os.WriteFile(path, []byte(`{`), 0o644), os.Truncate(path, 1<<40))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := byHand(t)
			path := filepath.Join(h.path, "index.json")
			if err := errors.Join(os.Remove(path), test.make(path)); err != nil {
				t.Fatal(err)
			}
			dir := h.open()
			root, _ := bytesOf("root")
			_, indexErr := dir.Index(t.Context())
			_, surveyErr := layout.Survey(t.Context(), dir)
			for what, err := range map[string]error{
				"Index": indexErr, "Survey": surveyErr, "Tag": dir.Tag(t.Context(), "latest", root, ""),
			} {
				var e *layout.IndexError
				if !errors.As(err, &e) || e.Path != path {
					t.Errorf("%s: %v, want an *IndexError of %s", what, err, path)
				}
			}
			wantNoTemporary(t, h.path)
		})
	}
}

func TestIndexEndsWithItsContext(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	h.write("index.json", "torn")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.open().Index(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// BuildKit rewrites index.json in place. Readers must see one state or another: not a torn file, nor half of one state
// and half of the next, which can be just as good JSON.
func TestReadersBesideBuildKit(t *testing.T) {
	t.Parallel()
	const entries = 24
	h := byHand(t)
	// Each state has the same tags, in another order, and each digest tells its state.
	index := func(state int) []byte {
		var all []buildcache.Descriptor
		for i := range entries - state%3 {
			d := buildcache.Descriptor{MediaType: "text/plain", Digest: digest.Digest("sha256:" + strings.Repeat(fmt.Sprint(state%10), 64)), Size: 1}
			all = append(all, tagged(d, fmt.Sprintf("tag%02d", (i*(state+1))%entries)))
		}
		return []byte(toJSON(t, map[string]any{"schemaVersion": 2, "manifests": all}))
	}
	states := [][]byte{index(0), index(1), index(2), index(4)}
	path := filepath.Join(h.path, "index.json")
	if err := os.WriteFile(path, states[0], 0o644); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var writer, readers sync.WaitGroup
	writer.Go(func() {
		// Far more often than BuildKit ever would, but not without a moment's rest.
		pace := time.NewTicker(time.Millisecond)
		defer pace.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-pace.C:
			}
			if err := rewriteAsBuildKit(path, states[i%len(states)]); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 2 {
		readers.Go(func() {
			dir := h.open()
			for range 400 {
				index, err := dir.Index(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				mixed := slices.ContainsFunc(index.Entries, func(d buildcache.Descriptor) bool { return d.Digest != index.Entries[0].Digest })
				if mixed || len(index.Entries) < entries-2 {
					t.Errorf("a mixture of states: %v", index.Entries)
					return
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	writer.Wait()
}

// rewriteAsBuildKit writes index.json with the system calls of putAsBuildKit, but a content of its own.
func rewriteAsBuildKit(path string, data []byte) error {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(data, 0)
	return errors.Join(err, file.Truncate(int64(len(data))), file.Close(), lock.Close(), os.RemoveAll(path+".lock"))
}

// hostileDigests must never become paths.
var hostileDigests = []digest.Digest{
	"", ":", "sha256:", "sha256", "../../etc/passwd", "sha256:../../../../etc/passwd",
	"sha256:" + digest.Digest(strings.Repeat("../", 21)) + "x",
	"sha256:" + digest.Digest(strings.Repeat("A", 64)), // capitals would be a second name of one blob
	"sha256:" + digest.Digest(strings.Repeat("a", 63)),
	"sha256:" + digest.Digest(strings.Repeat("a", 63)) + "/",
	"sha512:" + digest.Digest(strings.Repeat("a", 64)),
	"md5:" + digest.Digest(strings.Repeat("a", 32)),
	"sha384:" + digest.Digest(strings.Repeat("a", 96)),
	"../sha256:" + digest.Digest(strings.Repeat("a", 64)),
	"sha256:" + digest.Digest(strings.Repeat("a", 64)) + "\x00",
	"sha256:" + digest.Digest(strings.Repeat("a", 64)) + "\n",
}

func TestHostileDigests(t *testing.T) {
	t.Parallel()
	for _, hostile := range hostileDigests {
		t.Run(string(hostile), func(t *testing.T) {
			t.Parallel()
			h := byHand(t)
			good := h.cache("good")
			bad := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: hostile, Size: 9}
			h.index(tagged(bad, "bad"), tagged(good, "good"))
			before := layouttest.Tree(t, h.path)
			ctx, dir := t.Context(), h.open()

			var blob *layout.BlobError
			_, fileErr := dir.OpenFile(ctx, bad)
			_, openErr := dir.Open(ctx, bad)
			_, verifiedErr := layout.OpenVerified(ctx, dir, bad)
			_, readErr := layout.ReadBlob(ctx, dir, bad, 100)
			_, rawErr := layout.ReadUnverified(ctx, dir, bad, 100)
			content := &opener{text: "content"}
			for what, err := range map[string]error{
				"OpenFile": fileErr, "Open": openErr, "OpenVerified": verifiedErr, "ReadBlob": readErr, "ReadUnverified": rawErr,
			} {
				if !errors.As(err, &blob) || blob.Digest != hostile {
					t.Errorf("%s: %v, want a *BlobError", what, err)
				}
			}
			if _, err := dir.Has(ctx, bad); err == nil {
				t.Error("Has: no error")
			}
			if err := dir.Put(ctx, bad, content.open); err == nil || content.opened > 0 {
				t.Errorf("Put: %v after %d openings", err, content.opened)
			}

			found, err := layout.Survey(ctx, dir)
			if err != nil || found[0].Kind != layout.KindInvalid || found[0].Err == nil || found[1].Kind != layout.KindCache {
				t.Errorf("Survey: %v (%v)", found, err)
			}
			if entry, err := layout.OneCache(ctx, dir, "good"); err != nil || entry.Descriptor.Digest != good.Digest {
				t.Errorf("the good one beside it: %v (%v)", entry, err)
			}
			if _, err := layout.OneCache(ctx, dir, "bad"); err == nil {
				t.Error("the bad one: no error")
			}
			if _, err := layout.Reach(ctx, dir); err == nil {
				t.Error("Reach says that nothing else is reached")
			}
			layouttest.WantTree(t, h.path, before)
		})
	}
}
