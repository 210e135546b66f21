package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// reachAll returns the reached blobs, once index.json stayed the same while they were found: tags change without our lock.
func (c *collector) reachAll(ctx context.Context) (map[digest.Digest]bool, error) {
	for c.tries < readTries {
		c.tries++
		before, reached, err := c.reach(ctx)
		if err != nil {
			return nil, err
		}
		if err := c.noteIndex(); err != nil {
			return nil, err
		}
		after, err := c.index(ctx)
		if err != nil {
			return nil, err
		}
		if same, err := saysTheSame(before, after); err != nil || same {
			return reached, err
		}
	}
	return nil, &LockedError{Path: filepath.Join(c.dir.path, indexName)}
}

// saysTheSame reports whether two readings of index.json are the same.
func saysTheSame(a, b *buildcache.Index) (bool, error) {
	x, err := json.Marshal(a)
	if err != nil {
		return false, err
	}
	y, err := json.Marshal(b)
	return bytes.Equal(x, y), err
}

// index reads index.json, which must be there.
func (c *collector) index(ctx context.Context) (*buildcache.Index, error) {
	if _, err := c.root.Stat(indexName); errors.Is(err, fs.ErrNotExist) {
		return nil, &IncompleteError{Path: c.dir.path, Missing: []*BlobError{{Place: c.dir.path, Err: errNoIndex}}, Lost: true}
	} else if err != nil {
		return nil, err
	}
	index, err := c.dir.Index(ctx)
	if err != nil {
		return nil, err
	}
	if err := index.CheckList(); err != nil {
		lost := len(index.Entries) == 0 // then there is no cache root either, or checkNames would have failed
		return nil, &IncompleteError{Path: c.dir.path, Missing: []*BlobError{{Place: filepath.Join(c.dir.path, indexName), Err: err}}, Lost: lost}
	}
	return index, nil
}

// reach returns the blobs that the entries of index.json reach. It fails with an *IncompleteError if some are missing.
func (c *collector) reach(ctx context.Context) (*buildcache.Index, map[digest.Digest]bool, error) {
	index, err := c.index(ctx)
	if err != nil {
		return nil, nil, err
	}
	reached := map[digest.Digest]bool{}
	incomplete := &IncompleteError{Path: c.dir.path}
	walked := map[digest.Digest]bool{}
	then := c.plan(index, walked, reached)
	for _, root := range then.Entries {
		if walked[root.Digest] {
			continue
		}
		walked[root.Digest] = true
		err := Walk(ctx, c.dir, c.dir.entry("", root).Descriptor, func(n Node) error {
			if errors.Is(n.Err, fs.ErrPermission) {
				return n.Err
			}
			if err := c.missing(n); err != nil && !reached[n.Digest] {
				incomplete.Missing = append(incomplete.Missing, err)
			}
			reached[n.Digest] = true
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	if len(incomplete.Missing) > 0 {
		return nil, nil, incomplete
	}
	said := &speech{dir: c.dir, has: c.has, coming: c.coming, reached: reached}
	if err := said.followIndex(ctx, then); err != nil {
		return nil, nil, err
	}
	return index, reached, c.followLinks(reached)
}

// followLinks adds the blobs that reached symbolic links lead to, since readers follow those.
func (c *collector) followLinks(reached map[digest.Digest]bool) error {
	home, err := filepath.EvalSymlinks(filepath.Join(c.dir.path, blobsName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range c.stores {
		for blob, item := range s.blobs {
			if !reached[blob] || item.Type != fs.ModeSymlink {
				continue
			}
			target, err := filepath.EvalSymlinks(filepath.Join(home, s.algorithm.String(), item.Name))
			if errors.Is(err, fs.ErrNotExist) {
				continue // it leads to nothing needed, or missing would have said so
			}
			if err != nil {
				return err
			}
			for _, other := range c.stores {
				if filepath.Dir(target) == filepath.Join(home, other.algorithm.String()) {
					reached[digest.NewDigestFromEncoded(other.algorithm, filepath.Base(target))] = true
				}
			}
		}
	}
	return nil
}

// has reports whether a blob was there when the blobs were listed: a file, or a link to one.
func (c *collector) has(blob digest.Digest) bool {
	for _, s := range c.stores {
		item, ok := s.blobs[blob]
		if !ok {
			continue
		}
		if item.Type == fs.ModeSymlink {
			info, err := os.Stat(filepath.Join(c.dir.path, blobsName, s.algorithm.String(), item.Name))
			return err == nil && info.Mode().IsRegular()
		}
		return item.Type == 0
	}
	return false
}

// plan returns index.json as it will be once the planned tags have moved. What the new roots reach is known, so they need not be
// there.
func (c *collector) plan(index *buildcache.Index, walked, reached map[digest.Digest]bool) *buildcache.Index {
	if !c.o.DryRun {
		return index
	}
	index = index.Clone()
	for _, p := range c.o.Planned {
		if at := index.FindUntagged(p.Was); p.Tag == "" && at >= 0 {
			index.Replace(at, p.Root)
		} else if p.Tag != "" {
			index.Put(p.Tag, p.Root)
		}
		walked[p.Root.Digest], reached[p.Root.Digest] = true, true
		for _, blob := range p.Reaches {
			reached[blob] = true
		}
	}
	return index
}

// missing returns what is wrong with a reached blob: it is missing, or is a manifest that can't be relied on.
func (c *collector) missing(n Node) *BlobError {
	var blob *BlobError
	switch {
	case errors.As(n.Err, &blob):
		return blob
	case n.Err != nil:
		return &BlobError{Digest: n.Digest, Place: c.dir.path, Err: n.Err}
	case len(n.URLs) > 0: // it may be elsewhere
		return nil
	}
	if c.has(n.Digest) {
		return nil
	}
	for _, s := range c.stores {
		if _, listed := s.blobs[n.Digest]; listed || s.algorithm != n.Digest.Algorithm() {
			continue
		}
		if _, err := s.dir.Stat(n.Digest.Encoded()); err == nil {
			return nil // written after the blobs were listed, by somebody who takes no lock
		}
	}
	return &BlobError{Digest: n.Digest, Place: c.dir.path, Err: ErrBlobMissing}
}
