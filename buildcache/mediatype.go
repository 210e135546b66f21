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

// Compression is how a layer's bytes are compressed.
type Compression string

// The compressions that BuildKit reads. Estargz looks like gzip unless one reads its end, and shares its media type. Here it is
// a compression of its own: its uncompressed bytes, and so its diffID, differ from those of plain gzip.
const (
	Uncompressed Compression = "uncompressed"
	Gzip         Compression = "gzip"
	Zstd         Compression = "zstd"
	Estargz      Compression = "estargz"
)

// compressionType says how media types name a compression.
type compressionType struct {
	name            Compression
	suffix          string
	noDockerForeign bool // Docker has no media type for such a layer that is nondistributable
	// since and sinceDocker are the first BuildKits that unpack it, under OCI's and under Docker's media type; "" if all do.
	since, sinceDocker string
}

// compressionTypes is the only table of the compressions and their media types. If two share a suffix, the media type stands
// for the first. A table in internal/compress says how they are read and written.
var compressionTypes = []compressionType{
	{name: Uncompressed},
	{name: Gzip, suffix: "gzip"},
	{name: Zstd, suffix: "zstd", noDockerForeign: true, since: "v0.11", sinceDocker: "v0.12"},
	{name: Estargz, suffix: "gzip"},
}

// Compressions returns every compression, in the order in which help texts name them.
func Compressions() []Compression {
	names := make([]Compression, len(compressionTypes))
	for i, t := range compressionTypes {
		names[i] = t.name
	}
	return names
}

// CheckCompression returns an error unless c is a compression that BuildKit reads. "" is not one.
func CheckCompression(c Compression) error {
	if _, ok := typeOf(c); !ok {
		return fmt.Errorf("unknown compression %q (want %s)", c, alternatives(Compressions()))
	}
	return nil
}

// ParseCompression reads the name of a compression as BuildKit spells it.
func ParseCompression(name string) (Compression, error) {
	c := Compression(name)
	if err := CheckCompression(c); err != nil {
		return "", err
	}
	return c, nil
}

func typeOf(c Compression) (compressionType, bool) {
	for _, t := range compressionTypes {
		if t.name == c {
			return t, true
		}
	}
	return compressionType{}, false
}

// alternatives joins names for a message: "a, b or c".
func alternatives[T ~string](names []T) string {
	var b strings.Builder
	for i, name := range names {
		switch {
		case i > 0 && i == len(names)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(name))
	}
	return b.String()
}

const (
	ociLayer      = "application/vnd.oci.image.layer.v1.tar"
	ociForeign    = "application/vnd.oci.image.layer.nondistributable.v1.tar"
	dockerLayer   = "application/vnd.docker.image.rootfs.diff.tar"
	dockerForeign = "application/vnd.docker.image.rootfs.foreign.diff.tar"
	ociSeparator  = "+"
	dockSeparator = "."
)

// layerType is a parsed layer media type.
type layerType struct {
	docker  bool
	foreign bool // nondistributable, in the words of the OCI specification
	compressionType
}

func parseLayerType(mediaType string) (layerType, bool) {
	for _, base := range []struct {
		prefix, separator string
		docker, foreign   bool
	}{
		{prefix: ociLayer, separator: ociSeparator},
		{prefix: ociForeign, separator: ociSeparator, foreign: true},
		{prefix: dockerLayer, separator: dockSeparator, docker: true},
		{prefix: dockerForeign, separator: dockSeparator, docker: true, foreign: true},
	} {
		rest, ok := strings.CutPrefix(mediaType, base.prefix)
		if !ok {
			continue
		}
		for _, c := range compressionTypes {
			if rest != c.ending(base.separator) || base.docker && base.foreign && c.noDockerForeign {
				continue
			}
			return layerType{base.docker, base.foreign, c}, true
		}
	}
	return layerType{}, false
}

// ending returns the end of a media type, after its name for a tar.
func (t compressionType) ending(separator string) string {
	if t.suffix == "" {
		return ""
	}
	return separator + t.suffix
}

func (t layerType) String() string {
	switch {
	case t.docker && t.foreign:
		return dockerForeign + t.ending(dockSeparator)
	case t.docker:
		return dockerLayer + t.ending(dockSeparator)
	case t.foreign:
		return ociForeign + t.ending(ociSeparator)
	default:
		return ociLayer + t.ending(ociSeparator)
	}
}

// LayerCompression returns the compression that a layer media type states: Uncompressed, Gzip (which may turn out to be
// Estargz) or Zstd. It returns false for a media type that BuildKit can't unpack.
func LayerCompression(mediaType string) (Compression, bool) {
	t, ok := parseLayerType(mediaType)
	return t.name, ok
}

// IsSniffed reports whether BuildKit looks at the bytes of a layer of this media type to find out how they are compressed. It
// does for all layer types except OCI's for a plain tar, which it takes at their word.
func IsSniffed(mediaType string) bool {
	t, ok := parseLayerType(mediaType)
	return ok && (t.docker || t.suffix != "")
}

// LayerMediaType returns the media type of a layer of compression c in a root of the given form, or "" if c is
// unknown.
func LayerMediaType(form Form, c Compression) string {
	t, ok := typeOf(c)
	if !ok {
		return ""
	}
	return layerType{docker: form.docker(), compressionType: t}.String()
}

// layerTypeIn returns the counterpart of a layer media type in the given form, as BuildKit maps it when it exports that form.
// Types without a counterpart stay as they are: unknown types, and foreign zstd layers, which Docker never had.
func layerTypeIn(form Form, mediaType string) string {
	t, ok := parseLayerType(mediaType)
	if !ok || t.foreign && t.noDockerForeign {
		return mediaType
	}
	t.docker = form.docker()
	return t.String()
}
