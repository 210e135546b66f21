package buildcache

import (
	"fmt"
	"strings"
)

// Media types of roots and of the cache config.
const (
	MediaTypeConfig         = "application/vnd.buildkit.cacheconfig.v0"
	MediaTypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeOCIIndex       = "application/vnd.oci.image.index.v1+json"
	MediaTypeOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
)

// Compression is how a layer's bytes are packed.
type Compression string

// The compressions that BuildKit reads. Estargz is gzip to whoever does not look at its end, and shares its media
// type, but it is a different one here: its uncompressed bytes, and so its diffID, are not those of plain gzip.
const (
	Uncompressed Compression = "uncompressed"
	Gzip         Compression = "gzip"
	Zstd         Compression = "zstd"
	Estargz      Compression = "estargz"
)

// Compressions returns every compression, in the order in which help texts name them.
func Compressions() []Compression { return []Compression{Uncompressed, Gzip, Zstd, Estargz} }

// ParseCompression reads the name of a compression as BuildKit spells it.
func ParseCompression(name string) (Compression, error) {
	for _, c := range Compressions() {
		if string(c) == name {
			return c, nil
		}
	}
	return "", fmt.Errorf("unknown compression %q (want uncompressed, gzip, zstd or estargz)", name)
}

const (
	ociLayer      = "application/vnd.oci.image.layer.v1.tar"
	ociForeign    = "application/vnd.oci.image.layer.nondistributable.v1.tar"
	dockerLayer   = "application/vnd.docker.image.rootfs.diff.tar"
	dockerForeign = "application/vnd.docker.image.rootfs.foreign.diff.tar"
	ociSeparator  = "+"
	dockSeparator = "."
	gzipSuffix    = "gzip"
	zstdSuffix    = "zstd"
)

// layerType is a layer media type taken apart.
type layerType struct {
	docker  bool
	foreign bool // nondistributable, in the words of the OCI specification
	suffix  string
}

func parseLayerType(mediaType string) (layerType, bool) {
	for _, base := range []struct {
		prefix, separator string
		layerType
	}{
		{ociLayer, ociSeparator, layerType{}},
		{ociForeign, ociSeparator, layerType{foreign: true}},
		{dockerLayer, dockSeparator, layerType{docker: true}},
		{dockerForeign, dockSeparator, layerType{docker: true, foreign: true}},
	} {
		rest, ok := strings.CutPrefix(mediaType, base.prefix)
		if !ok || mediaType == dockerForeign+dockSeparator+zstdSuffix { // there is no such type
			continue
		}
		base.suffix = strings.TrimPrefix(rest, base.separator)
		switch rest {
		case "", base.separator + gzipSuffix, base.separator + zstdSuffix:
			return base.layerType, true
		}
	}
	return layerType{}, false
}

func (t layerType) String() string {
	base, separator := ociLayer, ociSeparator
	switch {
	case t.docker && t.foreign:
		base, separator = dockerForeign, dockSeparator
	case t.docker:
		base, separator = dockerLayer, dockSeparator
	case t.foreign:
		base = ociForeign
	}
	if t.suffix == "" {
		return base
	}
	return base + separator + t.suffix
}

// LayerCompression returns what a layer media type says of the bytes: Uncompressed, Gzip (which may turn out to be
// Estargz) or Zstd. It is false for a media type that BuildKit has no way to unpack.
func LayerCompression(mediaType string) (Compression, bool) {
	t, ok := parseLayerType(mediaType)
	if !ok {
		return "", false
	}
	switch t.suffix {
	case gzipSuffix:
		return Gzip, true
	case zstdSuffix:
		return Zstd, true
	default:
		return Uncompressed, true
	}
}

// IsSniffed says whether BuildKit looks at the bytes of a layer of this media type to tell how they are packed. It does
// for all types but OCI's of a plain tar, which it takes at their word.
func IsSniffed(mediaType string) bool {
	t, ok := parseLayerType(mediaType)
	return ok && (t.docker || t.suffix != "")
}

// LayerMediaType returns the media type of a layer of compression c in a root of the given form.
func LayerMediaType(form Form, c Compression) string {
	t := layerType{docker: form.docker()}
	switch c {
	case Gzip, Estargz:
		t.suffix = gzipSuffix
	case Zstd:
		t.suffix = zstdSuffix
	case Uncompressed:
	}
	return t.String()
}

// layerTypeIn returns the counterpart of a layer media type in the given form, as BuildKit maps it when it exports
// that form. What has none stays as it is: unknown types, and foreign zstd layers, which Docker never had.
func layerTypeIn(form Form, mediaType string) string {
	t, ok := parseLayerType(mediaType)
	if !ok || t.foreign && t.suffix == zstdSuffix {
		return mediaType
	}
	t.docker = form.docker()
	return t.String()
}
