package convert_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// manyLayers returns a cache whose root is just not too large, as long as its layers are gzip.
func manyLayers(t *testing.T) *layout.Dir {
	t.Helper()
	return layersFrom(t, 0, 320, 2900)
}

// layersFrom returns a cache with results that are the newer the higher their numbers, each of a layer with a large descriptor.
func layersFrom(t *testing.T, first, n, padding int) *layout.Dir {
	t.Helper()
	s := newSynthetic(t, buildcache.Artifact)
	for i := range n {
		tar := tarOf(t, uint64(first+i), 10)
		d, size := s.blob(gzipBytes(t, tar))
		s.layer(d, size, buildcache.Gzip, digest.FromBytes(tar))
		s.root.Layers[i].Annotations["padding"] = strings.Repeat("x", padding) // in place of thousands of layers
		if i%2 == 0 {
			s.conf.Layers[i].Parent = buildcache.NoParent
		}
		s.conf.Records[i].Inputs, s.conf.Records[i].Digest = nil, digest.FromString(fmt.Sprint(first+i))
		s.conf.Records[i].Results[0].CreatedAt = buildcache.Time{Time: time.Date(2026, 1, 1, 0, 0, first+i, 0, time.UTC)}
	}
	return s.tag()
}

// TestSyncFitted cuts down what recompressing made too large, with the numbers of the source, and knows it again. No layer is made that goes
// then.
func TestSyncFitted(t *testing.T) {
	t.Parallel()
	src, dst := manyLayers(t), layout.NewMemory("memory")
	o := convert.SyncOptions{Options: convert.Options{Compression: buildcache.Estargz}}
	o.Prune.Fit, o.DryRun = true, true
	foreseen := syncAll(t, src, dst, o).Caches[0]
	if foreseen.Err != nil || foreseen.Pruned == nil || !foreseen.Pruned.Estimated {
		t.Fatalf("%+v", foreseen)
	}
	o.DryRun = false
	var made atomic.Int64
	o.OnLayer = func(layout.Entry, digest.Digest) { made.Add(1) }
	less := o
	less.Prune.MaxRecords = 100
	if done := syncAll(t, src, dst, less).Caches[0]; done.Err != nil || done.Pruned.Estimated {
		t.Fatalf("%+v", done)
	}
	made.Store(0)
	first := syncAll(t, src, dst, o).Caches[0]
	if first.Err != nil || first.Skipped {
		t.Fatalf("after what had fewer results: %+v", first)
	}
	p := first.Pruned
	bytes, blobs := p.Kept.Bytes, p.Kept.Blobs
	for _, freed := range p.Freed {
		bytes, blobs = bytes+freed.Bytes, blobs+freed.Blobs
	}
	if p.Kept.Results <= 100 || p.Kept.Results >= 320 || bytes != p.Before.Bytes || blobs != p.Before.Blobs || p.Kept.Blobs < p.Kept.Results {
		t.Errorf("%+v", p)
	}
	if n := made.Load(); n > int64(p.Kept.Blobs)+4 {
		t.Errorf("%d layers were made, of which %d are left", n, p.Kept.Blobs)
	}
	wantClean(t, dst, "latest")
	again := syncAll(t, src, dst, o).Caches[0]
	if !again.Skipped || again.Err != nil || again.Moved != 0 || again.ToDigest != first.ToDigest {
		t.Errorf("again: %+v", again)
	}
}
