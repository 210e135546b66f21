package registry

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// TestKnownPasses remembers layers, and of roots and configs the newest.
func TestKnownPasses(t *testing.T) {
	t.Parallel()
	blob := func(mediaType string, n int) buildcache.Descriptor {
		return buildcache.Descriptor{MediaType: mediaType, Digest: digest.FromString(fmt.Sprint(mediaType, n)), Size: int64(n)}
	}
	var k known
	layer := buildcache.LayerMediaType(buildcache.Artifact, buildcache.Gzip)
	const caches = 3 * maxPassing
	for n := range caches {
		for _, mediaType := range []string{layer, buildcache.MediaTypeConfig, buildcache.MediaTypeOCIManifest} {
			k.add(blob(mediaType, n))
			k.add(blob(mediaType, n)) // which is no other one
			if size, ok := k.size(blob(mediaType, n).Digest); !ok || size != int64(n) {
				t.Fatalf("%s %d is not known", mediaType, n)
			}
		}
	}
	if len(k.blobs) != caches+maxPassing || len(k.passing) != maxPassing {
		t.Errorf("%d blobs are known, %d of them in passing", len(k.blobs), len(k.passing))
	}
	for n := range caches {
		_, old := k.size(blob(buildcache.MediaTypeConfig, n).Digest)
		if _, ok := k.size(blob(layer, n).Digest); !ok || old != (n >= caches-maxPassing/2) {
			t.Errorf("layer %d: %v, config: %v", n, ok, old)
		}
	}
}
