package layout_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// TestIsForeign tells what was another's from what may have been a cache, where the root is gone or can't be read.
func TestIsForeign(t *testing.T) {
	t.Parallel()
	manifest := func(text string) func(h handmade) buildcache.Descriptor {
		return func(h handmade) buildcache.Descriptor { return h.blob(buildcache.MediaTypeOCIManifest, text) }
	}
	gone := func(d buildcache.Descriptor) func(h handmade) buildcache.Descriptor {
		return func(handmade) buildcache.Descriptor {
			d.Digest, d.Size = digest.FromString("gone"), 4
			return d
		}
	}
	config := `"config":{"mediaType":"` + buildcache.MediaTypeConfig + `","digest":5}`
	large := strings.Repeat(" ", buildcache.MaxRoot)
	for _, tt := range []struct {
		name string
		make func(h handmade) buildcache.Descriptor
		kind layout.Kind
		want bool
	}{
		{"cache", func(h handmade) buildcache.Descriptor { return h.cache("a") }, layout.KindCache, false},
		{"cache that is called otherwise", func(h handmade) buildcache.Descriptor {
			d := h.cache("a")
			d.MediaType = "application/pdf"
			return d
		}, layout.KindCache, false},
		{"image", func(h handmade) buildcache.Descriptor { return h.image("a", false, map[digest.Digest]bool{}) }, layout.KindImage, true},
		{"document", func(h handmade) buildcache.Descriptor { return h.blob("application/pdf", "%PDF") }, layout.KindInvalid, true},
		{"no media type", func(h handmade) buildcache.Descriptor { return h.blob("", "%PDF") }, layout.KindInvalid, false},
		{"called a manifest", manifest("%PDF"), layout.KindInvalid, false},
		{"odd image", manifest(`{"annotations":{"a":1},"config":{"digest":"x"},"layers":[]}`), layout.KindInvalid, true},
		{"odd cache", manifest(`{` + config + `,"layers":[]}`), layout.KindInvalid, false},
		{"torn", manifest(`{"manifests":[`), layout.KindInvalid, false},
		{"large image", manifest(`{"config":{"digest":"x"},"layers":[]}` + large), layout.KindInvalid, true},
		{"large cache", manifest(`{` + config + `,"layers":[]}` + large), layout.KindInvalid, false},
		{"very large", manifest(`{` + config + `,"layers":[]}` + strings.Repeat(large, 5)), layout.KindInvalid, true},
		{"dangling", gone(buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIIndex}), layout.KindDangling, false},
		{"dangling image", gone(buildcache.Descriptor{
			MediaType: buildcache.MediaTypeOCIManifest, Extra: buildcache.Extra{{Name: "platform", Value: json.RawMessage(`{"os":"linux"}`)}},
		}), layout.KindDangling, true},
		{"dangling image with a name", gone(buildcache.Descriptor{
			Annotations: map[string]string{"io.containerd.image.name": "docker.io/library/x:latest"},
		}), layout.KindDangling, true},
		{"dangling document", gone(buildcache.Descriptor{MediaType: "application/pdf"}), layout.KindDangling, true},
		{"damaged cache", func(h handmade) buildcache.Descriptor {
			d := h.cache("a")
			if err := os.Remove(h.blobPath(d.Digest)); err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(h.blobPath(d.Digest), []byte(`{"layers":5}`), 0o600); err != nil {
				t.Error(err)
			}
			return d
		}, layout.KindInvalid, false},
	} {
		h := byHand(t)
		h.index(tt.make(h))
		entries, err := layout.Survey(t.Context(), h.open())
		if err != nil {
			t.Fatal(err)
		}
		if got := entries[0]; got.Kind != tt.kind || got.IsForeign() != tt.want {
			t.Errorf("%s: %s, foreign: %v (%v)", tt.name, got.Kind, got.IsForeign(), got.Err)
		}
	}
}
