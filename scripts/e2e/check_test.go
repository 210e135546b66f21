//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

var rootTypes = map[form]string{
	dockerList: "application/vnd.docker.distribution.manifest.list.v2+json",
	ociIndex:   "application/vnd.oci.image.index.v1+json",
	artifact:   "application/vnd.oci.image.manifest.v1+json",
}

// check says what keeps the cache from being in the wanted form and
// compression. BuildKit takes any of them, so an import would not notice a
// conversion that did nothing.
func (c *cache) check(want target) error {
	if got := c.root.MediaType; got != rootTypes[want.Form] {
		return fmt.Errorf("the root has media type %s, want %s", got, rootTypes[want.Form])
	}
	if isArtifact := c.root.Config != nil; isArtifact != (want.Form == artifact) {
		return fmt.Errorf("the root has the keys of another form than %s", want.Form)
	}
	inRoot := map[string]bool{}
	for _, d := range c.layers() {
		inRoot[d.Digest] = true
		if err := c.checkLayer(d, want); err != nil {
			return fmt.Errorf("layer %s: %w", d.Digest, err)
		}
	}
	for i, l := range c.config.Layers {
		if !inRoot[l.Blob] {
			return fmt.Errorf("layer %d of the config, %s, is not in the root", i, l.Blob)
		}
	}
	return nil
}

func (c *cache) checkLayer(d descriptor, want target) error {
	if wantType := layerType(want); d.MediaType != wantType {
		return fmt.Errorf("media type %s, want %s", d.MediaType, wantType)
	}
	blob, err := os.ReadFile(filepath.Join(c.dir, d.path()))
	if err != nil {
		return err
	}
	if got := sniff(blob, d); got != want.Compression {
		return fmt.Errorf("the blob is %s, want %s", got, want.Compression)
	}
	return nil
}

func layerType(t target) string {
	base, separator := "application/vnd.oci.image.layer.v1.tar", "+"
	if t.Form == dockerList {
		base, separator = "application/vnd.docker.image.rootfs.diff.tar", "."
	}
	switch t.Compression {
	case uncompressed:
		return base
	case zstd:
		return base + separator + "zstd"
	case gzip, estargz: // which has no type of its own
		return base + separator + "gzip"
	}
	panic("no such compression: " + t.Compression)
}

// sniff tells the compression by the bytes, and estargz from gzip by what
// BuildKit would tell it by.
func sniff(blob []byte, d descriptor) compression {
	switch {
	case bytes.HasPrefix(blob, []byte{0x1f, 0x8b}) && d.Annotations[tocKey] != "":
		return estargz
	case bytes.HasPrefix(blob, []byte{0x1f, 0x8b}):
		return gzip
	case bytes.HasPrefix(blob, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstd
	default:
		return uncompressed
	}
}
