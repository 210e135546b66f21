package layout

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync"

	"github.com/ocicache/ocicache/internal/durable"
)

// The locks of a layout are BuildKit's own. cache.lock is held shared by writers, from the first blob to the tag, and
// exclusively by those who delete; the file stays. index.json.lock is held exclusively around a change of index.json;
// BuildKit does not wait for it and fails its build, so it is held as briefly as can be. Whoever is done with it
// removes the file, so a lock counts only while the path still names the locked file. Always in this order.
const (
	cacheLockName = "cache.lock"
	indexLockName = "index.json.lock"
)

// Lock takes cache.lock as a writer, and clears away what crashed writers left. It fails with a *LockedError after
// the lock timeout.
func (d *Dir) Lock(ctx context.Context) (unlock func() error, err error) {
	if d.assumed != nil {
		return func() error { return nil }, context.Cause(ctx)
	}
	root, err := d.openRoot(durable.On(ctx))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	file, err := d.lock(ctx, root, cacheLockName, false)
	if err != nil {
		return nil, err
	}
	if err := d.removeStale(root); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file.Close, nil
}

func (d *Dir) removeStale(root *durable.Dir) error {
	state, err := root.Open(stateName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	sizes, err := state.RemoveStale()
	d.cleared.add(sizes)
	return errors.Join(err, state.Close())
}

// cleared is what writers have cleared away of what crashed ones left, and GC has not told yet.
type cleared struct {
	mu sync.Mutex
	Amount
}

func (c *cleared) add(sizes []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, size := range sizes {
		c.Amount.add(size)
	}
}

// take returns what is to be told, once.
func (c *cleared) take() Amount {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.Amount
	c.Amount = Amount{}
	return all
}

// lockIndex takes index.json.lock. Unlocking has to remove the file, as BuildKit does: one that root left behind would
// keep other users' BuildKits out.
func (d *Dir) lockIndex(ctx context.Context, root *durable.Dir) (*os.File, error) {
	return d.lock(ctx, root, indexLockName, true)
}

func (d *Dir) lock(ctx context.Context, root *durable.Dir, name string, exclusive bool) (*os.File, error) {
	file, err := root.Lock(ctx, name, exclusive, d.options.LockTimeout)
	var held *durable.HeldError
	if errors.As(err, &held) {
		return nil, &LockedError{Path: held.Path, Holder: held.Holder}
	}
	return file, err
}
