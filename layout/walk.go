package layout

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
)

// Blobs returns every blob of the layout with its size in bytes, in the order of digests. Files whose names are no
// digest are left out.
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

// UnnamedRoots returns the roots of caches that lie in the layout while no entry of index.json names them, newest
// file first.
func (d *Dir) UnnamedRoots(ctx context.Context) ([]digest.Digest, error) {
	entries, err := d.Entries(ctx)
	if err != nil {
		return nil, err
	}
	named := map[digest.Digest]bool{}
	for _, entry := range entries {
		named[entry.Descriptor.Digest] = true
	}
	blobs, err := d.Blobs(ctx)
	if err != nil {
		return nil, err
	}
	var roots []digest.Digest
	age := map[digest.Digest]int64{}
	for _, blob := range blobs {
		if named[blob.Digest] || blob.Size > buildcache.MaxRoot {
			continue
		}
		if ok, err := d.isCacheRoot(ctx, blob); err != nil {
			return nil, err
		} else if !ok {
			continue
		}
		roots = append(roots, blob.Digest)
		age[blob.Digest] = d.modified(blob)
	}
	sort.SliceStable(roots, func(i, j int) bool { return age[roots[i]] > age[roots[j]] })
	return roots, nil
}

func (d *Dir) isCacheRoot(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	file, err := d.OpenFile(ctx, blob)
	if err != nil {
		return false, err
	}
	first := make([]byte, 1)
	n, err := file.Read(first)
	if err := errors.Join(file.Close(), ignoreEOF(err)); err != nil {
		return false, d.blobError(blob, err)
	}
	if n == 0 || first[0] != '{' {
		return false, nil
	}
	raw, err := ReadUnverified(ctx, d, blob, buildcache.MaxRoot)
	if err != nil {
		return false, err
	}
	_, err = buildcache.ParseRoot(raw)
	return err == nil && blob.Digest.Algorithm().FromBytes(raw) == blob.Digest, nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (d *Dir) modified(blob buildcache.Descriptor) int64 {
	path, err := d.blobPath(blob.Digest)
	if err != nil {
		return 0
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.ModTime().UnixNano()
}

// Leftovers returns the files that interrupted writers left: BuildKit's in ingest/, ours in .ocicache/. Some may
// still be written to.
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

// stale returns the temporary files in .ocicache/. What a symbolic link of that name leads to is not ours.
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
