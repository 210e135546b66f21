package layout_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

const corpus = "../testdata/caches"

// corpusCaches are all the layouts of the corpus.
func corpusCaches(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir(corpus)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if len(names) < 19 {
		t.Fatalf("%s holds %d layouts, want all 19", corpus, len(names))
	}
	return names
}

func open(t testing.TB, path string) *layout.Dir {
	t.Helper()
	dir, err := layout.Open(path, layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// wantNoTemporary looks for temporary files and locks that should be gone.
func wantNoTemporary(t testing.TB, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(path, ".ocicache"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != "journal" {
			t.Errorf("%s was left behind", entry.Name())
		}
	}
	if _, err := os.Lstat(filepath.Join(path, "index.json.lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("index.json.lock was left behind (%v)", err)
	}
}

// handmade is a layout that a test makes by hand, so that it may be wrong in any way.
type handmade struct {
	t    testing.TB
	path string
}

func byHand(t testing.TB) handmade {
	t.Helper()
	h := handmade{t: t, path: filepath.Join(t.TempDir(), "layout")}
	if err := os.MkdirAll(filepath.Join(h.path, "blobs", "sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.write("oci-layout", `{"imageLayoutVersion":"1.0.0"}`)
	h.index()
	return h
}

func (h handmade) write(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.path, name), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// blobPath returns where a blob lies.
func (h handmade) blobPath(d digest.Digest) string { return blobPath(h.path, d) }

func blobPath(layout string, d digest.Digest) string {
	return filepath.Join(layout, "blobs", d.Algorithm().String(), d.Encoded())
}

// blob stores bytes.
func (h handmade) blob(mediaType, text string) buildcache.Descriptor {
	h.t.Helper()
	d := buildcache.Descriptor{MediaType: mediaType, Digest: digest.FromString(text), Size: int64(len(text))}
	if err := os.WriteFile(h.blobPath(d.Digest), []byte(text), 0o444); err != nil && !errors.Is(err, fs.ErrPermission) {
		h.t.Fatal(err)
	}
	return d
}

// json stores a value.
func (h handmade) json(mediaType string, value any) buildcache.Descriptor {
	h.t.Helper()
	return h.blob(mediaType, toJSON(h.t, value))
}

func toJSON(t testing.TB, value any) string {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// index writes index.json.
func (h handmade) index(entries ...buildcache.Descriptor) {
	h.t.Helper()
	if entries == nil {
		entries = []buildcache.Descriptor{}
	}
	h.write("index.json", toJSON(h.t, map[string]any{"schemaVersion": 2, "manifests": entries}))
}

func (h handmade) open() *layout.Dir { h.t.Helper(); return open(h.t, h.path) }

// tagged returns a descriptor with a tag.
func tagged(d buildcache.Descriptor, tag string) buildcache.Descriptor {
	d = d.Clone()
	d.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	return d
}

// cache stores a cache with one layer, different for each name, and returns its root.
func (h handmade) cache(name string) buildcache.Descriptor {
	h.t.Helper()
	layer := h.blob(buildcache.LayerMediaType(buildcache.Artifact, buildcache.Uncompressed), "layer of "+name)
	layer.Annotations = map[string]string{buildcache.AnnotationDiffID: layer.Digest.String()}
	config := h.blob(buildcache.MediaTypeConfig, fmt.Sprintf(
		`{"layers":[{"blob":%q,"parent":-1}],"records":[{"layers":[{"layer":0,"createdAt":"2026-01-02T03:04:05Z"}],"digest":%q}]}`,
		layer.Digest, digest.FromString(name)))
	return h.json(buildcache.MediaTypeOCIManifest, map[string]any{
		"schemaVersion": 2, "mediaType": buildcache.MediaTypeOCIManifest,
		"config": config, "layers": []buildcache.Descriptor{layer},
	})
}

// image stores an image with one layer, in OCI's form or Docker's. What it is made of goes to reached, unless that is nil.
func (h handmade) image(name string, docker bool, reached map[digest.Digest]bool) buildcache.Descriptor {
	h.t.Helper()
	manifestType, configType := buildcache.MediaTypeOCIManifest, ocispec.MediaTypeImageConfig
	form := buildcache.Artifact
	if docker {
		manifestType, configType = buildcache.MediaTypeDockerManifest, "application/vnd.docker.container.image.v1+json"
		form = buildcache.DockerList
	}
	layer := h.blob(buildcache.LayerMediaType(form, buildcache.Uncompressed), "image layer of "+name)
	config := h.json(configType, map[string]any{
		"architecture": "amd64", "os": "linux", "author": name,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []digest.Digest{layer.Digest}},
	})
	root := h.json(manifestType, map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": []buildcache.Descriptor{layer},
	})
	note(reached, layer, config, root)
	return root
}

// list stores an index of images, in OCI's form or Docker's. It goes to reached, unless that is nil.
func (h handmade) list(docker bool, reached map[digest.Digest]bool, children ...buildcache.Descriptor) buildcache.Descriptor {
	h.t.Helper()
	mediaType := buildcache.MediaTypeOCIIndex
	if docker {
		mediaType = buildcache.MediaTypeDockerList
	}
	root := h.json(mediaType, map[string]any{"schemaVersion": 2, "mediaType": mediaType, "manifests": children})
	note(reached, root)
	return root
}

// note adds blobs to what is reached, where a test wants to know that.
func note(reached map[digest.Digest]bool, blobs ...buildcache.Descriptor) {
	if reached == nil {
		return
	}
	for _, d := range blobs {
		reached[d.Digest] = true
	}
}

// bytesOf returns bytes as a blob and how to open them.
func bytesOf(text string) (buildcache.Descriptor, layout.OpenFunc) {
	return buildcache.Descriptor{MediaType: "text/plain", Digest: digest.FromString(text), Size: int64(len(text))},
		layout.OpenBytes([]byte(text))
}

// opener counts how often it is asked, and closed.
type opener struct {
	text           string
	opened, closed int
}

func (o *opener) open() (io.ReadCloser, error) {
	o.opened++
	return &closeCounter{Reader: strings.NewReader(o.text), o: o}, nil
}

type closeCounter struct {
	io.Reader
	o *opener
}

func (c *closeCounter) Close() error { c.o.closed++; return nil }

func sorted(set map[digest.Digest]bool) []digest.Digest {
	var all []digest.Digest
	for d := range set {
		all = append(all, d)
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	return all
}
