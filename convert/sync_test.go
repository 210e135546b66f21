package convert_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// several returns a layout with an image and these caches of the corpus, tagged by their names.
func several(t *testing.T, names ...string) string {
	t.Helper()
	path := layouttest.CopyCorpus(t, "inline-image")
	addLock(t, path)
	dst := open(t, path)
	for _, name := range names {
		src := openCorpus(t, name)
		if _, err := convert.Convert(t.Context(), src, layouttest.Entry(t, src, ""), dst, name, convert.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func syncAll(t *testing.T, src layout.Source, dst layout.Place, o convert.SyncOptions) *convert.SyncResult {
	t.Helper()
	result, err := convert.Sync(t.Context(), src, dst, o)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// summary is what became of each cache: moved, skipped or failed.
func summary(result *convert.SyncResult) map[string]string {
	all := map[string]string{}
	for _, c := range result.Caches {
		switch {
		case c.Err != nil:
			all[c.From] = "failed"
		case c.Skipped:
			all[c.From] = "skipped"
		case c.Moved > 0:
			all[c.From] = "moved"
		default:
			all[c.From] = "tagged"
		}
	}
	return all
}

// tagsOf returns the tags of a place.
func tagsOf(t *testing.T, src layout.Source) map[string]digest.Digest {
	t.Helper()
	entries, err := src.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tags := map[string]digest.Digest{}
	for _, e := range entries {
		tags[e.Tag] = e.Descriptor.Digest
	}
	return tags
}

// TestSync brings caches over, once, and with every conversion.
func TestSync(t *testing.T) {
	t.Parallel()
	path := several(t, "artifact-gzip", "oci-index-zstd", "artifact-estargz")
	before := layouttest.Tree(t, path)
	for _, tt := range []struct {
		name string
		o    convert.Options
	}{
		{"as they are", convert.Options{}},
		{"form", convert.Options{Form: buildcache.DockerList}},
		{"gzip", convert.Options{Compression: buildcache.Gzip}},
		{"zstd", convert.Options{Compression: buildcache.Zstd, Form: buildcache.Artifact}},
		{"estargz", convert.Options{Compression: buildcache.Estargz, Form: buildcache.OCIIndex}},
		{"uncompressed", convert.Options{Compression: buildcache.Uncompressed}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			src, dst := watch(open(t, path)), layouttest.Create(t)
			var heard []string
			o := convert.SyncOptions{Options: tt.o, OnEntry: func(e convert.SyncEntry) { heard = append(heard, e.From) }}
			first := syncAll(t, src, dst, o)
			for tag, what := range summary(first) {
				if what != "moved" && what != "tagged" {
					t.Errorf("%s: %s", tag, what)
				}
			}
			if first.Others != 1 || first.Failed != 0 || len(first.Caches) != 3 || first.Moved == 0 || len(heard) != 3 {
				t.Errorf("%+v, heard of %v", first, heard)
			}
			for _, c := range first.Caches {
				wantClean(t, dst, c.To)
				wantEqual(t, c.To, c.ToDigest, tagsOf(t, dst)[c.To])
			}

			written := layouttest.Tree(t, dst.String())
			clear(src.opened)
			again := syncAll(t, src, dst, o)
			wantEqual(t, "again", summary(again), map[string]string{
				"artifact-gzip": "skipped", "oci-index-zstd": "skipped", "artifact-estargz": "skipped",
			})
			wantEqual(t, "moved again", again.Moved, int64(0))
			layouttest.WantTree(t, dst.String(), written)
			if tt.o.Compression == "" {
				for layer := range load(t, open(t, path), "artifact-gzip").Root.LayersByDigest() {
					wantEqual(t, "opened again", src.opened[layer], 0)
				}
			}
			layouttest.WantTree(t, path, before)
		})
	}
}

// TestSyncAfterChange brings over only the cache that changed.
func TestSyncAfterChange(t *testing.T) {
	t.Parallel()
	path := several(t, "artifact-gzip", "oci-index-zstd")
	src, dst := open(t, path), layouttest.Create(t)
	o := convert.SyncOptions{Options: convert.Options{Compression: buildcache.Zstd}}
	syncAll(t, src, dst, o)
	newer := openCorpus(t, "merge-small2-fresh")
	if _, err := convert.Convert(t.Context(), newer, layouttest.Entry(t, newer, ""), src, "artifact-gzip", convert.Options{}); err != nil {
		t.Fatal(err)
	}
	result := syncAll(t, src, dst, o)
	wantEqual(t, "caches", summary(result), map[string]string{"artifact-gzip": "moved", "oci-index-zstd": "skipped"})
	wantClean(t, dst, "artifact-gzip")
	wantEqual(t, "cache", len(load(t, dst, "artifact-gzip").Config.Records), len(load(t, newer, "").Config.Records))

	// What has the tag in the destination may be anything, but no image.
	broken := blobPath(dst.String(), tagsOf(t, dst)["artifact-gzip"])
	overwrite(t, broken, []byte("{}"))
	if got := syncAll(t, src, dst, o); summary(got)["artifact-gzip"] == "skipped" {
		t.Error("a cache whose root is broken was taken for current")
	}
}

// TestSyncGoesOn meets damaged caches among whole ones.
func TestSyncGoesOn(t *testing.T) {
	t.Parallel()
	path := several(t, "merge-small2-fresh", "artifact-gzip", "artifact-zstd", "artifact-gzip-level9")
	damaged := layersOf(load(t, open(t, path), "artifact-gzip"))[4]
	flip(middle)(t, path, damaged)
	remove(t, path, layersOf(load(t, open(t, path), "artifact-zstd"))[4])
	src := open(t, path)
	other := map[string]bool{}
	for blob := range load(t, src, "artifact-gzip-level9").Root.LayersByDigest() {
		other[blob.String()] = true
	}
	if other[damaged.Digest.String()] {
		t.Fatal("the damaged layer is not artifact-gzip's own")
	}
	for _, o := range []convert.Options{{}, {Form: buildcache.DockerList}, {Compression: buildcache.Estargz}} {
		dst := layouttest.Create(t)
		result := syncAll(t, src, dst, convert.SyncOptions{Options: o})
		wantEqual(t, "caches", summary(result), map[string]string{
			"merge-small2-fresh": "moved", "artifact-gzip": "failed", "artifact-zstd": "failed", "artifact-gzip-level9": "moved",
		})
		wantEqual(t, "failed", result.Failed, 2)
		for _, c := range result.Caches {
			if (c.Err != nil) != (c.Error != "") || c.Err != nil && c.ToDigest != "" {
				t.Errorf("%+v", c)
			}
		}
		if err := result.Caches[1].Err; !isDamaged(err, damaged) {
			t.Errorf("it failed with %v", err)
		}
		var proof *convert.ProofError
		if err := result.Caches[2].Err; !errors.As(err, &proof) {
			t.Errorf("it failed with %v", err)
		}
		wantEqual(t, "tags", len(tagsOf(t, dst)), 2)
		wantClean(t, dst, "merge-small2-fresh")
		wantClean(t, dst, "artifact-gzip-level9")
		wantIntact(t, dst.String())
		wantNoTemporary(t, dst.String())
	}
	fast := syncAll(t, src, layouttest.Create(t), convert.SyncOptions{FailFast: true})
	wantEqual(t, "caches, failing fast", summary(fast), map[string]string{"merge-small2-fresh": "moved", "artifact-gzip": "failed"})
}

// TestSyncDangling meets a tag that names nothing, and one that names nonsense.
func TestSyncDangling(t *testing.T) {
	t.Parallel()
	path := several(t, "artifact-gzip", "artifact-zstd", "oci-index-gzip")
	tags := tagsOf(t, open(t, path))
	remove(t, path, buildcache.Descriptor{Digest: tags["artifact-gzip"]})
	overwrite(t, blobPath(path, tags["artifact-zstd"]), []byte("nonsense"))
	result := syncAll(t, open(t, path), layouttest.Create(t), convert.SyncOptions{})
	wantEqual(t, "caches", summary(result), map[string]string{
		"artifact-gzip": "failed", "artifact-zstd": "failed", "oci-index-gzip": "moved",
	})
	var dangling *layout.DanglingError
	if err := result.Caches[0].Err; !errors.As(err, &dangling) || dangling.Tag != "artifact-gzip" {
		t.Errorf("it failed with %v", err)
	}
}

// TestSyncChooses by Match and Tag.
func TestSyncChooses(t *testing.T) {
	t.Parallel()
	src, dst := open(t, several(t, "artifact-gzip", "oci-index-zstd", "artifact-zstd")), layouttest.Create(t)
	zstd := func(tag string) bool { return strings.HasSuffix(tag, "-zstd") }
	result := syncAll(t, src, dst, convert.SyncOptions{Match: zstd})
	wantEqual(t, "caches", summary(result), map[string]string{"oci-index-zstd": "moved", "artifact-zstd": "tagged"})
	wantEqual(t, "others", result.Others, 0)
	wantEqual(t, "tags", len(tagsOf(t, dst)), 2)

	var ambiguous *layout.AmbiguousError
	if _, err := convert.Sync(t.Context(), src, dst, convert.SyncOptions{Match: zstd, Tag: "one"}); !errors.As(err, &ambiguous) || len(ambiguous.Tags) != 2 {
		t.Errorf("it ended with %v", err)
	}
	only := convert.SyncOptions{Tag: "one", Match: func(tag string) bool { return tag == "artifact-gzip" }}
	result = syncAll(t, src, dst, only)
	wantEqual(t, "to", result.Caches[0].To, "one")
	wantEqual(t, "root", tagsOf(t, dst)["one"], tagsOf(t, src)["artifact-gzip"])
	wantEqual(t, "again", summary(syncAll(t, src, dst, only)), map[string]string{"artifact-gzip": "skipped"})
}

// TestSyncIntoImage never takes the tag of an image.
func TestSyncIntoImage(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "inline-image")
	addLock(t, path)
	before := layouttest.Tree(t, path)
	result := syncAll(t, openCorpus(t, "artifact-gzip"), open(t, path), convert.SyncOptions{Tag: "1"})
	var taken *layout.TakenError
	if err := result.Caches[0].Err; !errors.As(err, &taken) || result.Failed != 1 {
		t.Errorf("it failed with %v", err)
	}
	layouttest.WantTree(t, path, before)
}

// forgetful is a place without a journal, without locks, and without random access, as registries are.
type forgetful struct{ layout.Place }

// TestSyncLearns recompresses what two caches share once, though the place remembers nothing.
func TestSyncLearns(t *testing.T) {
	t.Parallel()
	src := open(t, several(t, "artifact-gzip", "docker-list-gzip", "merge-small2-fresh"))
	for _, target := range []buildcache.Compression{buildcache.Zstd, buildcache.Uncompressed} {
		t.Run(string(target), func(t *testing.T) {
			t.Parallel()
			dst := layouttest.Create(t)
			var heard events
			o := convert.SyncOptions{Options: convert.Options{Compression: target, OnEvent: heard.handle}}
			place := forgetful{dst}
			result := syncAll(t, src, place, o)
			wantEqual(t, "caches", summary(result), map[string]string{
				"artifact-gzip": "moved", "docker-list-gzip": "tagged", "merge-small2-fresh": "moved",
			})
			for blob, n := range heard.begun["recompress"] {
				wantEqual(t, blob.String(), n, 1)
			}
			wantEqual(t, "again", syncAll(t, src, place, o).Moved, int64(0))
			for tag := range tagsOf(t, dst) {
				wantClean(t, dst, tag)
			}
			// A later sync learns from what the tagged roots hold.
			dry := syncAll(t, openCorpus(t, "oci-index-gzip"), place, o)
			wantEqual(t, "later", summary(dry), map[string]string{"latest": "tagged"})
		})
	}
}

// TestConvertWithoutRandomAccess reads sources as streams only, estargz by way of a temporary file.
func TestConvertWithoutRandomAccess(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"artifact-gzip", "artifact-estargz", "artifact-mixed-gzip-zstd"} {
		for _, target := range []buildcache.Compression{buildcache.Zstd, buildcache.Estargz} {
			t.Run(name+" to "+string(target), func(t *testing.T) {
				t.Parallel()
				src, dst, other := openCorpus(t, name), layouttest.Create(t), layouttest.Create(t)
				got := run(t, forgetful{src}, forgetful{dst}, convert.Options{Compression: target})
				wantEqual(t, "root", got.To.Digest, run(t, src, other, convert.Options{Compression: target}).To.Digest)
				wantClean(t, dst, "latest")
			})
		}
	}
}

// TestSyncDryRun writes nothing, to a place that is not there and to one that is, and says what would be moved of the layers that
// stay as they are.
func TestSyncDryRun(t *testing.T) {
	t.Parallel()
	path := several(t, "artifact-gzip", "oci-index-zstd")
	before := layouttest.Tree(t, path)
	src := open(t, path)
	for _, o := range []convert.Options{{DryRun: true}, {DryRun: true, Compression: buildcache.Zstd, Form: buildcache.Artifact}} {
		real := syncAll(t, src, layouttest.Create(t), convert.SyncOptions{Options: convert.Options{Compression: o.Compression, Form: o.Form}})
		kept := real.Moved
		if o.Compression != "" { // the layers of the second cache; whether the first is to become the same is not known
			kept = 0
			for _, layer := range load(t, src, "oci-index-zstd").Root.LayersByDigest() {
				kept += layer.Size
			}
		}
		result := syncAll(t, src, nil, convert.SyncOptions{Options: o})
		if len(result.Caches) != 2 || result.Failed != 0 || result.Moved != kept || result.Others != 1 {
			t.Errorf("%d to move, want %d: %+v", result.Moved, kept, result)
		}
		dst := layouttest.Create(t)
		written := layouttest.Tree(t, dst.String())
		if got := syncAll(t, src, dst, convert.SyncOptions{Options: o}); got.Failed != 0 || got.Moved != kept || got.Saved != result.Saved {
			t.Errorf("%+v", got)
		}
		layouttest.WantTree(t, dst.String(), written)
	}
	layouttest.WantTree(t, path, before)
}

// TestSyncInterrupted ends at once, with what was done by then.
func TestSyncInterrupted(t *testing.T) {
	t.Parallel()
	src, dst := open(t, several(t, "artifact-gzip", "oci-index-zstd", "artifact-estargz")), layouttest.Create(t)
	ctx, cancel := context.WithCancel(t.Context())
	o := convert.SyncOptions{OnEntry: func(convert.SyncEntry) { cancel() }}
	result, err := convert.Sync(ctx, src, dst, o)
	if !errors.Is(err, context.Canceled) || result == nil || len(result.Caches) != 1 {
		t.Errorf("%+v, %v", result, err)
	}
	wantEqual(t, "tags", len(tagsOf(t, dst)), 1)
	wantNoTemporary(t, dst.String())
	if _, err := os.Stat(filepath.Join(dst.String(), "cache.lock")); err != nil {
		t.Error(err)
	}
}

// keeper is a place that has a blob with one bit turned, and takes no other for it, as a registry does.
type keeper struct {
	layout.Place
	blob buildcache.Descriptor
}

func (k keeper) Has(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	if blob.Digest == k.blob.Digest {
		return blob.Size == k.blob.Size, nil
	}
	return k.Place.Has(ctx, blob)
}

func (k keeper) Put(ctx context.Context, blob buildcache.Descriptor, open layout.OpenFunc) error {
	if blob.Digest == k.blob.Digest {
		return nil
	}
	return k.Place.Put(ctx, blob, open)
}

func (k keeper) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	if blob.Digest == k.blob.Digest {
		return io.NopCloser(io.LimitReader(zeros{}, k.blob.Size)), nil
	}
	return k.Place.Open(ctx, blob)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestSyncDeepIntoKeeper says that damage stays, and does not tag what uses it: neither a cache that is there nor a new one.
func TestSyncDeepIntoKeeper(t *testing.T) {
	t.Parallel()
	src := openCorpus(t, "artifact-gzip")
	layer := load(t, src, "").Root.Layers[0]
	for _, there := range []bool{true, false} {
		memory := layout.NewMemory("memory")
		if there {
			syncAll(t, src, memory, convert.SyncOptions{})
		}
		dst := keeper{memory, layer}
		if got := syncAll(t, src, dst, convert.SyncOptions{}); got.Failed != 0 {
			t.Fatalf("without deep: %+v", got.Err())
		}
		if !there {
			dst = keeper{layout.NewMemory("memory"), layer}
		}
		tags := tagsOf(t, dst)
		result := syncAll(t, src, dst, convert.SyncOptions{Deep: true})
		var held *layout.HeldError
		if err := result.Err(); !errors.As(err, &held) || !errors.Is(err, layout.ErrBlobDamaged) {
			t.Errorf("there %v: %v, want a *HeldError around damage", there, err)
		}
		wantEqual(t, "tags", tagsOf(t, dst), tags)
	}
}

// TestSyncDeepRecompressedIntoKeeper is about a layer that is made anew and that the destination has, damaged, under the
// same digest: to have sent it proves nothing.
func TestSyncDeepRecompressedIntoKeeper(t *testing.T) {
	t.Parallel()
	src := openCorpus(t, "artifact-gzip")
	for _, trust := range []bool{false, true} {
		memory := layout.NewMemory("memory")
		o := convert.SyncOptions{Options: convert.Options{Compression: buildcache.Zstd, TrustDestination: trust}}
		syncAll(t, src, memory, o)
		dst := keeper{memory, load(t, memory, "").Root.Layers[0]}
		o.Deep = true
		var held *layout.HeldError
		if err := syncAll(t, src, dst, o).Err(); !errors.As(err, &held) || !errors.Is(err, layout.ErrBlobDamaged) {
			t.Errorf("trusted %v: %v, want a *HeldError around damage", trust, err)
		}
	}
}

// TestSyncDeepPlans has what --deep reads among the work that is announced.
func TestSyncDeepPlans(t *testing.T) {
	t.Parallel()
	src, dst := openCorpus(t, "artifact-gzip"), layout.NewMemory("memory")
	syncAll(t, src, dst, convert.SyncOptions{})
	var mu sync.Mutex
	planned, done := 0, 0
	syncAll(t, src, dst, convert.SyncOptions{Deep: true, Options: convert.Options{OnEvent: func(e layout.Event) {
		mu.Lock()
		defer mu.Unlock()
		switch e.Kind {
		case layout.EventPlan:
			planned += e.Count
		case layout.EventDone:
			done++
		case layout.EventStart, layout.EventBytes, layout.EventRetry:
		}
	}}})
	if done != 14 || planned != done {
		t.Errorf("%d blobs were announced, %d done", planned, done)
	}
}

// TestSyncParallel comes to the same bytes, however many caches are worked on at once, and whichever is quickest.
func TestSyncParallel(t *testing.T) {
	t.Parallel()
	path := several(t, "artifact-gzip", "oci-index-zstd", "artifact-estargz", "docker-list-gzip", "merge-small2-fresh")
	want := layouttest.Create(t)
	syncAll(t, open(t, path), want, convert.SyncOptions{})
	for range 3 {
		dst := layouttest.Create(t)
		var order []string
		o := convert.SyncOptions{Parallel: 4, OnEntry: func(e convert.SyncEntry) { order = append(order, e.To) }}
		result := syncAll(t, slowAtFirst{open(t, path)}, dst, o)
		wantEqual(t, "caches", result.Failed, 0)
		layouttest.WantTree(t, dst.String(), layouttest.Tree(t, want.String()))
		for i, cache := range result.Caches {
			wantEqual(t, "heard in order", order[i], cache.To)
		}
	}
}

// slowAtFirst is a place whose first cache takes longest.
type slowAtFirst struct{ *layout.Dir }

func (s slowAtFirst) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	entries, err := s.Entries(ctx)
	if err == nil && blob.Digest == entries[1].Descriptor.Digest {
		time.Sleep(20 * time.Millisecond)
	}
	return s.Dir.Open(ctx, blob)
}
