package layout_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

const anyType = "application/octet-stream"

// wantGC holds a garbage collection to keeping what is needed and removing what is not, and Reach to the same.
func wantGC(t *testing.T, h handmade, needed map[digest.Digest]bool, stray ...digest.Digest) {
	t.Helper()
	reached, err := layout.Reach(t.Context(), h.open())
	if err != nil {
		t.Errorf("reach: %v", err)
	}
	for blob := range needed {
		if !reached[blob] {
			t.Errorf("%s is not reached", blob)
		}
	}
	slices.Sort(stray)
	done, err := h.open().GC(t.Context(), layout.GCOptions{})
	if err != nil || !slices.Equal(done.Blobs, stray) {
		t.Fatalf("%+v (%v), want %q removed", done, err, stray)
	}
	for blob := range needed {
		if _, err := os.Stat(h.blobPath(blob)); err != nil {
			t.Error(err)
		}
	}
}

// TestGCKeepsWhatOthersName in manifests that we know nothing of, or that say something else of what they name.
func TestGCKeepsWhatOthersName(t *testing.T) {
	t.Parallel()
	as := func(mediaType string) func(h handmade, image buildcache.Descriptor) buildcache.Descriptor {
		return func(h handmade, image buildcache.Descriptor) buildcache.Descriptor {
			image.MediaType = mediaType
			return h.json(buildcache.MediaTypeOCIIndex, map[string]any{"schemaVersion": 2, "mediaType": buildcache.MediaTypeOCIIndex, "manifests": []any{image}})
		}
	}
	with := func(mediaType, format string) func(h handmade, image buildcache.Descriptor) buildcache.Descriptor {
		return func(h handmade, image buildcache.Descriptor) buildcache.Descriptor {
			return h.blob(mediaType, strings.ReplaceAll(strings.ReplaceAll(format, "DIGEST", image.Digest.String()), "SIZE", fmt.Sprint(image.Size)))
		}
	}
	for name, root := range map[string]func(h handmade, image buildcache.Descriptor) buildcache.Descriptor{
		"artifact manifest":           with("application/vnd.oci.artifact.manifest.v1+json", `{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[{"digest":"DIGEST"}]}`),
		"schema 1":                    with("application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1,"fsLayers":[{"blobSum":"DIGEST"}]}`),
		"a root of an unknown type":   with("application/vnd.acme.v1+json", `{"items":[{"ref":{"digest":"DIGEST"}}]}`),
		"a root that is no manifest":  with("application/vnd.acme.v1+json", ` {"layers":"DIGEST"}`),
		"an empty index with subject": with(buildcache.MediaTypeOCIIndex, `{"manifests":[],"subject":{"mediaType":"x","digest":"DIGEST","size":SIZE}}`),
		"first as something else": with(buildcache.MediaTypeOCIIndex,
			`{"manifests":[{"mediaType":"`+anyType+`","digest":"DIGEST","size":SIZE},{"mediaType":"`+buildcache.MediaTypeOCIManifest+`","digest":"DIGEST","size":SIZE}]}`),
		"child without media type": as(""),
		"child of list.v1":         as("application/vnd.docker.distribution.manifest.list.v1+json"),
		"child in upper case":      as(strings.ToUpper(buildcache.MediaTypeOCIManifest)),
		"child with a parameter":   as(buildcache.MediaTypeOCIManifest + "; charset=utf-8"),
		"child of an unknown type": as(anyType),
		"index with a cache config": func(h handmade, image buildcache.Descriptor) buildcache.Descriptor {
			config := h.blob(buildcache.MediaTypeConfig, `{"layers":[],"records":[]}`)
			return h.json(buildcache.MediaTypeOCIIndex, map[string]any{"schemaVersion": 2, "manifests": []any{image, config}})
		},
		"subject of a cache": func(h handmade, image buildcache.Descriptor) buildcache.Descriptor {
			config := h.blob(buildcache.MediaTypeConfig, `{"layers":[],"records":[]}`)
			return h.json(buildcache.MediaTypeOCIManifest, map[string]any{"schemaVersion": 2, "config": config, "layers": []any{}, "subject": image})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, needed := byHand(t), map[digest.Digest]bool{}
			image := h.image("x", false, needed)
			entry := root(h, image)
			needed[entry.Digest] = true
			h.index(tagged(h.cache("a"), "a"), tagged(entry, "b"))
			wantGC(t, h, needed, h.blob("", "stray").Digest)
		})
	}
	t.Run("subject of index.json", func(t *testing.T) {
		t.Parallel()
		h, needed := byHand(t), map[digest.Digest]bool{}
		image := h.image("x", false, needed)
		h.write("index.json", toJSON(t, map[string]any{"schemaVersion": 2, "manifests": []any{}, "subject": image}))
		wantGC(t, h, needed, h.blob("", "stray").Digest)
	})
}

// TestGCRefusesWhatItCanNotRead removes nothing where one odd value of a manifest hides what else it names.
func TestGCRefusesWhatItCanNotRead(t *testing.T) {
	t.Parallel()
	for _, odd := range []string{
		`{"manifests":[IMAGE,{"digest":5}]}`, `{"manifests":[IMAGE,{"digest":"DIGEST","size":"12"}]}`,
		`{"manifests":[IMAGE,{"digest":"DIGEST","size":1.5}]}`, `{"manifests":[{"digest":"DIGEST","annotations":{"a":1}}]}`,
		`{"manifests":[{"digest":"DIGEST","urls":"x"}]}`, `{"layers":"DIGEST"}`, `{"manifests":[IMAGE],"layers":[]}`, `{"manifests":[IMAGE]`,
	} {
		for _, mediaType := range []string{"", buildcache.MediaTypeOCIIndex} {
			h, needed := byHand(t), map[digest.Digest]bool{}
			image := h.image("x", false, needed)
			root := h.blob(mediaType, strings.ReplaceAll(strings.ReplaceAll(odd, "IMAGE", toJSON(t, image)), "DIGEST", image.Digest.String()))
			h.index(tagged(root, "a"))
			stray := h.blob("", "stray")
			result, err := h.open().GC(t.Context(), layout.GCOptions{})
			var incomplete *layout.IncompleteError
			if !errors.As(err, &incomplete) || !errors.Is(err, layout.ErrNotManifest) || incomplete.Missing[0].Digest != root.Digest {
				t.Errorf("%s: %+v (%v)", odd, result, err)
			}
			if _, err := os.Stat(h.blobPath(stray.Digest)); err != nil {
				t.Errorf("%s: %v", odd, err)
			}
		}
	}
}

// TestGCReadsNoLayers for what they might speak of, but any object that is small enough.
func TestGCReadsNoLayers(t *testing.T) {
	t.Parallel()
	h, needed := byHand(t), map[digest.Digest]bool{}
	stray, named := h.blob("", "named by a layer"), h.blob("", "named by an object")
	needed[named.Digest] = true
	layer := h.blob(anyType, "x"+toJSON(t, stray))
	large := h.blob(anyType, toJSON(t, stray)+strings.Repeat(" ", buildcache.MaxConfig))
	object := h.blob(anyType, toJSON(t, named))
	root := h.json(buildcache.MediaTypeOCIManifest, map[string]any{"schemaVersion": 2, "config": object, "layers": []any{layer, large}})
	h.index(tagged(root, "a"))
	wantGC(t, h, needed, stray.Digest)
	if got := len(layoutBlobs(t, h)); got != 5 {
		t.Errorf("%d blobs are left", got)
	}
}

func layoutBlobs(t *testing.T, h handmade) []os.DirEntry {
	t.Helper()
	names, err := os.ReadDir(filepath.Join(h.path, "blobs", "sha256"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestGCFollowsLinks as readers do: what a needed blob is a link to stays, and a link to nothing is nothing.
func TestGCFollowsLinks(t *testing.T) {
	t.Parallel()
	link := func(h handmade, text, target string) buildcache.Descriptor {
		blob := buildcache.Descriptor{MediaType: anyType, Digest: digest.SHA512.FromString(text), Size: int64(len(text))}
		if err := errors.Join(os.MkdirAll(filepath.Dir(h.blobPath(blob.Digest)), 0o755), os.Symlink(target, h.blobPath(blob.Digest))); err != nil {
			t.Fatal(err)
		}
		return blob
	}
	h, needed := byHand(t), map[digest.Digest]bool{}
	file := h.blob("", "the file")
	needed[file.Digest] = true
	h.index(tagged(link(h, "the file", "../sha256/"+file.Digest.Encoded()), "a"))
	done, err := h.open().GC(t.Context(), layout.GCOptions{})
	if _, statErr := os.Stat(h.blobPath(file.Digest)); err != nil || statErr != nil {
		t.Errorf("%+v (%v, %v)", done, err, statErr)
	}
	h.index(tagged(link(h, "dangling", "../sha256/none"), "a"))
	var incomplete *layout.IncompleteError
	if done, err := h.open().GC(t.Context(), layout.GCOptions{}); !errors.As(err, &incomplete) {
		t.Errorf("%+v (%v)", done, err)
	}
}

// TestGCRefusesWithoutOneList of entries: what readers take for an empty index, or for another one, is none to delete by.
func TestGCRefusesWithoutOneList(t *testing.T) {
	t.Parallel()
	for _, format := range []string{
		`{"schemaVersion":2}`, `{"manifests":null}`, `{"manifest":[%s]}`, `{"manifests":[%s],"manifests":[]}`,
		`{"manifests":[%s],"Manifests":[]}`, `{"manifests":[%s],"manifests":null}`, `null`,
	} {
		h := byHand(t)
		root := toJSON(t, tagged(h.cache("a"), "a"))
		h.write("index.json", strings.ReplaceAll(format, "%s", root))
		before := len(layoutBlobs(t, h))
		done, err := h.open().GC(t.Context(), layout.GCOptions{})
		var nameless *layout.NamelessError
		var unreadable *layout.IndexError
		if !errors.As(err, &nameless) && !errors.As(err, &unreadable) && !errors.Is(err, buildcache.ErrNoList) || len(layoutBlobs(t, h)) != before {
			t.Errorf("%s: %+v (%v)", format, done, err)
		}
	}
	for _, format := range []string{`{"manifests":[]}`, "\n{ \"Manifests\" : [ ] }\n"} {
		h := byHand(t)
		h.write("index.json", format)
		wantGC(t, h, nil, h.blob("", "stray").Digest)
	}
}
