// Package buildcache holds BuildKit's exported build cache as values: the root manifest in its forms, the cache
// config with its layers and records, and the layer media types.
//
// It parses, marshals, validates and rewrites them, merges, prunes and compares whole caches, and it does nothing
// else: no files, no network, no codecs. What BuildKit's importer accepts is accepted here, told apart the same way,
// and members of the JSON that mean nothing to this package come out again as they went in.
//
// The formats are those of BuildKit's package cache/remotecache (v0.4 to v0.34), which no specification covers.
// The manifests around them follow the OCI image specification 1.1 and Docker's manifest list, schema 2.
package buildcache
