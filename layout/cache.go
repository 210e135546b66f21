package layout

import (
	"context"
	"fmt"

	"github.com/ocicache/ocicache/buildcache"
)

// Cache is a root with its config, read and verified.
type Cache struct {
	Entry
	Root      *buildcache.Root
	Config    *buildcache.Config
	RawRoot   []byte
	RawConfig []byte
}

// Load reads the root and the config of a cache, and verifies both.
func Load(ctx context.Context, src Source, entry Entry) (*Cache, error) {
	cache := &Cache{Entry: entry}
	var err error
	if cache.RawRoot, err = ReadBlob(ctx, src, entry.Descriptor, buildcache.MaxRoot); err != nil {
		return nil, &UnreadError{"root", err}
	}
	if cache.Root, err = buildcache.ParseRoot(cache.RawRoot); err != nil {
		return nil, fmt.Errorf("root %s: %w", entry.Descriptor.Digest, err)
	}
	config := cache.Root.Config
	if cache.RawConfig, err = ReadBlob(ctx, src, config, buildcache.MaxConfig); err != nil {
		return nil, &UnreadError{"cache config", err}
	}
	if cache.Config, err = buildcache.ParseConfig(cache.RawConfig); err != nil {
		return nil, fmt.Errorf("cache config %s: %w", config.Digest, err)
	}
	return cache, nil
}
