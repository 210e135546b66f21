package layout

import (
	"sync"

	"github.com/ocicache/ocicache/buildcache"
)

// Assume returns the layout as it would be with another index.json, for finding out what a change would lead to: tags that are
// given and taken there are given and taken in that view alone, without a lock. Blobs are those of the layout.
func (d *Dir) Assume(index *buildcache.Index) *Dir {
	view := newDir(d.path, d.info, d.options)
	view.assumed = &assumed{now: index.Clone()}
	return view
}

// IsAssumed reports whether Assume has returned the layout.
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

// change lets a function work on the index, and keeps what becomes of it if it does not fail.
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
