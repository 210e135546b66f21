package convert_test

import (
	"slices"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
)

// TestRepairFarMediaType corrects media types in a place whose layers are not looked at before they are unpacked, and drops nothing.
func TestRepairFarMediaType(t *testing.T) {
	t.Parallel()
	for said, deep := range map[string]bool{
		"application/x-tar": false, "application/x-rpm": true, "application/vnd.oci.image.layer.v1.tar": true,
		"application/vnd.oci.image.layer.v1.tar+zstd": true,
	} {
		t.Run(said, func(t *testing.T) {
			t.Parallel()
			path := layouttest.CopyCorpus(t, "artifact-gzip")
			whole := load(t, open(t, path), "latest")
			editLayer(t, path, lowest(t, path).Digest, func(d *buildcache.Descriptor) { d.MediaType = said })
			far := forgetful{open(t, path)}
			kinds, left, results := repairAll(t, far, convert.RepairOptions{Write: true, Deep: deep})
			if !slices.Equal(kinds, []string{"layer-mislabelled"}) || left > 0 || results[0].Lost.Results > 0 {
				t.Errorf("mended %q, %d left, %+v", kinds, left, results)
			}
			wantClean(t, open(t, path), "latest")
			wantSameDiffIDs(t, whole, load(t, open(t, path), "latest"))
		})
	}
}
