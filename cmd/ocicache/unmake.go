package main

import (
	"context"
	"errors"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// mayUnmake notes a layout to be removed again if this command made it and then writes nothing to it.
func (a *app) mayUnmake(place layout.Source) {
	if dir, ok := place.(*layout.Dir); ok {
		a.made = append(a.made, dir)
	}
}

// unmake removes the layouts that this command made, if they are still empty: the cache had no room there, rules left nothing of it, or
// it was too large for BuildKit.
func (a *app) unmake(ctx context.Context, err error) error {
	var room *layout.RoomError
	var large *convert.TooLargeError
	if !errors.As(err, &room) && !errors.As(err, &large) && !errors.Is(err, buildcache.ErrNoResults) {
		return nil
	}
	var errs []error
	for _, dir := range a.made {
		errs = append(errs, dir.Unmake(ctx))
	}
	return errors.Join(errs...)
}
