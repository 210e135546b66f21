package oracle

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// TestLayerMediaTypes packs a layer in every way, gives it every media type, and compares whether BuildKit's (which
// are containerd's) stream processors can unpack it with whether Verify reports that builds fail.
func TestLayerMediaTypes(t *testing.T) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "dir/", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, encoding := range []buildcache.Compression{buildcache.Uncompressed, buildcache.Gzip, buildcache.Zstd} {
		var packed bytes.Buffer
		if _, err := compress.Encode(&packed, bytes.NewReader(layer.Bytes()), encoding, 0); err != nil {
			t.Fatal(err)
		}
		for _, mediaType := range []string{
			"application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd",
			"application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
			"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
			"application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.docker.image.rootfs.diff.tar.zstd",
			"application/vnd.docker.image.rootfs.foreign.diff.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
			"", "application/octet-stream", buildcache.MediaTypeConfig, "application/vnd.oci.image.layer.v1.tar.gzip",
			"application/vnd.docker.image.rootfs.foreign.diff.tar.zstd", "application/vnd.oci.image.layer.v1.tarball",
		} {
			unpacked, err := process(t.Context(), mediaType, packed.Bytes())
			copes := err == nil && bytes.Equal(unpacked, layer.Bytes())
			problems := verifyLayer(t, mediaType, packed.Bytes(), digest.FromBytes(layer.Bytes()))
			fails := slices.ContainsFunc(problems, func(p buildcache.Problem) bool { return p.Effect == buildcache.BuildFails })
			if copes == fails {
				t.Errorf("%s as %q: BuildKit copes: %v (%v); Verify: %+v", encoding, mediaType, copes, err, problems)
			}
		}
	}
}

// process unpacks a layer as containerd's core/diff/apply does.
func process(ctx context.Context, mediaType string, raw []byte) ([]byte, error) {
	processor := diff.NewProcessorChain(mediaType, bytes.NewReader(raw))
	for {
		var err error
		if processor, err = diff.GetProcessor(ctx, processor, nil); err != nil {
			return nil, err
		}
		if processor.MediaType() == ocispec.MediaTypeImageLayer {
			return io.ReadAll(processor)
		}
	}
}

// verifyLayer verifies a cache of one layer.
func verifyLayer(t *testing.T, mediaType string, raw []byte, diffID digest.Digest) []buildcache.Problem {
	t.Helper()
	layer := buildcache.Descriptor{
		MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw)),
		Annotations: map[string]string{buildcache.AnnotationDiffID: diffID.String()},
	}
	config, err := json.Marshal(&buildcache.Config{
		Layers:  []buildcache.Layer{{Blob: layer.Digest, Parent: buildcache.NoParent}},
		Records: []buildcache.Record{{Digest: digest.FromString("r"), Results: []buildcache.Result{{Layer: 0}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	root := &buildcache.Root{
		Form: buildcache.Artifact, Layers: []buildcache.Descriptor{layer},
		Config: buildcache.Descriptor{MediaType: buildcache.MediaTypeConfig, Digest: digest.FromBytes(config), Size: int64(len(config))},
	}
	rawRoot, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	at := buildcache.Descriptor{Digest: digest.FromBytes(rawRoot), Size: int64(len(rawRoot))}
	place := layout.NewMemory("memory")
	for _, part := range []struct {
		blob buildcache.Descriptor
		data []byte
	}{{at, rawRoot}, {root.Config, config}, {layer, raw}} {
		if err := place.Put(t.Context(), part.blob, layout.OpenBytes(part.data)); err != nil {
			t.Fatal(err)
		}
	}
	problems, err := inspect.Verify(t.Context(), place, layout.Entry{Descriptor: at}, inspect.Options{Deep: true})
	if err != nil {
		t.Fatal(err)
	}
	return problems
}

// TestDetectHead compares how the two tell gzip and zstd from anything else.
func TestDetectHead(t *testing.T) {
	names := map[compression.Compression]buildcache.Compression{
		compression.Uncompressed: buildcache.Uncompressed, compression.Gzip: buildcache.Gzip, compression.Zstd: buildcache.Zstd,
	}
	random := rand.New(rand.NewPCG(1, 1))
	starts := [][]byte{
		{},
		{0x1f, 0x8b, 8},
		{0x1f, 0x8b, 8, 0},
		{0x28, 0xb5, 0x2f, 0xfd},
		{0x50, 0x2a, 0x4d, 0x18},
		{0x5f, 0x2a, 0x4d, 0x18},
		{0x60, 0x2a, 0x4d, 0x18},
		{0x4f, 0x2a, 0x4d, 0x18},
		[]byte("BZh"),
		{0xfd, '7', 'z', 'X', 'Z', 0},
	}
	for range 20000 {
		head := make([]byte, 12)
		for i := range head {
			head[i] = byte(random.Uint32())
		}
		copy(head, starts[random.IntN(len(starts))])
		if got, want := compress.DetectHead(head[:4]), names[compression.DetectCompression(head)]; got != want {
			t.Fatalf("% x: got %s, BuildKit says %s", head, got, want)
		}
	}
}
