// Package parallel runs functions side by side: the errgroup of golang.org/x/sync, with two differences. A function that
// panics ends its group with an error instead of the whole process, so that the caller can release locks and remove
// temporary files, and the user gets a message. And a function that ends because another failed says just that, not why the other did.
package parallel

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Group is a set of functions that run side by side. Make it with New.
type Group struct {
	group errgroup.Group
	stop  context.CancelCauseFunc

	once sync.Once
	err  error // the first one
}

// New returns a group that runs at most limit functions at once, and their context, which the first error ends: its cause is
// a *StoppedError.
func New(ctx context.Context, limit int) (*Group, context.Context) {
	ctx, stop := context.WithCancelCause(ctx)
	g := &Group{stop: stop}
	g.group.SetLimit(limit)
	return g, ctx
}

// Go runs a function, once there is room for it.
func (g *Group) Go(run func() error) {
	g.group.Go(func() error {
		err := Guard(run)
		if err != nil {
			g.once.Do(func() {
				g.err = err // before any other can fail because of it
				g.stop(&StoppedError{Err: err})
			})
		}
		return nil
	})
}

// Wait waits for all functions, and returns the first error.
func (g *Group) Wait() error {
	_ = g.group.Wait() // always nil
	g.stop(g.err)
	return g.err
}

// StoppedError says that a function was stopped because another one of its group failed. It wraps that error, but leaves out the
// text, which is about something else.
type StoppedError struct{ Err error }

func (e *StoppedError) Error() string { return "stopped, because something else failed" }

// Unwrap returns the error of the other function.
func (e *StoppedError) Unwrap() error { return e.Err }

// Guard runs a function, and returns a *PanicError if it panics.
func Guard(run func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{Value: value, Stack: debug.Stack()}
		}
	}()
	return run()
}

// PanicError says that a function panicked: the program has a bug.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("a mistake in this program: %v", e.Value) }
