package convert_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/quicktest"
	"github.com/ocicache/ocicache/layout"
)

// manyTags is a place, that nobody writes to, with caches that are read tag by tag.
type manyTags struct {
	layout.Place
	tags []string
}

func (m manyTags) String() string { return "many" }

func (m manyTags) Tags(context.Context) ([]string, error) { return m.tags, nil }

func (m manyTags) Resolve(_ context.Context, tag string) (*layout.Entry, error) {
	root := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: digest.FromString(tag), Size: 1000}
	return &layout.Entry{Tag: tag, Descriptor: root, Kind: layout.KindCache, Layers: 5, LayerBytes: 5000}, nil
}

func (m manyTags) LenientEntry(ctx context.Context, tag string) (*layout.Entry, error) {
	return m.Resolve(ctx, tag)
}

func (m manyTags) LenientEntries(context.Context) ([]layout.Entry, error) { return nil, nil }

// bytesPerTag is how much a sync may keep of a cache that is there already: its line of the result, with the names of two roots.
const bytesPerTag = 400

// TestSyncMemory says how little a sync keeps of each tag. It counts what is alive, as what the system gave the process hangs on when
// Go collects. It is alone when it runs, as all of its package that is not parallel.
func TestSyncMemory(t *testing.T) { //nolint:paralleltest // it measures the memory of the process
	alive := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	kept := func(tags int, keep func(convert.SyncEntry) bool) int64 {
		var place manyTags
		for n := range tags {
			place.tags = append(place.tags, fmt.Sprintf("tag-%06d", n))
		}
		before, after, seen := alive(), int64(0), 0
		result, err := convert.Sync(t.Context(), place, place, convert.SyncOptions{Tags: place.Tags, Parallel: 4, Keep: keep, OnEntry: func(convert.SyncEntry) {
			if seen++; seen == tags {
				after = alive()
			}
		}})
		if err != nil || result.Tried != tags || result.Failed > 0 || keep == nil && len(result.Caches) != tags || keep != nil && len(result.Caches) > 0 {
			t.Fatalf("%+v, %v", result.Err(), err)
		}
		runtime.KeepAlive(place)
		return after - before
	}
	few, many := 2000, quicktest.Rounds(10_000, 20_000)
	for _, c := range []struct {
		name string
		keep func(convert.SyncEntry) bool
		most int
	}{{"all", nil, bytesPerTag}, {"none", func(convert.SyncEntry) bool { return false }, 16}} {
		each := float64(kept(many, c.keep)-kept(few, c.keep)) / float64(many-few)
		t.Logf("%.0f bytes for each tag, where %s are kept", each, c.name)
		if each > float64(c.most) {
			t.Errorf("%.0f bytes are kept for each tag, and %d may be", each, c.most)
		}
	}
}
