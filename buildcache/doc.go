// Package buildcache holds BuildKit's exported build cache as values: the root manifest in its forms, the cache config with its
// layers and records, and the layer media types.
//
// It parses, marshals, validates and rewrites them, and merges, prunes and compares whole caches. It does nothing else: no
// files, no network, no codecs. It accepts what BuildKit's importer accepts, tells forms apart in the same way, and preserves
// JSON members that it does not know.
//
// The formats are those of BuildKit's package cache/remotecache (v0.4 to v0.34), which no specification covers. The manifests
// around them follow the OCI image specification 1.1 and Docker's manifest list, schema 2.
package buildcache
