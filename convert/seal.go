package convert

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// seal encodes a cache value as bytes. Its root already points to the config's bytes.
func seal(value buildcache.Cache) (*layout.Cache, error) {
	cache := &layout.Cache{Root: value.Root, Config: value.Config}
	var err error
	if cache.RawConfig, err = cache.Config.MarshalJSON(); err != nil {
		return nil, fmt.Errorf("write cache config: %w", err)
	}
	if cache.RawRoot, err = cache.Root.MarshalJSON(); err != nil {
		return nil, fmt.Errorf("write root: %w", err)
	}
	cache.Entry.Descriptor = buildcache.Descriptor{
		MediaType: value.Root.Form.MediaType(), Digest: digest.FromBytes(cache.RawRoot), Size: int64(len(cache.RawRoot)),
	}
	return cache, nil
}
