package oracle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/cache/remotecache"
	cacheimport "github.com/moby/buildkit/cache/remotecache/v1"
	cacheimporttypes "github.com/moby/buildkit/cache/remotecache/v1/types"
	"github.com/moby/buildkit/solver"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocicache/ocicache/buildcache"
)

// errImage says that BuildKit took a root for an image, and looked for an inline cache in it.
var errImage = errors.New("no cache but an image")

// blobs are a place that BuildKit's importer reads from.
type blobs map[digest.Digest][]byte

// ReaderAt refuses malformed digests as BuildKit's content store does.
func (b blobs) ReaderAt(_ context.Context, d ocispec.Descriptor) (content.ReaderAt, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, err
	}
	raw, ok := b[d.Digest]
	if !ok {
		return nil, fmt.Errorf("%s: not found", d.Digest)
	}
	return reader{bytes.NewReader(raw)}, nil
}

type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }

// importCache lets BuildKit import a root, of the given size, and a config.
func importCache(t *testing.T, rawRoot []byte, rootSize int64, rawConfig []byte) error {
	t.Helper()
	at := digest.FromBytes(rawRoot)
	place := blobs{at: rawRoot}
	if root, err := buildcache.ParseRoot(rawRoot); err == nil {
		place[root.Config.Digest] = rawConfig
	}
	manager, err := remotecache.NewImporter(place).Resolve(t.Context(), ocispec.Descriptor{Digest: at, Size: rootSize}, "id", nil)
	if err == nil && fmt.Sprintf("%T", manager) == "*solver.combinedCacheManager" {
		return errImage
	}
	return err
}

// results is what BuildKit keeps of a config: how many results, and the layers that they need.
type results struct {
	n      int
	layers map[digest.Digest]bool
}

// target counts what reaches BuildKit's own one.
type target struct {
	*cacheimport.CacheChains
	kept results
}

func (c *target) Add(d digest.Digest, deps [][]solver.CacheLink, kept []solver.CacheExportResult) (solver.CacheExporterRecord, bool, error) {
	record, ok, err := c.CacheChains.Add(d, deps, kept)
	if err != nil || !ok {
		return record, ok, err
	}
	for _, result := range kept {
		c.kept.n++
		for _, layer := range result.Result.Descriptors {
			c.kept.layers[layer.Digest] = true
		}
	}
	return record, ok, err
}

// parseConfig lets BuildKit parse a config, with the layers that root lists.
func parseConfig(root *buildcache.Root, raw []byte) (results, error) {
	provider := cacheimport.DescriptorProvider{}
	for _, layer := range root.Layers {
		provider[layer.Digest] = cacheimport.DescriptorProviderPair{Descriptor: ocispec.Descriptor{Digest: layer.Digest}}
	}
	var config cacheimporttypes.CacheConfig
	if err := json.Unmarshal(raw, &config); err != nil {
		return results{}, err
	}
	to := &target{CacheChains: cacheimport.NewCacheChains(), kept: results{layers: map[digest.Digest]bool{}}}
	err := cacheimport.ParseConfig(config, provider, to)
	return to.kept, err
}

// rejecting are the kinds of problems for which BuildKit must reject a config as a whole.
var rejecting = []buildcache.Kind{
	buildcache.RecordLinkRange, buildcache.RecordLoop, buildcache.RecordEmptyInput, buildcache.RecordRandomLink,
	buildcache.LayerIndexRange, buildcache.LayerLoop,
}

// verdict is what Validate says of a config: whether it is rejected, and how many results are dropped.
func verdict(t *testing.T, problems []buildcache.Problem) (rejected bool, dropped int) {
	t.Helper()
	for _, p := range problems {
		switch {
		case slices.Contains(rejecting, p.Kind):
			rejected = true
			if p.Severity != buildcache.SeverityError {
				t.Errorf("BuildKit rejects the cache, and it is no error: %+v", p)
			}
		case p.Kind == buildcache.LayerUnlisted:
			dropped++
		}
	}
	return rejected, dropped
}
