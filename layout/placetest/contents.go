package placetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// Blob is a blob with its bytes.
type Blob struct {
	buildcache.Descriptor
	Data []byte
}

// NewBlob describes bytes.
func NewBlob(mediaType string, data []byte) Blob {
	return Blob{
		Descriptor: buildcache.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))},
		Data:       data,
	}
}

// newJSON describes a value as JSON. It must be one that JSON can encode.
func newJSON(mediaType string, value any) Blob {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return NewBlob(mediaType, data)
}

// Tree is everything that a root reaches, each blob after what it names, the root last.
type Tree []Blob

// Root returns the descriptor of the root.
func (t Tree) Root() buildcache.Descriptor { return t[len(t)-1].Descriptor }

// Put stores the blobs of a tree.
func (t Tree) Put(ctx context.Context, sink layout.Sink) error {
	for _, blob := range t {
		if err := sink.Put(ctx, blob.Descriptor, layout.OpenBytes(blob.Data)); err != nil {
			return err
		}
	}
	return nil
}

// Contents is what a place holds.
type Contents struct {
	Trees   []Tree
	Entries []layout.Entry // only tags and roots
}

// With returns contents with a tree added, under a tag, or untagged if tag is "".
func (c Contents) With(tag string, tree Tree) Contents {
	return Contents{
		Trees:   append(c.Trees[:len(c.Trees):len(c.Trees)], tree),
		Entries: append(c.Entries[:len(c.Entries):len(c.Entries)], layout.Entry{Tag: tag, Descriptor: tree.Root()}),
	}
}

// Put stores all blobs, and tags the entries in their order.
func (c Contents) Put(ctx context.Context, sink layout.Sink) error {
	for _, tree := range c.Trees {
		if err := tree.Put(ctx, sink); err != nil {
			return err
		}
	}
	for _, e := range c.Entries {
		if err := sink.Tag(ctx, e.Tag, e.Descriptor, ""); err != nil {
			return fmt.Errorf("tag %q: %w", e.Tag, err)
		}
	}
	return nil
}

// Cache makes a cache in a form, with layers in a claimed compression, each the child of the one before. Nothing is really
// compressed: the layers are the given bytes, and nobody can unpack them.
func Cache(form buildcache.Form, c buildcache.Compression, layers ...[]byte) Tree {
	var tree Tree
	root, config := &buildcache.Root{Form: form}, &buildcache.Config{}
	for i, data := range layers {
		layer := NewBlob(buildcache.LayerMediaType(form, c), data)
		tree = append(tree, layer)
		diffID := layer.Digest
		if c != buildcache.Uncompressed {
			diffID = digest.FromString(fmt.Sprint("tar ", i))
		}
		named := layer.Descriptor
		named.Annotations = map[string]string{
			buildcache.AnnotationDiffID: diffID.String(), buildcache.AnnotationCreatedAt: "2026-01-02T03:04:05Z",
		}
		root.Layers = append(root.Layers, named)
		config.Layers = append(config.Layers, buildcache.Layer{Blob: layer.Digest, Parent: i - 1})
		record := buildcache.Record{Digest: digest.FromString(fmt.Sprint("record ", i)), Results: []buildcache.Result{{Layer: i}}}
		if i > 0 {
			record.Inputs = [][]buildcache.Input{{{Link: i - 1}}}
		}
		config.Records = append(config.Records, record)
	}
	configBlob := newJSON(buildcache.MediaTypeConfig, config)
	root.Config = configBlob.Descriptor
	return append(tree, configBlob, newJSON(form.MediaType(), root))
}

// small is a cache with one layer, a different one for each name.
func small(name string) Tree {
	return Cache(buildcache.Artifact, buildcache.Uncompressed, []byte("layer of "+name))
}

// Image makes an image with one layer, a different one for each name.
func Image(name string) Tree {
	layer := NewBlob(ocispec.MediaTypeImageLayer, []byte("layer of "+name))
	config := newJSON(ocispec.MediaTypeImageConfig, map[string]any{
		"architecture": "amd64", "os": "linux", "author": name,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []digest.Digest{layer.Digest}},
	})
	return Tree{layer, config, newJSON(buildcache.MediaTypeOCIManifest, map[string]any{
		"schemaVersion": 2, "mediaType": buildcache.MediaTypeOCIManifest,
		"config": config.Descriptor, "layers": []buildcache.Descriptor{layer.Descriptor},
	})}
}

// Index makes an index of images, or of other indexes.
func Index(images ...Tree) Tree {
	var tree Tree
	var roots []buildcache.Descriptor
	for _, image := range images {
		tree = append(tree, image...)
		roots = append(roots, image.Root())
	}
	return append(tree, newJSON(buildcache.MediaTypeOCIIndex, map[string]any{
		"schemaVersion": 2, "mediaType": buildcache.MediaTypeOCIIndex, "manifests": roots,
	}))
}

// errBroken is the failure that the suite itself causes.
var errBroken = errors.New("the disk is broken")
