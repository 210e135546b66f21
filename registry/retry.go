package registry

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/containers/image/v5/docker"
	"github.com/docker/distribution/registry/api/errcode"
	v2 "github.com/docker/distribution/registry/api/v2"
)

// try does a request, and does it again after errors that pass: 429, 5xx, broken connections, silence. The request
// gets a context that ends when the registry is silent for too long, and the watchdog that sees to it. An error of our
// own side is returned as it is.
func (r *Repository) try(ctx context.Context, what string, request func(ctx context.Context, dog *watchdog) error) error {
	for tries := 0; ; tries++ {
		watched, dog := newWatchdog(ctx, r.options.idle())
		err := request(watched, dog)
		if err != nil {
			err = causeOf(watched, err)
		}
		dog.stop()
		if err == nil {
			return nil
		}
		var ours *writeError
		if errors.As(err, &ours) {
			return ours
		}
		if err := r.again(ctx, what, tries, err); err != nil {
			return err
		}
	}
}

// again waits until what failed may be done again: twice as long each time, give or take a quarter. It returns the error
// instead where that would be one time too many, or not help.
func (r *Repository) again(ctx context.Context, what string, tries int, err error) error {
	if tries >= r.options.retries() || !retryable(ctx, err) {
		return r.wrap(what, err)
	}
	delay := min(r.options.delay()<<min(tries, 16), maxDelay)
	delay += time.Duration((rand.Float64() - 0.5) * 0.5 * float64(delay)) //nolint:gosec // jitter is no secret
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return causeOf(ctx, ctx.Err())
	}
}

// retryable reports whether an error may pass. The context's own end never does.
func retryable(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if said, ok := answerOf(err); ok && said.code == v2.ErrorCodeBlobUploadUnknown {
		return true // the registry forgot the upload; a new one may do
	}
	if status := httpStatus(err); status != 0 {
		return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout ||
			status >= 500 && status != http.StatusNotImplemented
	}
	var network net.Error
	switch {
	case errors.Is(err, ErrIdle), errors.Is(err, errAltered),
		errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNREFUSED),
		errors.Is(err, net.ErrClosed): // as an upload sees it when the other end broke it off
		return true
	case errors.As(err, &network):
		return network.Timeout()
	}
	return false
}

// httpStatus returns the status of a registry's answer that became an error, or 0.
func httpStatus(err error) int {
	var unauthorized docker.ErrUnauthorizedForCredentials
	said, ok := answerOf(err)
	switch {
	case ok && said.code == errcode.ErrorCodeUnknown:
		return http.StatusBadRequest // some 4xx with a code that the library does not know; it reads no other bodies
	case ok && said.code != 0:
		return said.code.Descriptor().HTTPStatusCode
	case ok:
		return said.status
	case errors.As(err, &unauthorized):
		return http.StatusUnauthorized
	case errors.Is(err, docker.ErrTooManyRequests):
		return http.StatusTooManyRequests
	}
	return 0
}

// isNotFound reports whether a registry does not have what was asked for: the manifest, or the whole repository.
func isNotFound(err error) bool {
	said, ok := answerOf(err)
	switch {
	case !ok:
		return false
	case said.code == errcode.ErrorCodeUnknown:
		return said.says("not found") // Harbor's NOT_FOUND
	}
	return httpStatus(err) == http.StatusNotFound
}

// errNoUser refuses credentials that name nobody. It must not show them.
var errNoUser = errors.New("credentials name no user (want USER:PASSWORD)")
