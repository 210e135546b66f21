package layout_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// inlineImage stores an image with an inline cache.
func (h handmade) inlineImage(name string) buildcache.Descriptor {
	h.t.Helper()
	layer := h.blob(buildcache.LayerMediaType(buildcache.Artifact, buildcache.Uncompressed), "inline layer of "+name)
	records := fmt.Sprintf(`[{"digest":%q,"layers":[{"layer":0,"createdAt":"2026-01-02T03:04:05Z"}]}]`, digest.FromString(name))
	config := h.json(ocispec.MediaTypeImageConfig, map[string]any{
		"architecture": "amd64", "os": "linux", "rootfs": map[string]any{"diff_ids": []digest.Digest{layer.Digest}},
		"moby.buildkit.cache.v0": base64.StdEncoding.EncodeToString([]byte(records)),
	})
	return h.json(buildcache.MediaTypeOCIManifest, map[string]any{
		"schemaVersion": 2, "mediaType": buildcache.MediaTypeOCIManifest, "config": config, "layers": []buildcache.Descriptor{layer},
	})
}

// TestInlineHint finds an inline cache in an image, and behind indexes and lists.
func TestInlineHint(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		make func(h handmade) buildcache.Descriptor
		want bool
	}{
		"image": {func(h handmade) buildcache.Descriptor { return h.inlineImage("a") }, true},
		"none":  {func(h handmade) buildcache.Descriptor { return h.image("a", false, nil) }, false},
		"second of an index": {func(h handmade) buildcache.Descriptor {
			return h.list(false, nil, h.image("a", false, nil), h.inlineImage("b"))
		}, true},
		"list in a list": {func(h handmade) buildcache.Descriptor {
			return h.list(true, nil, h.image("a", true, nil), h.list(false, nil, h.inlineImage("b")))
		}, true},
		"behind what is not there": {func(h handmade) buildcache.Descriptor {
			gone := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: digest.FromString("gone"), Size: 3}
			return h.list(false, nil, gone, h.inlineImage("b"))
		}, true},
		"index without any": {func(h handmade) buildcache.Descriptor {
			return h.list(false, nil, h.image("a", false, nil), h.image("b", true, nil))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := byHand(t)
			h.index(tagged(test.make(h), "latest"))
			var e *layout.NotFoundError
			if _, err := layout.OneCache(t.Context(), h.open(), ""); !errors.As(err, &e) || !e.Images || e.Inline != test.want {
				t.Errorf("%v, inline: %v, want %v", err, e != nil && e.Inline, test.want)
			}
		})
	}
}

// TestEachImage visits every manifest once, in order, and says what can't be read.
func TestEachImage(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	a, b, c := h.image("a", false, nil), h.image("b", true, nil), h.image("c", false, nil)
	gone := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: digest.FromString("gone"), Size: 3}
	junk := h.blob(buildcache.MediaTypeOCIManifest, "junk")
	hostile := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: "sha256:../../x", Size: 3}
	layer := h.blob("application/vnd.oci.image.layer.v1.tar", "a layer")
	root := h.list(false, nil, a, gone, h.list(true, nil, b, a, junk), layer, hostile, c, b)
	var order []digest.Digest
	failed := map[digest.Digest]bool{}
	walk := func(d buildcache.Descriptor, raw []byte, err error) error {
		order = append(order, d.Digest)
		if failed[d.Digest] = err != nil; (raw == nil) != (err != nil) {
			t.Errorf("%s: %d bytes and %v", d.Digest, len(raw), err)
		}
		return nil
	}
	if err := layout.EachImage(t.Context(), h.open(), root, walk); err != nil {
		t.Fatal(err)
	}
	want := []digest.Digest{a.Digest, gone.Digest, b.Digest, junk.Digest, hostile.Digest, c.Digest}
	if !slices.Equal(order, want) {
		t.Errorf("visited %v, want %v", order, want)
	}
	for _, d := range want {
		if failed[d] != (d == gone.Digest || d == junk.Digest || d == hostile.Digest) {
			t.Errorf("%s: failed is %v", d, failed[d])
		}
	}
	stop := errors.New("enough")
	visits := 0
	err := layout.EachImage(t.Context(), h.open(), root, func(buildcache.Descriptor, []byte, error) error { visits++; return stop })
	if !errors.Is(err, stop) || visits != 1 {
		t.Errorf("%v after %d visits, want the first to end it", err, visits)
	}

	// Lists in lists, as deep as anybody likes.
	deep := a
	for range 200 {
		deep = h.list(false, nil, deep)
	}
	order = nil
	if err := layout.EachImage(t.Context(), h.open(), deep, walk); err != nil || len(order) != 1 || failed[order[0]] || order[0] != a.Digest {
		t.Errorf("%v, visited %v", err, order)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = layout.EachImage(ctx, h.open(), root, func(_ buildcache.Descriptor, _ []byte, err error) error { return err })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestOneImage chooses among images as One does among caches.
func TestOneImage(t *testing.T) {
	t.Parallel()
	noImage := func(want layout.NoImageError) func(error) bool {
		return func(err error) bool {
			var e *layout.NoImageError
			return errors.As(err, &e) && e.Tag == want.Tag && e.Cache == want.Cache && slices.Equal(e.Tags, want.Tags) && e.Place != ""
		}
	}
	ambiguous := func(tags ...string) func(error) bool {
		return func(err error) bool {
			var e *layout.AmbiguousError
			return errors.As(err, &e) && e.Images && slices.Equal(e.Tags, tags)
		}
	}
	danglingTag := func(err error) bool {
		var e *layout.DanglingError
		return errors.As(err, &e)
	}
	h := byHand(t)
	cache, a, b := h.cache("c"), h.image("a", false, nil), h.list(false, nil, h.image("b", true, nil))
	gone := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: digest.FromString("gone"), Size: 3}
	for _, test := range []struct {
		name    string
		entries []buildcache.Descriptor
		tag     string
		want    digest.Digest
		err     func(error) bool
	}{
		{"the only one", []buildcache.Descriptor{tagged(a, "1")}, "", a.Digest, nil},
		{"untagged", []buildcache.Descriptor{b}, "", b.Digest, nil},
		{"beside a cache", []buildcache.Descriptor{tagged(cache, "latest"), tagged(a, "1")}, "", a.Digest, nil},
		{"latest", []buildcache.Descriptor{tagged(a, "1"), tagged(b, "latest")}, "", b.Digest, nil},
		{"by tag", []buildcache.Descriptor{tagged(a, "1"), tagged(b, "2")}, "2", b.Digest, nil},
		{"several", []buildcache.Descriptor{tagged(a, "1"), b, tagged(cache, "c")}, "", "", ambiguous("1", "untagged "+b.Digest.String())},
		{"no such tag", []buildcache.Descriptor{tagged(a, "1"), tagged(cache, "c")}, "x", "", noImage(layout.NoImageError{Tag: "x", Tags: []string{"1"}})},
		{"a cache", []buildcache.Descriptor{tagged(a, "1"), tagged(cache, "c")}, "c", "", noImage(layout.NoImageError{Tag: "c", Tags: []string{"1"}, Cache: true})},
		{"only a cache", []buildcache.Descriptor{tagged(cache, "c")}, "", "", noImage(layout.NoImageError{Tag: "c", Cache: true})},
		{"nothing", nil, "", "", noImage(layout.NoImageError{})},
		{"dangling", []buildcache.Descriptor{tagged(gone, "g")}, "g", "", danglingTag},
	} {
		h.index(test.entries...)
		entry, err := layout.OneImage(t.Context(), h.open(), test.tag)
		if test.err == nil && (err != nil || entry.Descriptor.Digest != test.want) || test.err != nil && !test.err(err) {
			t.Errorf("%s: %v, %v", test.name, entry, err)
		}
		if err != nil && err.Error() == "" {
			t.Errorf("%s: an error without a text", test.name)
		}
	}
}
