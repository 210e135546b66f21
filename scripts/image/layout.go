package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// add writes an image to a layout, and returns its descriptor.
func add(path layout.Path, image v1.Image, platform v1.Platform) (ocispec.Descriptor, error) {
	if err := path.WriteImage(image); err != nil {
		return ocispec.Descriptor{}, err
	}
	raw, err := image.RawManifest()
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest,
		Digest:    digest.FromBytes(raw),
		Size:      int64(len(raw)),
		Platform:  &ocispec.Platform{Architecture: platform.Architecture, OS: platform.OS, Variant: platform.Variant},
	}, nil
}

// addIndex writes the index of the images to a layout, under a tag. It has the bytes that skopeo would write; otherwise
// it would be another image in a registry.
func addIndex(path layout.Path, index ocispec.Index, tag string) error {
	raw, err := json.Marshal(index)
	if err != nil {
		return err
	}
	hash, size, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	if err := path.WriteBlob(hash, io.NopCloser(bytes.NewReader(raw))); err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	return path.AppendDescriptor(v1.Descriptor{
		MediaType: types.OCIImageIndex, Digest: hash, Size: size,
		Annotations: map[string]string{ocispec.AnnotationRefName: tag},
	})
}
