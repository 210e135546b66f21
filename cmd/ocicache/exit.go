package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/explain/provenance"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/migrate"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// The exit statuses. Scripts depend on them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitFound       = 3
	exitNotFound    = 4
	exitLocked      = 5
	exitRefused     = 6
	exitInterrupted = 130
	exitPipe        = 141 // a shell's status for death by SIGPIPE
)

// usageError marks a command line that makes no sense.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// errFound ends a command that found what it was looking for. The result has been written, and nothing more needs to be said.
var errFound = errors.New("problems found")

// exit prints an error and a hint, and returns the exit status.
func (a *app) exit(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	if errors.Is(err, errFound) {
		return exitFound
	}
	if ctx.Err() != nil { // whatever failed, the signal is the reason
		a.sayInterrupted()
		return exitInterrupted
	}
	if isPipeGone(err) {
		return exitPipe
	}
	if a.speaksJSON() {
		a.sayLine(errorLine{Event: "error", Status: status(err), Error: brief(err.Error()), Hint: brief(a.hint(err))})
		return status(err)
	}
	a.sayFitted("ocicache: error: " + cleanError(err))
	var caught *parallel.PanicError
	if errors.As(err, &caught) {
		fmt.Fprintf(a.stderr, "%s", caught.Stack)
	}
	if hint := a.hint(err); hint != "" {
		a.sayFitted("ocicache: hint: " + clean(brief(hint)))
	}
	if a.debug {
		a.explain(err)
	}
	return status(err)
}

// commandPattern matches a line with a command to copy.
var commandPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(^|: |; )ocicache [a-z]+ \S`) })

// sayFitted writes lines to standard error, wrapped to the terminal's width unless they contain commands.
func (a *app) sayFitted(text string) {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if width := widthOf(a.stderr); width > 0 && !commandPattern().MatchString(line) {
			lines[i] = wrapLine(line, width, 2)
		}
	}
	text = strings.Join(lines, "\n")
	if inColour(a.stderr) {
		text = paint(text)
	}
	fmt.Fprintln(a.stderr, text)
}

// isPipeGone reports whether the reader of standard output has gone away, which is not a failure.
func isPipeGone(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && path.Path == os.Stdout.Name() && errors.Is(path.Err, syscall.EPIPE)
}

// explain shows an error and everything that it wraps, with their types.
func (a *app) explain(err error) {
	fmt.Fprintf(a.stderr, "ocicache: debug: %T: %s\n", err, cleanError(err))
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
		badName   *archive.NameError
		noSteps   *provenance.NoStepsError
		plan      *migrate.PlanError
		noState   *migrate.NoStateError
		left      *migrate.IncompleteError
		loss      *convert.LossError
		noCache   *noCacheThereError
		output    *durable.OutputTakenError
		kept      *layout.KeptError
		unread    *layout.SharedUnreadError
		excluded  *allExcludedError
		unlisted  *unlistedError
	)
	switch {
	case errors.As(err, &sync), errors.As(err, &left), errors.As(err, &unread):
		return exitFailed // whatever the reasons
	case errors.As(err, &usage), errors.As(err, &unknown), errors.As(err, &ambiguous), errors.As(err, &occupied), errors.As(err, &badName),
		errors.As(err, &plan), errors.As(err, &noState), errors.As(err, &loss), errors.As(err, &output):
		return exitUsage
	case errors.As(err, &locked):
		return exitLocked
	case errors.As(err, &refused), errors.As(err, &preflight), errors.As(err, &kept):
		return exitRefused
	case errors.As(err, &notFound), errors.As(err, &excluded), errors.As(err, &dangling), errors.As(err, &notThere), errors.As(err, &noCache),
		errors.As(err, &missing), errors.As(err, &volumes),
		errors.As(err, &noImage), errors.As(err, &noInline), errors.As(err, &unlisted),
		errors.As(err, &noSteps), errors.Is(err, provenance.ErrNoProvenance):
		return exitNotFound
	default:
		return exitFailed
	}
}
