package inspect

import (
	"context"
	"math"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// Listing is everything that a place lists.
type Listing struct {
	Entries []Listed
	// Bytes is the size of all caches together: roots, configs and layers, with what several share counted once.
	Bytes int64
}

// ListAll says what all entries of a place are, as List does, and what belongs to each cache alone. In a place that is near,
// images count as sharing too. If an entry can't be read, nobody knows what the others share with it, so that Own stays nil.
func ListAll(ctx context.Context, src layout.Source, entries []layout.Entry) (Listing, error) {
	o := &owners{blobs: map[digest.Digest]owned{}}
	listed, err := listWith(ctx, src, entries, o)
	if err != nil {
		return Listing{}, err
	}
	bytes, own := o.addUp()
	if slices.ContainsFunc(entries, layout.Entry.IsUnread) { // which may have the same blobs
		return Listing{Entries: listed, Bytes: bytes}, nil
	}
	named := map[digest.Digest]int{}
	for _, l := range listed {
		named[l.Digest]++
	}
	for i := range listed {
		l := &listed[i]
		if l.Form == "" {
			continue
		}
		l.Own = new(int64)
		if named[l.Digest] == 1 {
			*l.Own = own[l.Digest]
		}
	}
	return Listing{Entries: listed, Bytes: bytes}, nil
}

// owners finds out which blobs belong to a single root.
type owners struct {
	mu    sync.Mutex
	blobs map[digest.Digest]owned
}

// owned is a blob that some root reaches.
type owned struct {
	size  int64
	root  digest.Digest // "" for several
	cache bool          // one of them is a cache's
}

func (o *owners) add(root digest.Digest, cache bool, blob digest.Digest, size int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b, known := o.blobs[blob]
	switch {
	case !known:
		b = owned{size: size, root: root}
	case b.root != root:
		b.root = ""
	}
	b.cache = b.cache || cache
	o.blobs[blob] = b
}

// addCache adds the blobs of a cache.
func (o *owners) addCache(cache *layout.Cache) {
	root := cache.Descriptor.Digest
	o.add(root, true, root, int64(len(cache.RawRoot)))
	o.add(root, true, cache.Root.Config.Digest, int64(len(cache.RawConfig)))
	for blob, layer := range cache.Root.LayersByDigest() {
		o.add(root, true, blob, layer.Size)
	}
}

// addOther adds what is reached by an entry that is not a readable cache, if looking costs no requests.
func (o *owners) addOther(ctx context.Context, src layout.Source, root buildcache.Descriptor) error {
	if _, near := src.(layout.RandomAccess); !near {
		return nil
	}
	return layout.Walk(ctx, src, root, func(n layout.Node) error {
		o.add(root.Digest, false, n.Digest, n.Size)
		return nil
	})
}

// addUp returns the bytes of all caches, and for each root the bytes that no other one reaches.
func (o *owners) addUp() (all int64, own map[digest.Digest]int64) {
	own = map[digest.Digest]int64{}
	for _, b := range o.blobs {
		if b.cache {
			all = addSize(all, b.size)
		}
		if b.root != "" {
			own[b.root] = addSize(own[b.root], b.size)
		}
	}
	return all, own
}

// addSize adds a size that may be anything, as it is only claimed. The sum neither falls nor overflows.
func addSize(sum, size int64) int64 {
	if size = max(size, 0); sum > math.MaxInt64-size {
		return math.MaxInt64
	}
	return sum + size
}
