//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

const (
	configType = "application/vnd.buildkit.cacheconfig.v0"
	tagKey     = "org.opencontainers.image.ref.name"
	diffIDKey  = "containerd.io/uncompressed"
	tocKey     = "containerd.io/snapshot/stargz/toc.digest"
)

var errNoCache = errors.New("no such cache")

// cache is a cache in a layout, read as far as the tests need it.
type cache struct {
	dir        string
	rootDigest string
	root       rootManifest
	config     cacheConfig
}

// rootManifest holds the keys of all forms.
type rootManifest struct {
	MediaType string
	Config    *descriptor
	Layers    []descriptor
	Manifests []descriptor
}

type cacheConfig struct {
	Layers []struct {
		Blob   string
		Parent int // 0 is left out of the JSON, -1 is not
	}
	Records []struct {
		Digest string
		Layers []struct{ Layer int }
	}
}

func readCache(dir, tag string) (*cache, error) {
	var index rootManifest
	if err := decodeFile(filepath.Join(dir, "index.json"), &index); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(index.Manifests, func(d descriptor) bool { return d.Annotations[tagKey] == tag })
	if i < 0 {
		return nil, fmt.Errorf("%s: tag %s: %w", dir, tag, errNoCache)
	}
	root := index.Manifests[i]
	c := &cache{dir: dir, rootDigest: root.Digest}
	if err := decodeFile(filepath.Join(dir, root.path()), &c.root); err != nil {
		return nil, err
	}
	config, err := c.root.configDescriptor()
	if err != nil {
		return nil, fmt.Errorf("%s: tag %s: %w", dir, tag, err)
	}
	if err := decodeFile(filepath.Join(dir, config.path()), &c.config); err != nil {
		return nil, err
	}
	return c, nil
}

func decodeFile(name string, v any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (r rootManifest) configDescriptor() (descriptor, error) {
	if r.Config != nil && r.Config.MediaType == configType {
		return *r.Config, nil
	}
	for _, d := range r.Manifests {
		if d.MediaType == configType {
			return d, nil
		}
	}
	return descriptor{}, fmt.Errorf("it has no cache config: %w", errNoCache)
}

// layers are the descriptors of the layers, whatever the form.
func (c *cache) layers() []descriptor {
	layers := slices.Concat(c.root.Layers, c.root.Manifests)
	return slices.DeleteFunc(layers, func(d descriptor) bool { return d.MediaType == configType })
}

// hasEstargz reports whether some layer is estargz, which has other diff ids than
// the same layer in another compression.
func (c *cache) hasEstargz() bool {
	return slices.ContainsFunc(c.layers(), func(d descriptor) bool { return d.Annotations[tocKey] != "" })
}

// blob gives the digest of a layer with a diff id.
func (c *cache) blob(diffID string) string {
	for _, d := range c.layers() {
		if d.Annotations[diffIDKey] == diffID {
			return d.Digest
		}
	}
	return ""
}

// chain gives the diff ids of a layer of the config and of those below it, as
// an image lists them: bottom first. They are what the root's descriptors say.
func (c *cache) chain(layer int) []string {
	diffIDs := map[string]string{}
	for _, d := range c.layers() {
		diffIDs[d.Digest] = d.Annotations[diffIDKey]
	}
	var chain []string
	for i := layer; i >= 0 && len(chain) <= len(c.config.Layers); i = c.config.Layers[i].Parent {
		chain = append(chain, diffIDs[c.config.Layers[i].Blob])
	}
	slices.Reverse(chain)
	return chain
}

// results gives the chains of all results, by the digest of their record. The
// digest is BuildKit's cache key; no conversion may change it, while layers
// may move and get other diff ids. So it is what links two versions of a cache.
func (c *cache) results() map[string][][]string {
	chains := map[string][][]string{}
	for _, r := range c.config.Records {
		for _, result := range r.Layers {
			chains[r.Digest] = append(chains[r.Digest], c.chain(result.Layer))
		}
	}
	return chains
}

// translate gives the diff ids that an image has when it comes from the cache
// to, if it has those in image when it comes from the cache from.
func translate(image []string, from, to *cache) ([]string, error) {
	theirs := to.results()
	for record, chains := range from.results() {
		isImage := func(chain []string) bool { return slices.Equal(chain, image) }
		if i := slices.IndexFunc(chains, isImage); i >= 0 && i < len(theirs[record]) {
			return theirs[record][i], nil
		}
	}
	return nil, fmt.Errorf("no record of the cache has the layers %v as its result", image)
}

// blobsUnreached lists the blobs that no tag of a layout reaches.
func blobsUnreached(dir string) ([]string, error) {
	var index rootManifest
	if err := decodeFile(filepath.Join(dir, "index.json"), &index); err != nil {
		return nil, err
	}
	reached := map[string]bool{}
	for _, entry := range index.Manifests {
		c, err := readCache(dir, entry.Annotations[tagKey])
		if err != nil {
			return nil, err
		}
		config, err := c.root.configDescriptor()
		if err != nil {
			return nil, err
		}
		for _, d := range append(c.layers(), entry, config) {
			reached[d.path()] = true
		}
	}
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs", "*", "*"))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(blobs, func(b string) bool {
		name, err := filepath.Rel(dir, b)
		return err == nil && reached[name]
	}), nil
}
