package convert_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

type begunKey struct{}

// TestSyncHooks says that whoever runs a sync hears of each cache first, can leave it out, rename it, and bound its layers.
func TestSyncHooks(t *testing.T) {
	t.Parallel()
	src, dst := open(t, several(t, "artifact-gzip", "docker-list-gzip", "artifact-zstd")), layouttest.Create(t)
	var slots, now atomic.Int64
	ended := map[string]bool{}
	result := syncAll(t, src, dst, convert.SyncOptions{
		Options: convert.Options{Slot: func(ctx context.Context) (func(), error) {
			if ctx.Value(begunKey{}) == nil {
				t.Error("a layer is worked on without the context of its cache")
			}
			slots.Add(1)
			now.Add(1)
			return func() { now.Add(-1) }, nil
		}},
		Rename: func(tag string) string { return "old-" + tag },
		OnBegin: func(ctx context.Context, entry layout.Entry) (context.Context, error) {
			if entry.Tag == "docker-list-gzip" {
				return nil, errors.New("not today")
			}
			return context.WithValue(ctx, begunKey{}, true), nil
		},
		OnEntry: func(e convert.SyncEntry) { ended[e.From+" "+e.To] = true },
	})
	wantEqual(t, "ended", ended, map[string]bool{"artifact-gzip old-artifact-gzip": true, "artifact-zstd old-artifact-zstd": true})
	wantEqual(t, "not tried", result.NotTried, 1)
	if slots.Load() == 0 || now.Load() != 0 {
		t.Errorf("%d slots were taken, %d not given back", slots.Load(), now.Load())
	}
	wantClean(t, dst, "old-artifact-gzip")
}
