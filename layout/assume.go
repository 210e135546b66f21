package layout

import (
	"sync"

	"github.com/ocicache/ocicache/buildcache"
)

// Assume returns the layout as it would be with another index.json, to find out what a change would lead to. Tags are set and
// removed in this view alone, without a lock. The blobs are those of the layout.
func (d *Dir) Assume(index *buildcache.Index) *Dir {
	view := newDir(d.path, d.info, d.options)
	view.assumed = &assumed{now: index.Clone()}
	return view
}

// IsAssumed reports whether the layout was returned by Assume.
func (d *Dir) IsAssumed() bool { return d.assumed != nil }

// assumed is an index.json in memory.
type assumed struct {
	mu  sync.Mutex
	now *buildcache.Index
}

func (a *assumed) index() *buildcache.Index {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now.Clone()
}

// change lets a function work on a copy of the index, which replaces the index unless the function fails.
func (a *assumed) change(change func(*buildcache.Index) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	index := a.now.Clone()
	err := change(index)
	if err == nil {
		a.now = index
	}
	return err
}
