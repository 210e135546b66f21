package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/ocicache/ocicache/layout"
)

// The exit statuses. Scripts match them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitFound       = 3
	exitNotFound    = 4
	exitLocked      = 5
	exitInterrupted = 130
)

// usageError marks a command line that makes no sense.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// errFound ends a command that found what it was to look for. The result has been written; there is no more to say.
var errFound = errors.New("problems found")

// exit says what went wrong, and what helps, and returns the exit status.
func (a *app) exit(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	if errors.Is(err, errFound) {
		return exitFound
	}
	if ctx.Err() != nil { // whatever failed, a signal was the reason
		fmt.Fprintln(a.stderr, "ocicache: error: interrupted; nothing was published, run it again to go on")
		return exitInterrupted
	}
	fmt.Fprintf(a.stderr, "ocicache: error: %v\n", err)
	if hint := hint(err); hint != "" {
		fmt.Fprintf(a.stderr, "ocicache: hint: %s\n", hint)
	}
	if a.debug {
		for e := err; e != nil; e = errors.Unwrap(e) {
			fmt.Fprintf(a.stderr, "ocicache: debug: %T: %v\n", e, e)
		}
	}
	return status(err)
}

func status(err error) int {
	var (
		usage     *usageError
		ambiguous *layout.AmbiguousError
		notFound  *layout.NotFoundError
		dangling  *layout.DanglingError
		locked    *layout.LockedError
	)
	switch {
	case errors.As(err, &usage), errors.As(err, &ambiguous):
		return exitUsage
	case errors.As(err, &locked):
		return exitLocked
	case errors.As(err, &notFound), errors.As(err, &dangling), errors.Is(err, errNoPlace):
		return exitNotFound
	default:
		return exitFailed
	}
}
