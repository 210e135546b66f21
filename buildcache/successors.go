package buildcache

import (
	"encoding/json"
)

// Successors returns what the manifest raw points to, for roots of caches as for images and indexes of images:
// entries or layers, config, and subject. It is nil for bytes that are no manifest, which are leaves.
func Successors(raw []byte) []Descriptor {
	if _, err := DetectMediaType(raw); err != nil {
		return nil
	}
	var m struct {
		Config    *Descriptor  `json:"config"`
		Layers    []Descriptor `json:"layers"`
		Manifests []Descriptor `json:"manifests"`
		Subject   *Descriptor  `json:"subject"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil
	}
	all := append(m.Layers, m.Manifests...)
	for _, d := range []*Descriptor{m.Config, m.Subject} {
		if d != nil {
			all = append(all, *d)
		}
	}
	return all
}

// IsListType reports whether a media type is one of a list of manifests.
func IsListType(mediaType string) bool {
	return mediaType == MediaTypeDockerList || mediaType == MediaTypeOCIIndex
}

// IsManifestType reports whether a media type is one of a manifest or of a list of manifests, so that what it describes
// has successors.
func IsManifestType(mediaType string) bool {
	return IsListType(mediaType) || mediaType == MediaTypeDockerManifest || mediaType == MediaTypeOCIManifest
}
