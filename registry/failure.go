package registry

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/containers/image/v5/docker/reference"
)

// Failure is what can be said about a registry's error without reading its text.
type Failure struct {
	Host string // the registry, with its port if it has one
	// Down says that the registry can't be reached, is silent, or is broken (5xx).
	Down bool
	// Answered says that a registry that is Down has answered (5xx), but not that it is out of service (503): that may concern
	// only the one thing that it was asked for.
	Answered bool
	// Stored says that the registry was asked for a manifest or a blob, so that its copy of that may be why it failed.
	Stored bool
	// Busy says that we sent it too many requests (429).
	Busy bool
	// RetryAfter is for how long it wants to be left alone, 0 if it does not say.
	RetryAfter time.Duration
}

// FailureOf finds the failure of a request to a registry in an error. It returns false if there is none.
func FailureOf(err error) (Failure, bool) {
	var request *requestError
	if !errors.As(err, &request) {
		return Failure{}, false
	}
	status := httpStatus(request.err)
	broken := status >= http.StatusInternalServerError && status != http.StatusNotImplemented
	failure := Failure{
		Host:     request.host,
		Stored:   isStored(err, request),
		Down:     broken || status == 0 && isBroken(request.err),
		Answered: broken && status != http.StatusServiceUnavailable,
		Busy:     status == http.StatusTooManyRequests,
	}
	var answer *answerError
	var alone *LeaveAloneError
	switch {
	case errors.As(request.err, &alone):
		failure.Busy, failure.RetryAfter = true, alone.For
	case errors.As(request.err, &answer):
		failure.RetryAfter = answer.retryAfter
	}
	return failure, true
}

// storedError is that of a request for a manifest or a blob.
type storedError struct{ error }

func (e *storedError) Unwrap() error { return e.error }

// isStored reports whether a request was for a manifest or a blob.
func isStored(err error, request *requestError) bool {
	var stored *storedError
	var of *requestError
	return errors.As(err, &stored) && errors.As(stored.error, &of) && of == request
}

// ofStored marks the error of a request for a manifest or a blob. The error itself stays as it is: what was stopped by it wraps it too.
func ofStored(err error) error {
	if err == nil {
		return nil
	}
	return &storedError{err}
}

// HadAnswered reports whether an error is from a registry that had answered before, so that there is one at that address.
func HadAnswered(err error) bool {
	var request *requestError
	return errors.As(err, &request) && request.answered
}

// HostOf returns the registry that a repository is in, host[:port], as references name it, or "" if that is not the name of one.
func HostOf(repository string) string {
	named, err := reference.ParseNormalizedNamed(repository)
	if err != nil {
		return ""
	}
	return reference.Domain(named)
}

// CheckName returns why something is not the name of a repository, or nil.
func CheckName(repository string) error {
	_, err := reference.ParseNormalizedNamed(repository)
	return err
}

// NameOf returns the full name of a repository, which can be spelled in several ways, or the text itself if it is not the name of one.
func NameOf(repository string) string {
	named, err := reference.ParseNormalizedNamed(repository)
	if err != nil {
		return repository
	}
	return named.Name()
}

// isBroken reports whether an error says that there is no connection, or no longer one.
func isBroken(err error) bool {
	var network net.Error
	var operation *net.OpError
	return errors.Is(err, ErrIdle) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.As(err, &operation) || errors.As(err, &network) && network.Timeout()
}
