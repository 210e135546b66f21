package convert_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
)

// BenchmarkFormChange changes the form of a cache in place. The time for a layer stays the same with more layers, and
// does not depend on their size.
func BenchmarkFormChange(b *testing.B) {
	for _, bb := range []struct {
		layers int
		size   int64
	}{
		{1000, 1}, {3000, 1}, // the root of the second is just under 1 MiB
		{100, 1e6}, {100, 100e9},
	} {
		b.Run(fmt.Sprintf("layers=%d/size=%d", bb.layers, bb.size), func(b *testing.B) {
			place := sparse(b, bb.layers, bb.size)
			old := layouttest.Entry(b, place, "latest")
			o := convert.Options{Form: buildcache.Artifact}
			for b.Loop() {
				result, err := convert.Convert(b.Context(), place, old, place, "latest", o)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := place.Tag(b.Context(), "latest", old.Descriptor, result.To.Digest); err != nil {
					b.Fatal(err)
				}
				if err := os.Remove(blobPath(place.String(), result.To.Digest)); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(bb.layers), "ns/layer")
			b.ReportMetric(float64(old.Descriptor.Size), "root-bytes")
		})
	}
}

// BenchmarkRecompressSmall recompresses a cache of many small layers.
func BenchmarkRecompressSmall(b *testing.B) {
	src := openCorpus(b, "many-docker-list-gzip")
	for b.Loop() {
		run(b, src, layouttest.Create(b), convert.Options{Compression: buildcache.Zstd})
	}
}
