package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// The exit statuses. Scripts match them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitFound       = 3
	exitNotFound    = 4
	exitLocked      = 5
	exitRefused     = 6
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
		fmt.Fprintln(a.stderr, "ocicache: error: interrupted; each tag names what it named before or what it was to name, run it again to go on")
		return exitInterrupted
	}
	fmt.Fprintf(a.stderr, "ocicache: error: %s\n", clean(err.Error()))
	var caught *parallel.PanicError
	if errors.As(err, &caught) {
		fmt.Fprintf(a.stderr, "%s", caught.Stack)
	}
	if hint := hint(err); hint != "" {
		fmt.Fprintf(a.stderr, "ocicache: hint: %s\n", clean(hint))
	}
	if a.debug {
		a.explain(err)
	}
	return status(err)
}

// explain shows an error and all that it wraps, with their types.
func (a *app) explain(err error) {
	fmt.Fprintf(a.stderr, "ocicache: debug: %T: %s\n", err, clean(err.Error()))
	switch e := err.(type) { //nolint:errorlint // every error is looked at in its turn
	case interface{ Unwrap() error }:
		if wrapped := e.Unwrap(); wrapped != nil {
			a.explain(wrapped)
		}
	case interface{ Unwrap() []error }:
		for _, wrapped := range e.Unwrap() {
			a.explain(wrapped)
		}
	}
}

func status(err error) int {
	var (
		sync      *convert.SyncError
		usage     *usageError
		unknown   *unknownProfileError
		ambiguous *layout.AmbiguousError
		notFound  *layout.NotFoundError
		notThere  *places.NotThereError
		dangling  *layout.DanglingError
		noImage   *layout.NoImageError
		noInline  *convert.NoInlineError
		missing   *archive.MissingError
		volumes   *archive.VolumesError
		locked    *layout.LockedError
		refused   *registry.RefusedError
		preflight *convert.PreflightError
		occupied  *archive.OccupiedError
	)
	switch {
	case errors.As(err, &sync):
		return exitFailed // whatever the reasons were
	case errors.As(err, &usage), errors.As(err, &unknown), errors.As(err, &ambiguous), errors.As(err, &occupied):
		return exitUsage
	case errors.As(err, &locked):
		return exitLocked
	case errors.As(err, &refused), errors.As(err, &preflight):
		return exitRefused
	case errors.As(err, &notFound), errors.As(err, &dangling), errors.As(err, &notThere),
		errors.As(err, &missing), errors.As(err, &volumes),
		errors.As(err, &noImage), errors.As(err, &noInline):
		return exitNotFound
	default:
		return exitFailed
	}
}
