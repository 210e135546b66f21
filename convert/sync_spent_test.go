package convert_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

var errBroken = errors.New("the line broke")

// breaking is a place to which the line breaks in the middle of one blob.
type breaking struct {
	*layout.Memory
	blob   buildcache.Descriptor
	inside bool // it is tried again at once, by the place itself
	breaks func()
}

func (b *breaking) Put(ctx context.Context, blob buildcache.Descriptor, open layout.OpenFunc) error {
	if blob.Digest != b.blob.Digest || b.breaks == nil {
		return b.Memory.Put(ctx, blob, open)
	}
	raw, err := open()
	if err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, raw, blob.Size/2); err != nil {
		return err
	}
	if err := raw.Close(); err != nil {
		return err
	}
	if b.breaks(); b.inside {
		return b.Memory.Put(ctx, blob, open)
	}
	return errBroken
}

// wantEffort compares what was sent.
func wantEffort(t *testing.T, what string, got layout.Effort, moved, lost, saved int64) {
	t.Helper()
	got.Read, got.Took = 0, 0
	wantEqual(t, what, got, layout.Effort{Moved: moved, Lost: lost, Saved: saved})
}

// TestSyncSpent counts what failed attempts have sent, tells of one total however often a cache is tried, and of what was there only
// where it was.
func TestSyncSpent(t *testing.T) {
	t.Parallel()
	src := open(t, several(t, "artifact-gzip"))
	layers := layersOf(load(t, src, "artifact-gzip"))
	var all, small int64
	for _, layer := range layers {
		all += layer.Size
	}
	largest := layers[0]
	for _, layer := range layers {
		if layer.Size > largest.Size {
			largest = layer
		}
	}
	small = all - largest.Size
	dst := &breaking{Memory: layout.NewMemory("memory"), blob: layers[1], breaks: func() {}}
	var told layouttest.Amounts
	arrived := map[digest.Digest]int{}
	o := convert.SyncOptions{Tries: &convert.Tries{}, OnLayer: func(_ layout.Entry, layer digest.Digest) { arrived[layer]++ }}
	o.OnEvent, o.Jobs = told.Take, 1
	first := syncAll(t, src, dst, o)
	broken := layers[1].Size / 2
	if first.Failed != 1 || first.Moved <= broken || first.Moved > all {
		t.Fatalf("%+v", first)
	}
	wantEffort(t, "of the cache", first.Caches[0].Effort, first.Moved, broken, 0)
	wantEffort(t, "of the sync", first.Effort, first.Moved, broken, 0)
	wantEqual(t, "planned", told.Blobs, len(layers))
	dst.breaks = nil
	again := syncAll(t, src, dst, o)
	had := first.Moved - broken
	wantEffort(t, "again", again.Effort, all-had, 0, had)
	wantEqual(t, "told", told, layouttest.Amounts{Blobs: len(layers), Total: all, Done: len(layers), Bytes: all})
	for _, layer := range layers {
		wantEqual(t, "arrived", arrived[layer.Digest], 1)
	}
	dst = &breaking{Memory: layout.NewMemory("memory"), blob: largest, inside: true, breaks: func() {}}
	wantEffort(t, "in two attempts", syncAll(t, src, dst, convert.SyncOptions{}).Effort, small+largest.Size+largest.Size/2, largest.Size/2, 0)
}

// TestSyncInterruptedCounts says of a cache that an interruption ends that it was begun, what of it was sent, and what is to do still.
func TestSyncInterruptedCounts(t *testing.T) {
	t.Parallel()
	src := open(t, several(t, "artifact-gzip", "merge-small2-fresh"))
	layers := layersOf(load(t, src, "artifact-gzip"))
	ctx, cancel := context.WithCancel(t.Context())
	dst := &breaking{Memory: layout.NewMemory("memory"), blob: layers[1], breaks: cancel}
	var told layouttest.Amounts
	var heard []convert.SyncEntry
	o := convert.SyncOptions{OnEntry: func(e convert.SyncEntry) { heard = append(heard, e) }}
	o.OnEvent, o.Jobs = told.Take, 1
	result, err := convert.Sync(ctx, src, dst, o)
	if !errors.Is(err, context.Canceled) || result == nil {
		t.Fatalf("%+v, %v", result, err)
	}
	wantEqual(t, "interrupted, not tried, failed", [3]int{result.Interrupted, result.NotTried, result.Failed}, [3]int{1, 1, 0})
	cache := result.Caches[0]
	if len(result.Caches) != 1 || len(heard) != 1 || !cache.Interrupted || cache.Error != "interrupted" || cache.Moved == 0 || result.Moved != cache.Moved {
		t.Errorf("%+v, heard %+v", result, heard)
	}
	if told.Done >= told.Blobs || told.Bytes >= told.Total {
		t.Errorf("told as done: %+v", told)
	}
}
