package layout_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// nested is a layout with a cache, an untagged one, an image below two indexes, and blobs that nothing names.
func nested(t *testing.T) (h handmade, needed, stray []digest.Digest) {
	t.Helper()
	h = byHand(t)
	descriptor := func(d buildcache.Descriptor) map[string]any {
		return map[string]any{"mediaType": d.MediaType, "digest": d.Digest, "size": d.Size}
	}
	layer, config := h.blob("application/vnd.oci.image.layer.v1.tar+gzip", "layer"), h.blob("application/vnd.oci.image.config.v1+json", "{}")
	image := h.json(buildcache.MediaTypeOCIManifest, map[string]any{
		"schemaVersion": 2, "mediaType": buildcache.MediaTypeOCIManifest, "config": descriptor(config), "layers": []any{descriptor(layer)},
	})
	inner := h.json(buildcache.MediaTypeOCIIndex, map[string]any{
		"schemaVersion": 2, "mediaType": buildcache.MediaTypeOCIIndex, "manifests": []any{descriptor(image)},
	})
	outer := h.json(buildcache.MediaTypeOCIIndex, map[string]any{
		"schemaVersion": 2, "mediaType": buildcache.MediaTypeOCIIndex, "manifests": []any{descriptor(inner)},
	})
	h.index(tagged(h.cache("a"), "a"), h.cache("untagged"), tagged(outer, "image"))
	reached, err := layout.Reach(t.Context(), h.open())
	if err != nil {
		t.Fatal(err)
	}
	for blob := range reached {
		needed = append(needed, blob)
	}
	before := len(needed)
	if !slices.Contains(needed, layer.Digest) || !slices.Contains(needed, config.Digest) || before < 9 {
		t.Fatalf("%d blobs are needed", before)
	}
	stray = []digest.Digest{h.blob("", "stray").Digest, h.blob("", "another").Digest}
	lost := h.cache("lost") // a root that nothing names
	err = layout.Walk(t.Context(), h.open(), lost, func(n layout.Node) error {
		if !reached[n.Digest] {
			stray = append(stray, n.Digest)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(stray)
	return h, needed, stray
}

// TestGC removes exactly what nothing reaches.
func TestGC(t *testing.T) {
	t.Parallel()
	h, needed, stray := nested(t)
	begun, other := "ingest/"+digest.FromString("ref").Encoded(), "ingest/"+digest.FromString("other").Encoded()
	for _, name := range []string{begun + "/data", begun + "/updatedat.tmp", "ingest/abc/data", "ingest/file", other + "/mine", ".ocicache/tmp-0123456789abcdef", ".ocicache/journal", ".ocicache/other", "blobs/md5/x", "blobs/sha256/README"} {
		path := filepath.Join(h.path, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte("12345"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/hostname", h.blobPath(digest.FromString("a link"))); err != nil {
		t.Fatal(err)
	}
	before := layouttest.Tree(t, h.path)
	young, err := h.open().GC(t.Context(), layout.GCOptions{Grace: time.Hour})
	if err != nil || len(young.Blobs) != 0 || young.Young.Files != len(stray)+1 || young.Writing != begun || young.Leftovers.Files != 1 {
		t.Fatalf("%+v (%v)", young, err)
	}
	delete(before, ".ocicache/tmp-0123456789abcdef") // which nobody writes, however young it is
	layouttest.WantTree(t, h.path, before, "cache.lock")
	dry, err := h.open().GC(t.Context(), layout.GCOptions{DryRun: true})
	if err != nil || !slices.Equal(dry.Blobs, stray) || dry.Leftovers.Files != 1 || dry.Leftovers.Bytes != 10 {
		t.Fatalf("%+v (%v)", dry, err)
	}
	layouttest.WantTree(t, h.path, before, "cache.lock")

	done, err := h.open().GC(t.Context(), layout.GCOptions{})
	if err != nil || !slices.Equal(done.Blobs, stray) || done.Kept.Files != len(needed) || done.Removed != dry.Removed || done.Leftovers != dry.Leftovers {
		t.Fatalf("%+v (%v)", done, err)
	}
	if len(done.Strange) != 6 || !slices.Contains(done.Strange, "ingest/file") || !slices.Contains(done.Strange, other) {
		t.Errorf("strange: %q", done.Strange)
	}
	delete(before, begun)
	delete(before, begun+"/data")
	delete(before, begun+"/updatedat.tmp")
	for _, blob := range stray {
		delete(before, "blobs/sha256/"+blob.Encoded())
	}
	layouttest.WantTree(t, h.path, before, "cache.lock")
	if left, err := os.ReadDir(filepath.Join(h.path, "ingest")); err != nil || len(left) != 3 {
		t.Errorf("in ingest: %v (%v)", left, err)
	}
	again, err := h.open().GC(t.Context(), layout.GCOptions{})
	if err != nil || len(again.Blobs) != 0 || again.Leftovers.Files != 0 || again.Kept != done.Kept {
		t.Errorf("%+v (%v)", again, err)
	}
}

// TestGCRefuses removes nothing where what is needed is not all there, and says what is missing.
func TestGCRefuses(t *testing.T) {
	t.Parallel()
	_, needed, _ := nested(t)
	type damage struct {
		name string
		do   func(h handmade) error
	}
	damages := []damage{
		{"no index.json", func(h handmade) error { return os.Remove(filepath.Join(h.path, "index.json")) }},
		{"empty index.json", func(h handmade) error { return os.WriteFile(filepath.Join(h.path, "index.json"), nil, 0o600) }},
		{"index.json of nothing", func(h handmade) error { return os.WriteFile(filepath.Join(h.path, "index.json"), []byte("{}"), 0o600) }},
		{"no entries", func(h handmade) error { h.index(); return nil }},
		{"torn index.json", func(h handmade) error { return os.Truncate(filepath.Join(h.path, "index.json"), 20) }},
		{"dangling tag", func(h handmade) error {
			h.index(tagged(buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: digest.FromString("gone"), Size: 3}, "latest"))
			return nil
		}},
		{"root is no manifest", func(h handmade) error { h.index(tagged(h.blob(buildcache.MediaTypeOCIManifest, "x"), "a")); return nil }},
		{"hostile digest", func(h handmade) error {
			h.index(tagged(buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: "sha256:../../x"}, "a"))
			return nil
		}},
		{"blobs is a symbolic link", func(h handmade) error {
			return errors.Join(os.Rename(filepath.Join(h.path, "blobs"), h.path+".blobs"), os.Symlink(h.path+".blobs", filepath.Join(h.path, "blobs")))
		}},
	}
	for _, blob := range needed {
		damages = append(damages, damage{"missing " + blob.Encoded()[:8], func(h handmade) error { return os.Remove(h.blobPath(blob)) }})
	}
	for _, damage := range damages {
		t.Run(damage.name, func(t *testing.T) {
			t.Parallel()
			h, _, _ := nested(t)
			if err := damage.do(h); err != nil {
				t.Fatal(err)
			}
			before := layouttest.Tree(t, h.path)
			result, err := h.open().GC(t.Context(), layout.GCOptions{})
			var incomplete *layout.IncompleteError
			var index *layout.IndexError
			var nameless *layout.NamelessError
			if !errors.As(err, &incomplete) && !errors.As(err, &index) && !errors.As(err, &nameless) && !errors.Is(err, durable.ErrSymlink) {
				t.Errorf("%+v (%v)", result, err)
			}
			layouttest.WantTree(t, h.path, before, "cache.lock")
		})
	}
}

// TestGCGrace counts from the last change, for a copy brings the old times of the bytes along.
func TestGCGrace(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	h.index(tagged(h.cache("a"), "a"))
	stray := h.blob("", "stray").Digest
	if err := os.Chtimes(h.blobPath(stray), time.Now(), time.Now().Add(-1000*time.Hour)); err != nil {
		t.Fatal(err)
	}
	young, err := h.open().GC(t.Context(), layout.GCOptions{Grace: time.Hour})
	if err != nil || len(young.Blobs) != 0 || young.Young.Files != 1 {
		t.Errorf("just copied: %+v (%v)", young, err)
	}
	old, err := h.open().GC(t.Context(), layout.GCOptions{Grace: time.Hour, Now: time.Now().Add(2 * time.Hour)})
	if err != nil || !slices.Equal(old.Blobs, []digest.Digest{stray}) {
		t.Errorf("two hours later: %+v (%v)", old, err)
	}
	if err := os.WriteFile(h.blobPath(stray), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ahead := time.Now().Add(3 * time.Hour)
	if err := os.Chtimes(h.blobPath(stray), ahead, ahead); err != nil {
		t.Fatal(err)
	}
	ahead = ahead.Add(time.Minute)
	if done, err := h.open().GC(t.Context(), layout.GCOptions{Grace: time.Hour, Now: ahead}); err != nil || done.Young.Files != 1 {
		t.Errorf("with bytes from ahead: %+v (%v)", done, err)
	}
}

// TestGCSpares what an export without a lock may be about to name: all while it writes, and what its new blobs speak of.
func TestGCSpares(t *testing.T) {
	t.Parallel()
	later := time.Now().Add(48 * time.Hour)
	o := layout.GCOptions{Grace: 24 * time.Hour, Now: later}
	touch := func(path string, at time.Time) {
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	h := byHand(t)
	h.index(tagged(h.cache("a"), "a"))
	old, stray := h.blob("", "an old layer").Digest, h.blob("", "stray").Digest
	config := h.json(buildcache.MediaTypeConfig, map[string]any{"layers": []any{map[string]any{"blob": old}}}).Digest
	touch(h.blobPath(config), later.Add(-2*time.Hour)) // the export has got to its config, and not to index.json

	begun := filepath.Join(h.path, "ingest", digest.FromString("ref").Encoded())
	if err := errors.Join(os.MkdirAll(begun, 0o755), os.WriteFile(filepath.Join(begun, "data"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	touch(filepath.Join(begun, "data"), later.Add(-time.Minute))
	done, err := h.open().GC(t.Context(), o)
	if err != nil || len(done.Blobs) != 0 || done.Writing == "" || done.Young.Files != 4 {
		t.Errorf("while something is written: %+v (%v)", done, err)
	}
	touch(filepath.Join(begun, "data"), later.Add(-2*time.Hour))
	done, err = h.open().GC(t.Context(), o)
	if err != nil || !slices.Equal(done.Blobs, []digest.Digest{stray}) || done.Writing != "" || done.Young.Files != 3 {
		t.Errorf("while something may be about to be named: %+v (%v)", done, err)
	}
	done, err = h.open().GC(t.Context(), layout.GCOptions{Now: later})
	if err != nil || len(done.Blobs) != 2 || done.Leftovers.Files != 1 {
		t.Errorf("where everybody takes the lock: %+v (%v)", done, err)
	}
}

// TestGCSeesChanges of index.json between two removals, and says what it can't mend.
func TestGCSeesChanges(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		h := byHand(t)
		cache := tagged(h.cache("a"), "a")
		h.index(cache)
		strays := []buildcache.Descriptor{h.blob(anyType, "1"), h.blob(anyType, "2"), h.blob(anyType, "3")}
		slices.SortFunc(strays, func(a, b buildcache.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
		named, removals := strays[1], 0
		if late {
			named = strays[0] // is being removed already
		}
		ctx := durable.WithFault(t.Context(), func(op durable.Op, _ string) error {
			if op == durable.OpRemove {
				if removals++; removals == 1 {
					h.index(cache, tagged(named, "b"))
				}
			}
			return nil
		})
		done, err := h.open().GC(ctx, layout.GCOptions{})
		if !late {
			if err != nil || !slices.Equal(done.Blobs, []digest.Digest{strays[0].Digest, strays[2].Digest}) || done.Kept.Files != 4 {
				t.Errorf("%+v (%v)", done, err)
			}
			continue
		}
		var incomplete *layout.IncompleteError
		if !errors.As(err, &incomplete) || incomplete.Missing[0].Digest != named.Digest || incomplete.Removed.Files != 1 ||
			done == nil || !slices.Equal(done.Blobs, []digest.Digest{named.Digest}) || len(layoutBlobs(t, h)) != 5 {
			t.Errorf("late: %+v (%v)", done, err)
		}
	}
}

// TestGCWaits for writers, and lets none in.
func TestGCWaits(t *testing.T) {
	t.Parallel()
	h, _, _ := nested(t)
	dir, err := layout.Open(h.path, layout.Options{LockTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := dir.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var locked *layout.LockedError
	if _, err := dir.GC(t.Context(), layout.GCOptions{}); !errors.As(err, &locked) {
		t.Errorf("beside a writer: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(h.path, "cache.lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	if _, err := dir.GC(t.Context(), layout.GCOptions{}); !errors.As(err, &locked) {
		t.Errorf("beside BuildKit: %v", err)
	}
	if done, err := dir.GC(t.Context(), layout.GCOptions{DryRun: true}); err != nil || done.Removed.Files == 0 {
		t.Errorf("a dry run beside BuildKit: %+v, %v", done, err)
	}
}

// twoUnnamed stores two caches that no entry names: all blobs of the second come after the root of the first in the order in which gc
// removes blobs.
func twoUnnamed(t *testing.T) (h handmade, first, second buildcache.Descriptor) {
	t.Helper()
	for n := 0; ; n++ {
		h = byHand(t)
		first, second = h.cache(fmt.Sprint("first ", n)), h.cache(fmt.Sprint("second ", n))
		cache, err := layout.Load(t.Context(), h.open(), layout.Entry{Descriptor: second, Kind: layout.KindCache})
		if err != nil {
			t.Fatal(err)
		}
		of := []digest.Digest{second.Digest, cache.Root.Config.Digest, cache.Root.Layers[0].Digest}
		if first.Digest < slices.Min(of) {
			return h, first, second
		}
	}
}

// TestGCTellsOfCaches says of whole caches only that they went where they did: not of one that got a tag meanwhile, nor of one that a
// failure has spared, but of the one that was removed before.
func TestGCTellsOfCaches(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		h, first, second := twoUnnamed(t)
		named := tagged(h.cache("named"), "named")
		h.index(named)
		went, over := false, false
		ctx := durable.WithFault(t.Context(), func(op durable.Op, path string) error {
			switch {
			case op != durable.OpRemove || over:
			case !went:
				went = filepath.Base(path) == first.Digest.Encoded()
			case fails:
				return errFault
			default:
				over = true
				h.index(named, tagged(second, "second"))
			}
			return nil
		})
		done, err := h.open().GC(ctx, layout.GCOptions{})
		if !went || fails != errors.Is(err, errFault) || done == nil {
			t.Fatalf("%+v (%v)", done, err)
		}
		if len(done.Unnamed) != 1 || done.Unnamed[0].Digest != first.Digest || slices.Contains(done.Blobs, second.Digest) {
			t.Errorf("it says that these went: %+v", done.Unnamed)
		}
	}
}

// TestGCKnowsEscapes takes a root for that of a cache also where its letters are escaped.
func TestGCKnowsEscapes(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	h.index()
	root, err := os.ReadFile(h.blobPath(h.cache("a").Digest))
	if err != nil {
		t.Fatal(err)
	}
	escaped := strings.ReplaceAll(string(root), "cacheconfig", `c\u0061checonfig`)
	blob := h.blob("", escaped)
	if err := os.Remove(h.blobPath(digest.FromBytes(root))); err != nil {
		t.Fatal(err)
	}
	var nameless *layout.NamelessError
	if _, err := h.open().GC(t.Context(), layout.GCOptions{}); !errors.As(err, &nameless) || nameless.Caches[0].Digest != blob.Digest {
		t.Errorf("it ended with %v", err)
	}
}

// TestGCEmpties removes all where nothing is named and no cache lies there.
func TestGCEmpties(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	h.index()
	h.blob("", "stray")
	if done, err := h.open().GC(t.Context(), layout.GCOptions{}); err != nil || done.Removed.Files != 1 {
		t.Errorf("%+v (%v)", done, err)
	}
}

// TestGCStopsAnywhere leaves all that is needed wherever it stops, and goes on from there.
func TestGCStopsAnywhere(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		h, needed, _ := nested(t)
		broken, fired := failNth(n)
		_, err := h.open().GC(durable.WithFault(t.Context(), broken), layout.GCOptions{})
		if !fired() {
			if err != nil || n < 8 {
				t.Errorf("ends after %d operations with %v", n, err)
			}
			return
		}
		if !errors.Is(err, errFault) {
			t.Errorf("operation %d: %v", n, err)
		}
		again, err := h.open().GC(t.Context(), layout.GCOptions{})
		if err != nil || again.Kept.Files != len(needed) {
			t.Fatalf("after a fault of operation %d: %+v (%v)", n, again, err)
		}
	}
}

// BenchmarkGC looks at blobs of which nothing is needed: small ones, into which it looks for what they speak of. Time is linear, and that
// of objects near that of others.
func BenchmarkGC(b *testing.B) {
	for _, bb := range []struct {
		name, text string
		grace      time.Duration
	}{
		{"removed/text", "%d", 0},
		{"removed/objects", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[{"digest":"sha256:%064x"}]}`, 0},
		{"young/text", "%d", time.Hour},
		{"young/objects", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[{"digest":"sha256:%064x"}]}`, time.Hour},
	} {
		for _, n := range []int{25_000, 50_000, 100_000} {
			b.Run(fmt.Sprintf("%s/%d", bb.name, n), func(b *testing.B) {
				var spent time.Duration
				for b.Loop() {
					b.StopTimer()
					h := byHand(b)
					h.index(tagged(h.cache("a"), "a"))
					for i := range n {
						h.blob("", fmt.Sprintf(bb.text, i))
					}
					before := processorTime(b)
					b.StartTimer()
					done, err := h.open().GC(b.Context(), layout.GCOptions{Grace: bb.grace})
					if err != nil || done.Removed.Files+done.Young.Files < n {
						b.Fatal(err)
					}
					spent += processorTime(b) - before
				}
				b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N)/float64(n), "cpu-ns/blob")
			})
		}
	}
}

// processorTime is what this process has spent, which other processes make no longer.
func processorTime(b *testing.B) time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
