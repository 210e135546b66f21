package convert_test

import (
	"slices"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// TestMergeFitsBefore recompresses only layers that stay, and none of them again: in a place that remembers nothing, too.
func TestMergeFitsBefore(t *testing.T) {
	t.Parallel()
	for _, compression := range []buildcache.Compression{buildcache.Zstd, buildcache.Uncompressed} {
		t.Run(string(compression), func(t *testing.T) {
			t.Parallel()
			old, now, dst := layersFrom(t, 0, 40, 15_000), layersFrom(t, 40, 40, 15_000), layout.NewMemory("memory")
			o := convert.MergeOptions{Options: convert.Options{Compression: compression}}
			o.Prune.Fit, o.DryRun = true, true
			foreseen := merged(t, dst, "latest", o, sourcesOf(t, old, now)...)
			o.DryRun = false
			result := merged(t, dst, "latest", o, sourcesOf(t, old, now)...)
			wantClean(t, dst, "latest")
			if result.Result.Results <= 40 || result.Result.Results >= 80 {
				t.Fatalf("%+v", result.Result)
			}
			wantEqual(t, "layers foreseen", recompressed(foreseen), result.Result.Blobs)
			wantEqual(t, "layers recompressed", recompressed(result), result.Result.Blobs)
			o.WithTarget = true
			again := merged(t, dst, "latest", o, sourcesOf(t, old, now)...)
			wantEqual(t, "root of the second run", again.To.Digest, result.To.Digest)
			if !again.Unchanged || again.Moved != 0 || recompressed(again) != 0 {
				t.Errorf("again: %d layers recompressed, %d bytes moved", recompressed(again), again.Moved)
			}
		})
	}
}

// recompressed counts layers that a merge has recompressed, or would.
func recompressed(result *convert.MergeResult) int {
	return len(slices.DeleteFunc(slices.Clone(result.Layers), func(l convert.LayerResult) bool { return l.Action != convert.Recompress }))
}
