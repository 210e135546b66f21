package layout_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

func wantReach(t *testing.T, dir *layout.Dir, want map[digest.Digest]bool) {
	t.Helper()
	got, err := layout.Reach(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sorted(got), sorted(want)) {
		t.Errorf("reached %v, want %v", sorted(got), sorted(want))
	}
}

func TestReach(t *testing.T) {
	t.Parallel()
	// cache stores a cache and notes what it is made of.
	cache := func(h handmade, name string, reached map[digest.Digest]bool) buildcache.Descriptor {
		root := h.cache(name)
		raw, err := os.ReadFile(h.blobPath(root.Digest))
		if err != nil {
			h.t.Fatal(err)
		}
		reached[root.Digest] = true
		for _, d := range buildcache.Successors(raw) {
			reached[d.Digest] = true
		}
		return root
	}
	type fixture func(h handmade, reached map[digest.Digest]bool) []buildcache.Descriptor
	one := func(make func(h handmade, reached map[digest.Digest]bool) buildcache.Descriptor) fixture {
		return func(h handmade, reached map[digest.Digest]bool) []buildcache.Descriptor {
			return []buildcache.Descriptor{make(h, reached)}
		}
	}
	for _, test := range []struct {
		name string
		make fixture
	}{
		{"nothing", func(handmade, map[digest.Digest]bool) []buildcache.Descriptor { return nil }},
		{"cache", one(func(h handmade, reached map[digest.Digest]bool) buildcache.Descriptor { return cache(h, "a", reached) })},
		{"cache in a list with a config that nobody reads", one(func(h handmade, reached map[digest.Digest]bool) buildcache.Descriptor {
			layer := h.blob(buildcache.LayerMediaType(buildcache.OCIIndex, buildcache.Gzip), "layer")
			first, last := h.blob(buildcache.MediaTypeConfig, `{"layers":[]}`), h.blob(buildcache.MediaTypeConfig, `{}`)
			for _, d := range []buildcache.Descriptor{layer, first, last} {
				reached[d.Digest] = true
			}
			return h.list(false, reached, first, layer, last)
		})},
		{"OCI image", one(func(h handmade, reached map[digest.Digest]bool) buildcache.Descriptor {
			return h.image("i", false, reached)
		})},
		{"Docker image", one(func(h handmade, reached map[digest.Digest]bool) buildcache.Descriptor {
			return h.image("i", true, reached)
		})},
		{"index of images", one(func(h handmade, reached map[digest.Digest]bool) buildcache.Descriptor {
			return h.list(false, reached, h.image("a", false, reached), h.image("b", true, reached))
		})},
		{"Docker list of images", one(func(h handmade, reached map[digest.Digest]bool) buildcache.Descriptor {
			return h.list(true, reached, h.image("a", true, reached), h.image("b", false, reached))
		})},
		{"lists in lists", one(func(h handmade, reached map[digest.Digest]bool) buildcache.Descriptor {
			inner := h.list(true, reached, h.image("a", true, reached))
			for i := range 5 {
				inner = h.list(i%2 == 0, reached, inner, h.image(fmt.Sprint("b", i), i%2 == 1, reached))
			}
			return inner
		})},
		{"image with a subject", one(func(h handmade, reached map[digest.Digest]bool) buildcache.Descriptor {
			config := h.blob("application/vnd.oci.empty.v1+json", "{}")
			reached[config.Digest] = true
			root := h.json(buildcache.MediaTypeOCIManifest, map[string]any{
				"schemaVersion": 2, "mediaType": buildcache.MediaTypeOCIManifest, "artifactType": "application/x",
				"config": config, "layers": []buildcache.Descriptor{config}, "subject": h.image("s", false, reached),
			})
			reached[root.Digest] = true
			return root
		})},
		{"blob of an unknown type", one(func(h handmade, reached map[digest.Digest]bool) buildcache.Descriptor {
			d := h.blob("application/octet-stream", "anything")
			reached[d.Digest] = true
			return d
		})},
		{"everything at once", func(h handmade, reached map[digest.Digest]bool) []buildcache.Descriptor {
			a := h.image("a", false, reached)
			return []buildcache.Descriptor{
				cache(h, "a", reached), a, h.list(false, reached, a, h.image("d", true, reached)), cache(h, "b", reached), a,
			}
		}},
		{"dangling tag", func(h handmade, reached map[digest.Digest]bool) []buildcache.Descriptor {
			gone := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: digest.FromString("gone"), Size: 3}
			return []buildcache.Descriptor{gone, cache(h, "a", reached)}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := byHand(t)
			reached := map[digest.Digest]bool{}
			h.index(test.make(h, reached)...)
			h.cache("that no tag names")
			wantReach(t, h.open(), reached)
		})
	}
}

func TestReachOfTheCorpus(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct{ reached, blobs int }{
		"artifact-gzip": {16, 16}, "docker-list-zstd": {16, 16}, "stale-blobs": {17, 23}, "dangling-index": {0, 18},
		"inline-image": {8, 8}, "multi-tag": {25, 25}, "many-docker-list-gzip": {256, 256},
	} {
		dir := open(t, filepath.Join(corpus, name))
		reached, err := layout.Reach(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		blobs, err := dir.Blobs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		there := 0
		for _, blob := range blobs {
			if reached[blob.Digest] {
				there++
			}
		}
		if len(reached) != want.reached || there != want.reached || len(blobs) != want.blobs {
			t.Errorf("%s: %d reached, %d of them there, of %d; want %v", name, len(reached), there, len(blobs), want)
		}
	}
}

// What an image that is not whole reaches can't be known, and to say nothing would have it deleted.
func TestReachOfBrokenImages(t *testing.T) {
	t.Parallel()
	for _, docker := range []bool{false, true} {
		for name, change := range map[string]func(path string) error{
			"missing": os.Remove, "damaged": flipByte, "truncated": func(path string) error { return os.Truncate(path, 20) },
		} {
			t.Run(fmt.Sprintf("docker=%v/%s", docker, name), func(t *testing.T) {
				t.Parallel()
				h := byHand(t)
				child := h.image("a", docker, map[digest.Digest]bool{})
				h.index(tagged(h.list(docker, map[digest.Digest]bool{}, child), "latest"))
				if err := errors.Join(os.Chmod(h.blobPath(child.Digest), 0o600), change(h.blobPath(child.Digest))); err != nil {
					t.Fatal(err)
				}
				if reached, err := layout.Reach(t.Context(), h.open()); err == nil || !strings.Contains(err.Error(), child.Digest.String()) {
					t.Errorf("reached %v (%v), want an error that names %s", reached, err, child.Digest)
				}
			})
		}
	}
}

// Each list names the next one many times, so that there are 20^40 ways to the bottom. Each digest is looked at once.
func TestReachOfHostileGraph(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		docker func(level int) bool
		levels int
	}{
		{"OCI", func(int) bool { return false }, 40},
		{"Docker", func(int) bool { return true }, 12},
		{"in turn", func(level int) bool { return level%2 == 0 }, 12},
		{"very deep, Docker", func(int) bool { return true }, 400},
		{"very deep, OCI", func(int) bool { return false }, 500},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := byHand(t)
			reached := map[digest.Digest]bool{}
			root := h.image("bottom", false, reached)
			for level := range test.levels {
				root = h.list(test.docker(level), reached, slices.Repeat([]buildcache.Descriptor{root}, 20)...)
			}
			h.index(tagged(root, "latest"))
			wantReach(t, h.open(), reached)
			// To look for a cache in it is no more work.
			if _, err := layout.Caches(t.Context(), h.open()); !isNotFound(err) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestReachOfHugeManifest(t *testing.T) {
	t.Parallel()
	for _, docker := range []bool{false, true} {
		h := byHand(t)
		huge := h.list(docker, map[digest.Digest]bool{})
		if err := errors.Join(os.Chmod(h.blobPath(huge.Digest), 0o600), os.Truncate(h.blobPath(huge.Digest), 1<<40)); err != nil {
			t.Fatal(err)
		}
		h.index(tagged(huge, "latest")) // the size of the file counts
		var size *buildcache.SizeError
		if _, err := layout.Reach(t.Context(), h.open()); !errors.As(err, &size) {
			t.Errorf("docker=%v: got %v, want a *SizeError", docker, err)
		}
		huge.Size = 1 << 40
		h.index(tagged(h.list(docker, map[digest.Digest]bool{}, huge), "latest"))
		if _, err := layout.Reach(t.Context(), h.open()); !errors.As(err, &size) {
			t.Errorf("docker=%v: as a child: got %v, want a *SizeError", docker, err)
		}
	}
}

// Descriptors in a foreign image are as hostile as those in index.json.
func TestReachOfHostileImage(t *testing.T) {
	t.Parallel()
	for _, hostile := range hostileDigests {
		for _, docker := range []bool{false, true} {
			h := byHand(t)
			child := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: hostile, Size: 10}
			h.index(tagged(h.list(docker, map[digest.Digest]bool{}, child), "latest"))
			before := layouttest.Tree(t, h.path)
			if _, err := layout.Reach(t.Context(), h.open()); err == nil {
				t.Errorf("docker=%v, digest %q: no error", docker, hostile)
			}
			if _, err := layout.Caches(t.Context(), h.open()); !isNotFound(err) {
				t.Errorf("docker=%v, digest %q: %v", docker, hostile, err)
			}
			layouttest.WantTree(t, h.path, before)
		}
	}
}

// Looking for an inline cache reads configs, and each only once, however often it is named.
func TestHostileInlineImage(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	big := h.blob("application/vnd.oci.image.config.v1+json", `{"a":"`+strings.Repeat("x", 2<<20)+`"}`)
	root := h.json(buildcache.MediaTypeOCIManifest, map[string]any{
		"schemaVersion": 2, "config": big, "layers": slices.Repeat([]buildcache.Descriptor{big}, 15000),
	})
	h.index(tagged(root, "latest"))
	var e *layout.NotFoundError
	if _, err := layout.Caches(t.Context(), h.open()); !errors.As(err, &e) || !e.Images || e.Inline {
		t.Errorf("got %v", err)
	}
}

func TestReachEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, docker := range []bool{false, true} {
		h := byHand(t)
		h.index(tagged(h.image("a", docker, map[digest.Digest]bool{}), "latest"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := layout.Reach(ctx, h.open()); !errors.Is(err, context.Canceled) {
			t.Errorf("docker=%v: got %v", docker, err)
		}
	}
}

// asRegistry is a Source that finds manifests by their media type alone, as registries do.
type asRegistry struct{ layout.Source }

func (s asRegistry) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	r, err := s.Source.Open(ctx, blob)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	if _, err := buildcache.DetectMediaType(raw); err == nil && !buildcache.IsManifestType(blob.MediaType) {
		return nil, &layout.BlobError{Digest: blob.Digest, Place: "the registry", Err: layout.ErrBlobMissing}
	}
	return layout.OpenBytes(raw)()
}

// TestGraph says that a graph is everything that a root reaches, each blob once, in the order in which archives have it.
func TestGraph(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(h handmade, reached map[digest.Digest]bool) buildcache.Descriptor{
		"OCI image": func(h handmade, reached map[digest.Digest]bool) buildcache.Descriptor {
			return h.image("i", false, reached)
		},
		"Docker image": func(h handmade, reached map[digest.Digest]bool) buildcache.Descriptor {
			return h.image("i", true, reached)
		},
		"lists in lists": func(h handmade, reached map[digest.Digest]bool) buildcache.Descriptor {
			inner := h.list(true, reached, h.image("a", true, reached))
			for i := range 5 {
				inner = h.list(i%2 == 0, reached, inner, h.image(fmt.Sprint("b", i), i%2 == 1, reached), inner)
			}
			return inner
		},
		"cache": func(h handmade, reached map[digest.Digest]bool) buildcache.Descriptor {
			root := h.cache("a")
			raw, err := os.ReadFile(h.blobPath(root.Digest))
			if err != nil {
				h.t.Fatal(err)
			}
			reached[root.Digest] = true
			for _, d := range buildcache.Successors(raw) {
				reached[d.Digest] = true
			}
			return root
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := byHand(t)
			reached := map[digest.Digest]bool{}
			root := make(h, reached)
			h.index(tagged(root, "latest"))
			for _, src := range []layout.Source{h.open(), asRegistry{h.open()}} {
				blobs, err := layout.Graph(t.Context(), src, root)
				if err != nil {
					t.Fatal(err)
				}
				wantGraph(t, h, blobs, root, reached)
			}
		})
	}
}

// wantGraph says that blobs are those reached, with their sizes, and that none comes before what names it, nor a layer
// before anything else.
func wantGraph(t *testing.T, h handmade, blobs []buildcache.Descriptor, root buildcache.Descriptor, reached map[digest.Digest]bool) {
	t.Helper()
	got := map[digest.Digest]bool{}
	named := map[digest.Digest]bool{root.Digest: true}
	layers := false
	for _, blob := range blobs {
		if got[blob.Digest] {
			t.Errorf("%s comes twice", blob.Digest)
		}
		got[blob.Digest] = true
		raw, err := os.ReadFile(h.blobPath(blob.Digest))
		if err != nil || int64(len(raw)) != blob.Size {
			t.Errorf("%s has %d bytes, not %d (%v)", blob.Digest, len(raw), blob.Size, err)
		}
		if !named[blob.Digest] {
			t.Errorf("%s (%s) comes before what names it", blob.Digest, blob.MediaType)
		}
		for _, d := range buildcache.Successors(raw) {
			named[d.Digest] = true
		}
		_, isLayer := buildcache.LayerCompression(blob.MediaType)
		if layers && !isLayer {
			t.Errorf("%s (%s) comes behind layers", blob.Digest, blob.MediaType)
		}
		layers = layers || isLayer
	}
	if !slices.Equal(sorted(got), sorted(reached)) {
		t.Errorf("got %v, want %v", sorted(got), sorted(reached))
	}
}

// TestGraphOfTheCorpus counts.
func TestGraphOfTheCorpus(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"artifact-gzip": 16, "docker-list-zstd": 16, "inline-image": 8, "many-docker-list-gzip": 256} {
		dir := open(t, filepath.Join(corpus, name))
		entries, err := dir.Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		blobs, err := layout.Graph(t.Context(), dir, entries[0].Descriptor)
		if err != nil || len(blobs) != want {
			t.Errorf("%s: %d blobs, want %d (%v)", name, len(blobs), want, err)
		}
	}
}

// TestGraphOfBrokenRoots says that a graph that can't be known as a whole is none.
func TestGraphOfBrokenRoots(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(path string) error
		want   error
	}{
		"missing": {os.Remove, layout.ErrBlobMissing}, "damaged": {flipByte, layout.ErrBlobDamaged},
		"truncated": {func(path string) error { return os.Truncate(path, 20) }, layout.ErrBlobDamaged},
	} {
		for _, docker := range []bool{false, true} {
			for _, which := range []string{"root", "child", "cache"} {
				h := byHand(t)
				child := h.image("a", docker, map[digest.Digest]bool{})
				root := h.list(docker, map[digest.Digest]bool{}, child)
				victim := root
				switch which {
				case "child":
					victim = child
				case "cache":
					root = h.cache("c")
					victim = root
				}
				path := h.blobPath(victim.Digest)
				if err := errors.Join(os.Chmod(path, 0o600), test.change(path)); err != nil {
					t.Fatal(err)
				}
				blobs, err := layout.Graph(t.Context(), h.open(), root)
				if err == nil || !strings.Contains(err.Error(), victim.Digest.Encoded()) {
					t.Errorf("%s %s, docker=%v: got %v (%v)", which, name, docker, blobs, err)
				}
				// Of the bytes of an OCI image umoci says what is wrong, in its own words.
				if (name == "missing" || which != "child" || docker) && !errors.Is(err, test.want) {
					t.Errorf("%s %s, docker=%v: got %v, want %v", which, name, docker, err, test.want)
				}
			}
		}
	}
}
