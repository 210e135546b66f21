package buildcache

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Blob is what a layer becomes when it is recompressed. Sizes are in bytes; TOCDigest and UncompressedSize are
// set for Estargz only.
type Blob struct {
	Digest           digest.Digest
	Size             int64
	Compression      Compression
	DiffID           digest.Digest
	TOCDigest        digest.Digest
	UncompressedSize int64
}

// ReplaceLayers returns root and config with other blobs for some layers, which blobs has by their old digests. Order, parents,
// records and unknown members stay. So do the indexes of layers, which is why records need no change. The caller marshals the
// config and points the root's Config to it.
func ReplaceLayers(root *Root, config *Config, blobs map[digest.Digest]Blob) (*Root, *Config) {
	newRoot, newConfig := *root, *config
	newRoot.Layers = make([]Descriptor, len(root.Layers))
	for i, layer := range root.Layers {
		if blob, ok := blobs[layer.Digest]; ok {
			layer = blob.describe(layer, root.Form)
		}
		newRoot.Layers[i] = layer
	}
	newConfig.Layers = make([]Layer, len(config.Layers))
	for i, layer := range config.Layers {
		if blob, ok := blobs[layer.Blob]; ok {
			layer.Blob = blob.Digest
			layer.Annotations = blob.annotate(layer.Annotations)
		}
		newConfig.Layers[i] = layer
	}
	return &newRoot, &newConfig
}

// describe returns the descriptor of the blob that replaces old.
func (b Blob) describe(old Descriptor, form Form) Descriptor {
	d := old.Clone()
	d.MediaType = LayerMediaType(form, b.Compression)
	d.Digest, d.Size, d.URLs = b.Digest, b.Size, nil
	d.Extra = withoutData(d.Extra)
	maps.DeleteFunc(d.Annotations, func(name, _ string) bool { return describesOldBytes(name) })
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[AnnotationDiffID] = b.DiffID.String()
	if b.Compression == Estargz {
		d.Annotations[AnnotationTOCDigest] = b.TOCDigest.String()
		d.Annotations[AnnotationUncompressedSize] = strconv.FormatInt(b.UncompressedSize, 10)
	}
	return d
}

// describesOldBytes reports whether an annotation is no longer true once a layer's bytes have changed.
func describesOldBytes(name string) bool {
	switch name {
	case AnnotationTOCDigest, AnnotationUncompressedSize:
		return true
	}
	for _, prefix := range []string{
		AnnotationDistributionSource,
		"containerd.io/snapshot/overlaybd/",
		"containerd.io/snapshot/nydus-",
		"io.github.containers.zstd-chunked.",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func (b Blob) annotate(old *LayerAnnotations) *LayerAnnotations {
	if old == nil {
		return nil
	}
	a := *old
	a.MediaType, a.DiffID, a.Size = LayerMediaType(Artifact, b.Compression), b.DiffID, b.Size
	return &a
}

// withoutData drops the data that a descriptor embeds, which is outdated once the descriptor points elsewhere.
func withoutData(extra Extra) Extra {
	return slices.DeleteFunc(extra, func(m Member) bool { return strings.EqualFold(m.Name, "data") })
}

// BlobOf reads a layer's descriptor as the Blob that it describes.
func BlobOf(d Descriptor, c Compression) Blob {
	blob := Blob{Digest: d.Digest, Size: d.Size, Compression: c, DiffID: d.DiffID()}
	if c == Estargz {
		blob.TOCDigest = digest.Digest(d.Annotations[AnnotationTOCDigest])
		// If this is not a number, the descriptor made from the blob differs from d.
		blob.UncompressedSize, _ = strconv.ParseInt(d.Annotations[AnnotationUncompressedSize], 10, 64)
	}
	return blob
}
