package convert_test

import (
	"bytes"
	stdgzip "compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// many is a cache with hundreds of layers.
const many = "many-docker-list-gzip"

// matrix are the sources of the recompression tests: every compression, mixtures, and duplicates.
func matrix() []string {
	return []string{
		"artifact-gzip", "artifact-zstd", "artifact-uncompressed", "artifact-estargz", "artifact-mixed-gzip-zstd",
		"gzip-with-estargz-leak", "docker-list-gzip", many,
	}
}

// TestRecompress brings every kind of source to every compression and looks at the result layer by layer.
func TestRecompress(t *testing.T) {
	t.Parallel()
	for _, name := range matrix() {
		for _, target := range buildcache.Compressions() {
			if name == many && target != buildcache.Zstd {
				continue // to all of them goes docker-list-gzip
			}
			t.Run(name+" to "+string(target), func(t *testing.T) {
				t.Parallel()
				src, dst := watch(openCorpus(t, name)), layouttest.Create(t)
				var heard events
				result := run(t, src, dst, convert.Options{Compression: target, OnEvent: heard.handle})
				wantClean(t, dst, "latest")
				wantNoTemporary(t, dst.String())
				old, now := load(t, src, "latest"), load(t, dst, "latest")
				wantEqual(t, "root", result.To.Digest, now.Descriptor.Digest)
				wantSameRecords(t, old, now)
				wantLayers(t, src, old, dst, now, target)
				wantResult(t, result, old, now)
				for blob, n := range heard.begun["recompress"] {
					if n != 1 {
						t.Errorf("%s was recompressed %d times", blob, n)
					}
				}
			})
		}
	}
}

// wantSameRecords wants everything of a config but its layers' blobs to be the same.
func wantSameRecords(t *testing.T, old, now *layout.Cache) {
	t.Helper()
	wantEqual(t, "records", now.Config.Records, old.Config.Records)
	wantEqual(t, "form", now.Root.Form, old.Root.Form)
	if len(now.Config.Layers) != len(old.Config.Layers) || len(now.Root.Layers) != len(old.Root.Layers) {
		t.Fatalf("%d layers of %d, %d descriptors of %d", len(now.Config.Layers), len(old.Config.Layers),
			len(now.Root.Layers), len(old.Root.Layers))
	}
	became := map[digest.Digest]digest.Digest{}
	for i, layer := range old.Root.Layers {
		became[layer.Digest] = now.Root.Layers[i].Digest
	}
	for i, layer := range old.Config.Layers {
		if now.Config.Layers[i].Parent != layer.Parent || now.Config.Layers[i].Blob != became[layer.Blob] {
			t.Errorf("layer %d was %+v and is %+v", i, layer, now.Config.Layers[i])
		}
	}
}

// wantLayers looks at each descriptor and what is in its blob.
func wantLayers(t *testing.T, src layout.Source, old *layout.Cache, dst layout.Source, now *layout.Cache, target buildcache.Compression) {
	t.Helper()
	for i, before := range old.Root.Layers {
		after := now.Root.Layers[i]
		packing, err := convert.CompressionOf(t.Context(), dst, after)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "compression", packing, target)
		wantEqual(t, "media type", after.MediaType, buildcache.LayerMediaType(old.Root.Form, target))
		was, err := convert.CompressionOf(t.Context(), src, before)
		if err != nil {
			t.Fatal(err)
		}
		if was == target {
			wantEqual(t, "kept descriptor", after, before)
			continue
		}
		if len(old.Root.Layers) > 100 && i%8 > 0 {
			continue // so many take long to look into
		}
		kept := maps.Clone(before.Annotations)
		for _, name := range []string{buildcache.AnnotationTOCDigest, buildcache.AnnotationUncompressedSize} {
			delete(kept, name)
		}
		kept[buildcache.AnnotationDiffID] = after.Annotations[buildcache.AnnotationDiffID]
		diffID := before.DiffID()
		if was == buildcache.Estargz {
			diffID = digest.FromBytes(insideEstargz(t, src, before))
		}
		if target == buildcache.Estargz {
			wantEqual(t, "digest of the tar inside", digest.FromBytes(insideEstargz(t, dst, after)), diffID)
			whole := gunzip(t, read(t, dst, after))
			diffID = digest.FromBytes(whole)
			kept[buildcache.AnnotationTOCDigest] = tocDigest(t, read(t, dst, after))
			kept[buildcache.AnnotationUncompressedSize] = strconv.Itoa(len(whole))
		}
		wantEqual(t, "diffID", after.DiffID(), diffID)
		wantEqual(t, "annotations", after.Annotations, kept)
	}
}

// wantResult compares what a result says with what is there.
func wantResult(t *testing.T, result *convert.Result, old, now *layout.Cache) {
	t.Helper()
	became := map[digest.Digest]buildcache.Descriptor{}
	for i, layer := range old.Root.Layers {
		became[layer.Digest] = now.Root.Layers[i]
	}
	wantEqual(t, "layers of the result", len(result.Layers), len(became))
	var moved int64
	for _, layer := range result.Layers {
		d := became[layer.From]
		if layer.To != d.Digest || layer.ToSize != d.Size {
			t.Errorf("the result says %+v, it is %+v", layer, d)
		}
		moved += layer.ToSize
	}
	wantEqual(t, "moved", result.Moved, moved)
}

func read(t *testing.T, src layout.Source, blob buildcache.Descriptor) []byte {
	t.Helper()
	raw, err := layout.ReadBlob(t.Context(), src, blob, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func gunzip(t *testing.T, raw []byte) []byte {
	t.Helper()
	r, err := stdgzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return whole
}

// insideEstargz returns the tar that an estargz blob was made of, by the reference implementation.
func insideEstargz(t *testing.T, src layout.Source, blob buildcache.Descriptor) []byte {
	t.Helper()
	raw := read(t, src, blob)
	r, err := estargz.Unpack(io.NewSectionReader(bytes.NewReader(raw), 0, blob.Size), new(estargz.GzipDecompressor))
	if err != nil {
		t.Fatal(err)
	}
	tar, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return tar
}

func tocDigest(t *testing.T, raw []byte) string {
	t.Helper()
	r, err := estargz.Open(io.NewSectionReader(bytes.NewReader(raw), 0, int64(len(raw))))
	if err != nil {
		t.Fatal(err)
	}
	return r.TOCDigest().String()
}

// TestRecompressIsBuildKitsOwn wants the layer blobs that BuildKit itself makes of the same tars, and but for the time
// of the export its root and config too.
func TestRecompressIsBuildKitsOwn(t *testing.T) {
	t.Parallel()
	for _, target := range []buildcache.Compression{buildcache.Zstd, buildcache.Uncompressed} {
		for _, from := range []string{"artifact-gzip", "artifact-zstd", "artifact-uncompressed"} {
			t.Run(from+" to "+string(target), func(t *testing.T) {
				t.Parallel()
				dst, theirs := layouttest.Create(t), load(t, openCorpus(t, "artifact-"+string(target)), "latest")
				run(t, openCorpus(t, from), dst, convert.Options{Compression: target})
				ours := load(t, dst, "latest")
				got, want := ours.Root.LayersByDigest(), theirs.Root.LayersByDigest()
				if len(got) != 14 || len(want) != 14 {
					t.Fatalf("%d and %d layers", len(got), len(want))
				}
				for blob := range want {
					if _, ok := got[blob]; !ok {
						t.Errorf("BuildKit's layer %s is not there", blob)
					}
				}
			})
		}
	}
}

// TestUnknownFieldsSurvive puts a member that nobody knows into every object of root and config.
func TestUnknownFieldsSurvive(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "artifact-gzip")
	place := open(t, path)
	cache := load(t, place, "latest")
	config := mark(t, cache.RawConfig)
	configBlob := putBlob(t, place, config)
	var root map[string]any
	if err := json.Unmarshal(mark(t, cache.RawRoot), &root); err != nil {
		t.Fatal(err)
	}
	entryOf, ok := root["config"].(map[string]any)
	if !ok {
		t.Fatal("the root has no config")
	}
	entryOf["digest"], entryOf["size"] = configBlob.Digest, configBlob.Size
	rootBlob := putBlob(t, place, marshal(t, root))
	rootBlob.MediaType = cache.Root.MediaType
	if err := place.Tag(t.Context(), "latest", rootBlob, cache.Descriptor.Digest); err != nil {
		t.Fatal(err)
	}
	marked := load(t, place, "latest")

	for _, target := range []buildcache.Compression{buildcache.Zstd, buildcache.Estargz, buildcache.Uncompressed} {
		dst := layouttest.Create(t)
		run(t, place, dst, convert.Options{Compression: target})
		now := load(t, dst, "latest")
		wantEqual(t, "unknown members of the root", marks(t, now.RawRoot), marks(t, marked.RawRoot))
		wantEqual(t, "unknown members of the config", marks(t, now.RawConfig), marks(t, marked.RawConfig))
		wantClean(t, dst, "latest")
	}
	for _, form := range []buildcache.Form{buildcache.OCIIndex, buildcache.DockerList, buildcache.Artifact} {
		run(t, place, place, convert.Options{Form: form})
		if got, want := len(marks(t, load(t, place, "latest").RawRoot)), len(marks(t, marked.RawRoot)); got != want {
			t.Errorf("as %s the root has %d unknown members, want %d", form, got, want)
		}
	}
	wantClean(t, place, "latest")
}

const unknown = "x-unknown"

// mark puts an unknown member into every object.
func mark(t *testing.T, raw []byte) []byte {
	t.Helper()
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		t.Fatal(err)
	}
	n := 0
	var walk func(any)
	walk = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			for _, member := range v {
				walk(member)
			}
			n++
			v[unknown] = strconv.Itoa(n)
		case []any:
			for _, element := range v {
				walk(element)
			}
		}
	}
	walk(value)
	if n < 10 {
		t.Fatalf("only %d objects were found", n)
	}
	return marshal(t, value)
}

// marks returns the unknown members by where they stand.
func marks(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		t.Fatal(err)
	}
	found := map[string]any{}
	var walk func(path []string, value any)
	walk = func(path []string, value any) {
		switch v := value.(type) {
		case map[string]any:
			if mark, ok := v[unknown]; ok {
				found[strings.Join(path, "/")] = mark
			}
			for name, member := range v {
				walk(append(path, name), member)
			}
		case []any:
			for i, element := range v {
				walk(append(path, strconv.Itoa(i)), element)
			}
		}
	}
	walk(nil, value)
	return found
}

func marshal(t *testing.T, value any) []byte {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func putBlob(t *testing.T, place *layout.Dir, raw []byte) buildcache.Descriptor {
	t.Helper()
	blob := buildcache.Descriptor{Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if err := place.Put(t.Context(), blob, layout.OpenBytes(raw)); err != nil {
		t.Fatal(err)
	}
	return blob
}

// TestRecompressReadsEachLayerOnce wants no layer to be read twice, but for the look at head and tail.
func TestRecompressReadsEachLayerOnce(t *testing.T) {
	t.Parallel()
	src, dst := watch(openCorpus(t, "artifact-gzip")), layouttest.Create(t)
	cache := load(t, src, "latest")
	run(t, src, dst, convert.Options{Compression: buildcache.Zstd})
	if len(cache.Root.Layers) == len(cache.Root.LayersByDigest()) {
		t.Fatal("no blob is named twice here")
	}
	for layer := range cache.Root.LayersByDigest() {
		if n := src.opened[layer]; n != 2 { // to look at, to read
			t.Errorf("%s was opened %d times", layer, n)
		}
	}
	names := contents(t, filepath.Join(dst.String(), "blobs"))
	if got, want := len(names), len(cache.Root.LayersByDigest())+2; got != want {
		t.Errorf("%d blobs, want %d", got, want)
	}
}
