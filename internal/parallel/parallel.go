// Package parallel runs functions side by side: the errgroup of golang.org/x/sync, with one difference. A function that
// panics ends its group with an error instead of the whole process, so that whoever called gets to give back locks and
// temporary files, and a user gets a message.
package parallel

import (
	"context"
	"fmt"
	"runtime/debug"

	"golang.org/x/sync/errgroup"
)

// Group is a number of functions that run side by side. Make it with New.
type Group struct{ group *errgroup.Group }

// New returns a group of at most limit functions at once, and the context for them, which ends with the first error.
func New(ctx context.Context, limit int) (*Group, context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(limit)
	return &Group{group}, ctx
}

// Go runs a function, once there is room for it.
func (g *Group) Go(run func() error) {
	g.group.Go(func() error { return Guard(run) })
}

// Wait waits for all functions, and returns the first error.
func (g *Group) Wait() error { return g.group.Wait() }

// Guard runs a function, and returns a *PanicError where it panics.
func Guard(run func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{Value: value, Stack: debug.Stack()}
		}
	}()
	return run()
}

// PanicError says that the program did what nobody meant it to do.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("a mistake in this program: %v", e.Value) }
