package layout

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
)

// Blobs returns every blob of the layout with its size in bytes, ordered by digest. Files whose names aren't digests are left
// out.
func (d *Dir) Blobs(ctx context.Context) ([]buildcache.Descriptor, error) {
	var blobs []buildcache.Descriptor
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		dir := filepath.Join(d.path, blobsName, algorithm.String())
		names, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			blob := digest.NewDigestFromEncoded(algorithm, name.Name())
			if buildcache.CheckDigest(blob) != nil {
				continue
			}
			info, err := os.Stat(filepath.Join(dir, name.Name())) // reading follows links
			if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
				continue // just deleted, or a link to nowhere
			}
			if err != nil {
				return nil, err
			}
			blobs = append(blobs, buildcache.Descriptor{Digest: blob, Size: info.Size()})
		}
	}
	return blobs, nil
}

// UnnamedCache is a cache in a layout that no entry of index.json leads to.
type UnnamedCache struct {
	Digest  digest.Digest   `json:"digest"` // of the root
	Form    buildcache.Form `json:"form"`
	Records int             `json:"records"`
	Results int             `json:"results"`
	Newest  *time.Time      `json:"newest,omitempty"` // of the results, nil if none says when it was created
	// Whole says that BuildKit would import all of root and config, and that every layer is there with its size. Whether the layers'
	// bytes are right can only be told by reading them.
	Whole bool `json:"whole"`
	// Missing is how many of its blobs are missing or have another size, as in a cache left by an interrupted writer: blobs come
	// first, the tag last.
	Missing int `json:"missing,omitempty"`

	modified int64
	layers   []buildcache.Descriptor
	config   buildcache.Descriptor
}

// Config returns the cache config, as the root names it.
func (c UnnamedCache) Config() buildcache.Descriptor { return c.config }

// Layers returns the layers of a cache, each once, ordered by digest.
func (c UnnamedCache) Layers() []buildcache.Descriptor { return slices.Clone(c.layers) }

// ArePartial reports whether there are caches and each of them lacks blobs.
func ArePartial(caches []UnnamedCache) bool {
	return len(caches) > 0 && !slices.ContainsFunc(caches, func(c UnnamedCache) bool { return c.Missing == 0 })
}

// UnnamedRoots returns the roots of caches in the layout that no entry of index.json leads to, in the order of UnnamedCaches.
func (d *Dir) UnnamedRoots(ctx context.Context) ([]digest.Digest, error) {
	caches, err := d.UnnamedCaches(ctx)
	if err != nil {
		return nil, err
	}
	var roots []digest.Digest
	for _, cache := range caches {
		roots = append(roots, cache.Digest)
	}
	return roots, nil
}

// UnnamedCaches returns the caches in the layout that no entry of index.json leads to: whole ones first, then by newest
// result, then by newest file.
func (d *Dir) UnnamedCaches(ctx context.Context) ([]UnnamedCache, error) {
	entries, err := d.Entries(ctx)
	if err != nil {
		return nil, err
	}
	named := map[digest.Digest]bool{}
	for _, entry := range entries {
		if named[entry.Descriptor.Digest] {
			continue
		}
		err := Walk(ctx, d, entry.Descriptor, func(n Node) error {
			named[n.Digest] = named[n.Digest] || n.Manifest
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	blobs, err := d.Blobs(ctx)
	if err != nil {
		return nil, err
	}
	return d.cachesAmong(ctx, slices.DeleteFunc(blobs, func(b buildcache.Descriptor) bool { return named[b.Digest] }))
}

// cachesAmong returns the caches whose roots are among blobs, in the order of UnnamedCaches.
func (d *Dir) cachesAmong(ctx context.Context, blobs []buildcache.Descriptor) ([]UnnamedCache, error) {
	var caches []UnnamedCache
	for _, blob := range blobs {
		if blob.Size > buildcache.MaxRoot {
			continue
		}
		if ok, err := d.isCacheRoot(ctx, blob); err != nil && !errors.Is(err, ErrBlobMissing) {
			return nil, err
		} else if !ok || err != nil {
			continue
		}
		modified, err := d.modified(blob)
		if errors.Is(err, fs.ErrNotExist) {
			continue // just deleted
		}
		if err != nil {
			return nil, d.blobError(blob, err)
		}
		cache := UnnamedCache{Digest: blob.Digest, modified: modified}
		if err := d.describeUnnamed(ctx, blob, &cache); err != nil {
			return nil, err
		}
		caches = append(caches, cache)
	}
	slices.SortStableFunc(caches, func(a, b UnnamedCache) int {
		switch {
		case a.Whole != b.Whole && a.Whole:
			return -1
		case a.Whole != b.Whole:
			return 1
		}
		return cmp.Or(timeOf(b.Newest).Compare(timeOf(a.Newest)), cmp.Compare(b.modified, a.modified))
	})
	return caches, nil
}

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

// describeUnnamed says what is in a cache, and whether it is whole. It fails only if the layout can't be read.
func (d *Dir) describeUnnamed(ctx context.Context, root buildcache.Descriptor, out *UnnamedCache) error {
	raw, err := ReadUnverified(ctx, d, root, buildcache.MaxRoot)
	if err != nil {
		return err
	}
	parsed, err := buildcache.ParseRoot(raw)
	if err != nil {
		return d.blobError(root, err) // it was a root just now
	}
	out.Form, out.config = parsed.Form, parsed.Config
	if out.layers, out.Missing, err = d.layersOf(ctx, parsed); err != nil {
		return err
	}
	config, err := d.readConfig(ctx, parsed.Config)
	if err != nil {
		return err
	}
	if config == nil {
		if _, err := d.modified(parsed.Config); errors.Is(err, fs.ErrNotExist) {
			out.Missing++
		}
		return nil
	}
	out.Records = len(config.Records)
	for _, record := range config.Records {
		for _, result := range record.Results {
			out.see(result.CreatedAt.Time)
		}
		for _, chain := range record.Chains {
			out.see(chain.CreatedAt.Time)
		}
	}
	out.Whole = out.Missing == 0 && !hasErrors(parsed, int64(len(raw)), config)
	return nil
}

// layersOf returns the layers that a root lists, each once, ordered by digest, and how many are missing or have another size.
func (d *Dir) layersOf(ctx context.Context, root *buildcache.Root) (layers []buildcache.Descriptor, missing int, err error) {
	byDigest := root.LayersByDigest()
	for _, blob := range slices.Sorted(maps.Keys(byDigest)) {
		layers = append(layers, byDigest[blob])
		has := false
		if buildcache.CheckDigest(blob) == nil {
			if has, err = d.Has(ctx, byDigest[blob]); err != nil {
				return nil, 0, err
			}
		}
		if !has {
			missing++
		}
	}
	return layers, missing, nil
}

// hasErrors reports whether BuildKit would not import all of a cache, regardless of its layers' bytes.
func hasErrors(root *buildcache.Root, size int64, config *buildcache.Config) bool {
	return slices.ContainsFunc(buildcache.Validate(root, size, config), func(p buildcache.Problem) bool {
		return p.Severity == buildcache.SeverityError
	})
}

// readConfig returns a cache config, or nil if it is missing, damaged or not a cache config.
func (d *Dir) readConfig(ctx context.Context, blob buildcache.Descriptor) (*buildcache.Config, error) {
	if buildcache.CheckDigest(blob.Digest) != nil {
		return nil, nil //nolint:nilerr // then there is none
	}
	raw, err := ReadBlob(ctx, d, blob, buildcache.MaxConfig)
	var size *buildcache.SizeError
	switch {
	case errors.Is(err, ErrBlobMissing), isOthers(err), errors.As(err, &size):
		return nil, nil
	case err != nil:
		return nil, err
	}
	config, err := buildcache.ParseConfig(raw)
	if err != nil {
		return nil, nil //nolint:nilerr // nor is this one
	}
	return config, nil
}

// see counts a result.
func (c *UnnamedCache) see(created time.Time) {
	c.Results++
	if !created.IsZero() && created.After(timeOf(c.Newest)) {
		created = created.UTC()
		c.Newest = &created
	}
}

// isCacheRoot reports whether a blob is the root of a cache. Most small blobs of a layout aren't, and mayNameConfig rules them out fast.
func (d *Dir) isCacheRoot(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	raw, err := d.readObject(ctx, blob.Digest)
	if err != nil || len(raw) > buildcache.MaxRoot || !mayNameConfig(raw) {
		return false, err
	}
	_, err = buildcache.ParseRoot(raw)
	return err == nil && blob.Digest.Algorithm().FromBytes(raw) == blob.Digest, nil
}

// mayNameConfig reports whether a JSON text may contain the media type of a cache config, even in escaped letters.
func mayNameConfig(text []byte) bool {
	return bytes.Contains(text, []byte("cacheconfig")) || bytes.Contains(text, []byte(`\u`))
}

func (d *Dir) modified(blob buildcache.Descriptor) (int64, error) {
	path, err := d.blobPath(blob.Digest)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.ModTime().UnixNano(), nil
}

// Leftovers returns the paths of files left by interrupted writers: BuildKit's in ingest/, ours in .ocicache/. Some may still be in
// use: GC removes those that are old enough and that nobody has locked.
func (d *Dir) Leftovers() ([]string, error) {
	names, err := d.stale()
	if err != nil {
		return nil, err
	}
	ingest, err := os.ReadDir(filepath.Join(d.path, ingestName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range ingest {
		names = append(names, filepath.Join(d.path, ingestName, entry.Name()))
	}
	return names, nil
}

// stale returns the temporary files in .ocicache/. If that is a symbolic link, what it leads to is not ours.
func (d *Dir) stale() (paths []string, err error) {
	root, err := d.openRoot(durable.FS{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	state, err := root.Open(stateName)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, durable.ErrSymlink) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	return state.Stale()
}
