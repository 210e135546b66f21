package buildcache_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

func TestReplaceLayersAnnotations(t *testing.T) {
	t.Parallel()
	const created = "2026-01-02T03:04:05Z"
	zstd := buildcache.Blob{Digest: sum("new"), Size: 9, Compression: buildcache.Zstd, DiffID: sum("diff")}
	estargz := buildcache.Blob{
		Digest: sum("new"), Size: 9, Compression: buildcache.Estargz, DiffID: sum("full"), TOCDigest: sum("toc"), UncompressedSize: 4096,
	}
	tests := []struct {
		name         string
		blob         buildcache.Blob
		before, want map[string]string
	}{
		{"none before", zstd, nil, map[string]string{buildcache.AnnotationDiffID: sum("diff").String()}},
		{
			"kept", zstd,
			map[string]string{buildcache.AnnotationDiffID: sum("diff").String(), buildcache.AnnotationCreatedAt: created, "buildkit/description": "RUN make", "x": "y"},
			map[string]string{buildcache.AnnotationDiffID: sum("diff").String(), buildcache.AnnotationCreatedAt: created, "buildkit/description": "RUN make", "x": "y"},
		},
		{
			"of estargz dropped", zstd,
			map[string]string{buildcache.AnnotationTOCDigest: "sha256:old", buildcache.AnnotationUncompressedSize: "1", buildcache.AnnotationDiffID: sum("full").String()},
			map[string]string{buildcache.AnnotationDiffID: sum("diff").String()},
		},
		{
			"of estargz set", estargz,
			map[string]string{buildcache.AnnotationDiffID: sum("diff").String(), "x": "y"},
			map[string]string{
				buildcache.AnnotationDiffID: sum("full").String(), "x": "y",
				buildcache.AnnotationTOCDigest: sum("toc").String(), buildcache.AnnotationUncompressedSize: "4096",
			},
		},
		{
			"of estargz replaced", estargz,
			map[string]string{buildcache.AnnotationTOCDigest: "sha256:old", buildcache.AnnotationUncompressedSize: "1"},
			map[string]string{
				buildcache.AnnotationDiffID: sum("full").String(), buildcache.AnnotationTOCDigest: sum("toc").String(), buildcache.AnnotationUncompressedSize: "4096",
			},
		},
		{
			"of other packings dropped", zstd,
			map[string]string{
				"containerd.io/distribution.source.example.com": "a,b", "containerd.io/distribution.source.ref": "r",
				"containerd.io/snapshot/overlaybd/blob-digest": "d", "containerd.io/snapshot/overlaybd/version": "1",
				"containerd.io/snapshot/nydus-blob": "true", "io.github.containers.zstd-chunked.manifest-checksum": "c",
				"containerd.io/distribution": "stays",
			},
			map[string]string{buildcache.AnnotationDiffID: sum("diff").String(), "containerd.io/distribution": "stays"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			old := buildcache.Descriptor{MediaType: buildcache.LayerMediaType(buildcache.Artifact, buildcache.Gzip), Digest: sum("old"), Size: 5, Annotations: tt.before}
			root := &buildcache.Root{Form: buildcache.Artifact, Layers: []buildcache.Descriptor{old}}
			before := marshal(t, root)
			got, _ := buildcache.ReplaceLayers(root, &buildcache.Config{}, map[digest.Digest]buildcache.Blob{sum("old"): tt.blob})
			want := buildcache.Descriptor{
				MediaType: buildcache.LayerMediaType(buildcache.Artifact, tt.blob.Compression), Digest: sum("new"), Size: 9, Annotations: tt.want,
			}
			if !reflect.DeepEqual(got.Layers, []buildcache.Descriptor{want}) {
				t.Errorf("got  %+v\nwant %+v", got.Layers[0], want)
			}
			if after := marshal(t, root); after != before {
				t.Errorf("the root it came from changed to %s", after)
			}
		})
	}
}

func TestReplaceLayersMembers(t *testing.T) {
	t.Parallel()
	const raw = `{"schemaVersion":2,"mediaType":"` + dockerList + `","manifests":[` +
		`{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"sha256:old","size":5,"urls":["https://example.com"],"DATA":"b2xk","x":1},` +
		`{"mediaType":"` + buildcache.MediaTypeConfig + `","digest":"sha256:old","size":5}],"x":2}`
	root := parseRoot(t, []byte(raw))
	blob := buildcache.Blob{Digest: "sha256:new", Size: 9, Compression: buildcache.Zstd, DiffID: "sha256:diff"}
	got, _ := buildcache.ReplaceLayers(root, &buildcache.Config{}, map[digest.Digest]buildcache.Blob{"sha256:old": blob})
	want := strings.Replace(raw,
		`{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"sha256:old","size":5,"urls":["https://example.com"],"DATA":"b2xk","x":1}`,
		`{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.zstd","digest":"sha256:new","size":9,"annotations":{"containerd.io/uncompressed":"sha256:diff"},"x":1}`, 1)
	if text := marshal(t, got); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if text := marshal(t, root); text != raw {
		t.Errorf("the root it came from changed to %s", text)
	}
}

// TestReplaceLayersDuplicates has one blob on two parents, as BuildKit exports it, and two blobs that become one.
func TestReplaceLayersDuplicates(t *testing.T) {
	t.Parallel()
	descriptor := func(name string) buildcache.Descriptor { return buildcache.Descriptor{Digest: sum(name), Size: 1} }
	root := &buildcache.Root{
		Form: buildcache.OCIIndex, Config: descriptor("a"), // no layer, though it has a layer's digest
		Layers: []buildcache.Descriptor{descriptor("a"), descriptor("b"), descriptor("a"), descriptor("c")},
	}
	config := &buildcache.Config{
		Layers: []buildcache.Layer{
			{Blob: sum("a"), Parent: buildcache.NoParent},
			{Blob: sum("a"), Parent: 2, Annotations: &buildcache.LayerAnnotations{MediaType: "m", Size: 1}},
			{Blob: sum("b"), Parent: 0},
			{Blob: sum("c"), Parent: 0},
			{Blob: sum("unlisted"), Parent: 3},
		},
		Records: []buildcache.Record{{Digest: sum("r"), Results: []buildcache.Result{{Layer: 1}}}},
	}
	before := marshal(t, root) + marshal(t, config)
	one := buildcache.Blob{Digest: sum("one"), Size: 7, Compression: buildcache.Uncompressed, DiffID: sum("one")}
	other := buildcache.Blob{Digest: sum("u"), Size: 8, Compression: buildcache.Gzip, DiffID: sum("u-diff")}
	newRoot, newConfig := buildcache.ReplaceLayers(root, config, map[digest.Digest]buildcache.Blob{
		sum("a"): one, sum("b"): one, sum("unlisted"): other, sum("nowhere"): other,
	})
	var listed, named []digest.Digest
	for _, layer := range newRoot.Layers {
		listed = append(listed, layer.Digest)
	}
	for i, layer := range newConfig.Layers {
		named = append(named, layer.Blob)
		if layer.Parent != config.Layers[i].Parent {
			t.Errorf("layers[%d] has the parent %d", i, layer.Parent)
		}
	}
	if want := []digest.Digest{sum("one"), sum("one"), sum("one"), sum("c")}; !reflect.DeepEqual(listed, want) {
		t.Errorf("the root lists %v, want %v", listed, want)
	}
	if want := []digest.Digest{sum("one"), sum("one"), sum("one"), sum("c"), sum("u")}; !reflect.DeepEqual(named, want) {
		t.Errorf("the config names %v, want %v", named, want)
	}
	if newRoot.Config.Digest != sum("a") || !reflect.DeepEqual(newConfig.Records, config.Records) {
		t.Error("the config's descriptor or the records changed")
	}
	want := &buildcache.LayerAnnotations{MediaType: "application/vnd.oci.image.layer.v1.tar", DiffID: sum("one"), Size: 7}
	if got := newConfig.Layers[1].Annotations; !reflect.DeepEqual(got, want) {
		t.Errorf("annotations %+v, want %+v", got, want)
	}
	if newConfig.Layers[0].Annotations != nil {
		t.Error("annotations where there were none")
	}
	if after := marshal(t, root) + marshal(t, config); after != before {
		t.Errorf("what it came from changed to %s", after)
	}
}

// TestReplaceLayersNothing checks on BuildKit's own caches that nothing else changes.
func TestReplaceLayersNothing(t *testing.T) {
	t.Parallel()
	for _, export := range corpusExports(t) {
		root, config := buildcache.ReplaceLayers(parseRoot(t, export.Root), parseConfig(t, export.Config), nil)
		if marshal(t, root) != string(export.Root) || marshal(t, config) != string(export.Config) {
			t.Errorf("%s changed", export.Name)
		}
	}
}
