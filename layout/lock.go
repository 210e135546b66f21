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
// exclusively by whoever deletes; the file stays. index.json.lock is held exclusively around a change of index.json;
// BuildKit doesn't wait for it but fails its build, so it is held as briefly as possible. Its holder removes the file
// when done, so a lock counts only while the path still names the locked file. They are always taken in this order.
const (
	cacheLockName = "cache.lock"
	indexLockName = "index.json.lock"
)

// Lock takes cache.lock as a writer, and removes what crashed writers left. It fails with a *LockedError after the lock timeout.
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

// cleared is what writers have removed of crashed writers' leftovers and GC hasn't reported yet.
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

// take returns what has to be reported, once.
func (c *cleared) take() Amount {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.Amount
	c.Amount = Amount{}
	return all
}

// lockIndex takes index.json.lock. Unlocking has to remove the file, as BuildKit does: one left by root would
// lock out other users' BuildKits.
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
