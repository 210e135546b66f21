package registry

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"reflect"
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
		if tries == r.options.retries() || !retryable(ctx, err) {
			return r.wrap(what, err)
		}
		if err := r.wait(ctx, tries); err != nil {
			return err
		}
	}
}

// wait waits before the next try: twice as long each time, give or take a quarter.
func (r *Repository) wait(ctx context.Context, tries int) error {
	delay := min(r.options.delay()<<min(tries, 16), maxDelay)
	delay += time.Duration((rand.Float64() - 0.5) * 0.5 * float64(delay)) //nolint:gosec // jitter is no secret
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retryable says whether an error may pass. The context's own end never does.
func retryable(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	var coder errcode.ErrorCoder
	if errors.As(err, &coder) && coder.ErrorCode() == v2.ErrorCodeBlobUploadUnknown {
		return true // the registry forgot the upload; a new one may do
	}
	if status := httpStatus(err); status != 0 {
		return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout ||
			status >= 500 && status != http.StatusNotImplemented
	}
	var network net.Error
	switch {
	case errors.Is(err, errIdle), errors.Is(err, errAltered), errors.Is(err, docker.ErrTooManyRequests),
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
	var unexpected docker.UnexpectedHTTPStatusError
	if errors.As(err, &unexpected) {
		return unexpected.StatusCode
	}
	if status := statusField(err); status != 0 {
		return status
	}
	var unauthorized docker.ErrUnauthorizedForCredentials
	if errors.As(err, &unauthorized) {
		return http.StatusUnauthorized
	}
	var coder errcode.ErrorCoder
	if errors.As(err, &coder) {
		if coder.ErrorCode() == errcode.ErrorCodeUnknown {
			return http.StatusBadRequest // some 4xx with a code that the library does not know; it reads no other bodies
		}
		return coder.ErrorCode().Descriptor().HTTPStatusCode
	}
	return 0
}

// statusField finds the status in the library's error for answers that are no JSON, such as those of a proxy. The type
// is not exported, its field is.
func statusField(err error) int {
	for ; err != nil; err = errors.Unwrap(err) {
		value := reflect.Indirect(reflect.ValueOf(err))
		if value.Kind() != reflect.Struct {
			continue
		}
		if field := value.FieldByName("StatusCode"); field.IsValid() && field.CanInt() {
			return int(field.Int())
		}
	}
	return 0
}

// isNotFound says that a registry does not have what was asked for: the manifest, or the whole repository.
func isNotFound(err error) bool {
	if err == nil {
		return false
	}
	var coder errcode.ErrorCoder
	if errors.As(err, &coder) {
		switch coder.ErrorCode() {
		case v2.ErrorCodeManifestUnknown, v2.ErrorCodeNameUnknown, v2.ErrorCodeBlobUnknown:
			return true
		}
	}
	if said, ok := answerOf(err); ok && said.code == errcode.ErrorCodeUnknown && said.says("not found") {
		return true // Harbor's NOT_FOUND
	}
	return httpStatus(err) == http.StatusNotFound
}

// errNoUser refuses credentials that name nobody. It must not show them.
var errNoUser = errors.New("credentials name no user (want USER:PASSWORD)")
