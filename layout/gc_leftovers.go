package layout

import (
	"context"
	"errors"
	"io/fs"

	"github.com/ocicache/ocicache/internal/durable"
)

// clear removes what interrupted writers left. What a symbolic link leads to is not ours.
func (c *collector) clear(ctx context.Context) error {
	for name, clear := range map[string]func(*durable.Dir, durable.Item) (bool, error){
		ingestName: c.clearIngest, stateName: c.clearState,
	} {
		dir, err := c.root.Open(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, durable.ErrSymlink) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(c.clearIn(ctx, dir, clear), dir.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) clearIn(
	ctx context.Context, dir *durable.Dir, clear func(*durable.Dir, durable.Item) (bool, error),
) error {
	items, err := dir.List()
	if err != nil {
		return err
	}
	cleared := false
	for _, item := range items {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		removed, err := clear(dir, item)
		if err != nil {
			return err
		}
		cleared = cleared || removed
	}
	if !cleared || c.o.DryRun {
		return nil
	}
	return dir.Sync()
}

// clearIngest removes what a BuildKit left that is no longer writing.
func (c *collector) clearIngest(dir *durable.Dir, item durable.Item) (removed bool, err error) {
	ours, err := isIngest(dir, item)
	if err != nil {
		return false, err
	}
	if !ours {
		c.result.Strange = append(c.result.Strange, ingestName+"/"+item.Name)
		return false, nil
	}
	bytes, modified, err := dir.Tree(item.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if c.isYoung(modified) {
		c.result.Young.add(bytes)
		return false, nil
	}
	if !c.o.DryRun {
		if err := dir.RemoveTree(item.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	c.result.Leftovers.add(bytes)
	return true, nil
}

// clearState removes temporary files that nobody has locked.
func (c *collector) clearState(dir *durable.Dir, item durable.Item) (removed bool, err error) {
	if !durable.IsTemporary(item.Name) || item.Type != 0 {
		return false, nil
	}
	removed, err = dir.ClearStale(item.Name, !c.o.DryRun)
	if removed && err == nil {
		c.result.Leftovers.add(item.Size)
	}
	return removed, err
}
