package provenance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// maxManifests is the most manifests of an image that are read.
const maxManifests = 1 << 10

// FromImage reads the provenance in an image's attestations, one build for each
// platform that has one. root is the image, or an index of images.
//
// It fails as Parse does.
func FromImage(ctx context.Context, src layout.Source, root buildcache.Descriptor) ([]*Build, error) {
	var builds []*Build
	var without, lost error
	manifests := 0
	err := layout.Walk(ctx, src, root, func(n layout.Node) error {
		if errors.Is(n.Err, layout.ErrBlobMissing) { // often an index comes with only some of its platforms
			lost = n.Err
			return nil
		}
		if n.Err != nil {
			return fmt.Errorf("read image: %w", n.Err)
		}
		if !n.Manifest {
			return nil
		}
		if manifests++; manifests > maxManifests {
			return fmt.Errorf("read image: more than %d manifests", maxManifests)
		}
		found, err := fromManifest(ctx, src, n.Raw)
		var none *NoStepsError
		if errors.As(err, &none) {
			without = err
			return nil
		}
		builds = append(builds, found...)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case len(builds) > 0:
		return builds, nil
	case without != nil:
		return nil, without
	case lost != nil:
		return nil, fmt.Errorf("read image: %w", lost)
	default:
		return nil, fmt.Errorf("image %s: %w", root.Digest, ErrNoProvenance)
	}
}

// fromManifest reads the attestations of one manifest.
func fromManifest(ctx context.Context, src layout.Source, raw []byte) ([]*Build, error) {
	var manifest struct {
		Layers []buildcache.Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return nil, fmt.Errorf("read image: %w", err)
	}
	var builds []*Build
	for _, layer := range manifest.Layers {
		if layer.MediaType != mediaTypeInToto {
			continue
		}
		blob, err := layout.ReadBlob(ctx, src, layer, MaxSize)
		if err != nil {
			return nil, fmt.Errorf("read attestation: %w", err)
		}
		found, err := parseJSON(blob, maxMetadataNest)
		switch {
		case isNothing(err): // a bill of materials, for example
		case err != nil:
			return nil, err
		default:
			builds = append(builds, found...)
		}
	}
	return builds, nil
}
