// Package parallel runs functions side by side: the errgroup of golang.org/x/sync, with two differences. A function that
// panics ends its group with an error instead of the whole process, so that whoever called gets to give back locks and
// temporary files, and a user gets a message. And what ends because another function failed says that, and not why the other did.
package parallel

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Group is a number of functions that run side by side. Make it with New.
type Group struct {
	group errgroup.Group
	stop  context.CancelCauseFunc

	once sync.Once
	err  error // the first one
}

// New returns a group of at most limit functions at once, and the context for them, which ends with the first error: its cause is
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
				g.err = err // before any other can fail for it
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

// StoppedError says that a function was stopped because another one of its group failed, whose error it wraps without its text: to
// whom this is told, it is about something else.
type StoppedError struct{ Err error }

func (e *StoppedError) Error() string { return "stopped, because something else failed" }

// Unwrap returns the error of the other.
func (e *StoppedError) Unwrap() error { return e.Err }

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
