package convert_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// TestRepairPatched keeps a layer that can't be unpacked because its connection broke, and the rest was wrong: the decoder
// notices that before the digest is compared.
func TestRepairPatched(t *testing.T) {
	t.Parallel()
	src := openCorpus(t, "artifact-gzip")
	memory := layout.NewMemory("memory")
	syncAll(t, src, memory, convert.SyncOptions{})
	place := &patching{Place: memory, layer: load(t, src, "").Root.Layers[0]}
	result, err := convert.RepairCache(t.Context(), place, layouttest.Entry(t, place, "latest"), convert.RepairOptions{Write: true, Deep: true})
	if !errors.Is(err, layout.ErrPatched) || result.Written || len(result.Repairs) > 0 {
		t.Errorf("got %v, and %+v", err, result.Repairs)
	}
}

// patching is a place that gives wrong bytes of a layer when it is read for the second time.
type patching struct {
	layout.Place
	layer buildcache.Descriptor
	opens atomic.Int64
}

func (p *patching) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	if blob.Digest == p.layer.Digest && p.opens.Add(1) > 1 {
		return patchedStream{io.NopCloser(strings.NewReader(strings.Repeat("wrong", int(p.layer.Size))))}, nil
	}
	return p.Place.Open(ctx, blob)
}

type patchedStream struct{ io.ReadCloser }

func (patchedStream) Settle() error { return layout.ErrPatched }
