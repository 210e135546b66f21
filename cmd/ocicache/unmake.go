package main

import (
	"context"
	"errors"

	"github.com/ocicache/ocicache/layout"
)

// mayUnmake notes a layout to be removed again if this command made it and then writes nothing to it.
func (a *app) mayUnmake(place layout.Source) {
	if dir, ok := place.(*layout.Dir); ok {
		a.made = append(a.made, dir)
	}
}

// unmake removes the layouts that this command made, if it failed and they are still empty: a command that is refused leaves nothing
// behind. An interrupted one does so as well.
func (a *app) unmake(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var errs []error
	for _, dir := range a.made {
		errs = append(errs, dir.Unmake(context.WithoutCancel(ctx)))
	}
	return errors.Join(errs...)
}
