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

	"github.com/docker/distribution/registry/api/errcode"
	v2 "github.com/docker/distribution/registry/api/v2"
	"oras.land/oras-go/v2/registry/remote/auth"
	remote "oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/ocicache/ocicache/layout"
)

// try does something by requests, and does it again after errors that may be transient: 429, 5xx, broken connections, silence.
// It keeps the pace of the registry; the waits for that do not count as its silence. The request gets a context that ends when
// the registry is silent for too long, and the watchdog that ends it. An error on our side is returned as it is.
func (r *Repository) try(
	ctx context.Context, what string, h *host, of kind, request func(ctx context.Context, dog *watchdog) error,
) error {
	end, err := r.enter(ctx, what, h, of)
	if err != nil {
		return err
	}
	for tries := 0; ; tries++ {
		failure := r.once(ctx, h, of, request)
		if failure == nil {
			return nil
		}
		var ours *writeError
		if errors.As(failure, &ours) {
			return ours
		}
		if end.IsZero() {
			end = r.patience(time.Now())
		}
		until := r.noLater(h, of, end)
		if err := r.again(ctx, what, h, tries, until, failure); err != nil {
			return err
		}
		if err := r.keepPace(ctx, what, h, until, failure); err != nil {
			return err
		}
	}
}

// enter waits until a first request may be sent, and returns until when it may be sent again. If the registry refuses what
// others ask for, a few requests find out whether it still does; the others wait for them, and fail as they did.
func (r *Repository) enter(ctx context.Context, what string, h *host, of kind) (time.Time, error) {
	spell, refuses := h.pace.refusing(of)
	end := r.patience(spell.since)
	if !refuses || end.IsZero() {
		return time.Time{}, r.enterOr(ctx, what, h, of, spell)
	}
	end = later(end, time.Now().Add(2*r.options.delay()))
	err := r.keepPace(ctx, what, h, end, spell.err)
	var alone *LeaveAloneError
	if err == nil || ctx.Err() != nil || errors.As(err, &alone) {
		return end, err
	}
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	select {
	case <-spell.eased:
		return time.Time{}, r.keepPace(ctx, what, h, time.Time{}, nil)
	case <-timer.C:
		return end, err
	case <-ctx.Done():
		return end, causeOf(ctx, ctx.Err())
	}
}

// enterOr waits until a first request may be sent, unless the registry is given up.
func (r *Repository) enterOr(ctx context.Context, what string, h *host, of kind, s spell) error {
	end, gives := s.givenUp(r.options.GiveUp)
	if gives && time.Now().After(end) {
		return r.giveUp(what, h, s)
	}
	err := r.keepPace(ctx, what, h, r.noLater(h, of, time.Time{}), s.err)
	if err != nil && ctx.Err() == nil && gives { // it wants to be left alone for longer
		return r.giveUp(what, h, s)
	}
	return err
}

// giveUp returns the error for a registry that is not waited for any more.
func (r *Repository) giveUp(what string, h *host, s spell) error {
	h.givenUp.Store(true)
	return r.wrap(what, h, &GivenUpError{Host: h.name, For: time.Since(s.steady), Err: s.err})
}

// patience returns until when something that first failed at since is tried again, or zero if that is not bounded.
func (r *Repository) patience(since time.Time) time.Time {
	if since.IsZero() || r.options.Patience <= 0 {
		return time.Time{}
	}
	return since.Add(r.options.Patience)
}

// noLater returns end or, if that is earlier, when a registry that does nothing of a kind is given up. Zero is never.
func (r *Repository) noLater(h *host, of kind, end time.Time) time.Time {
	spell, _ := h.pace.refusing(of)
	if at, gives := spell.givenUp(r.options.GiveUp); gives && (end.IsZero() || at.Before(end)) {
		return at
	}
	return end
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// keepPace waits until a request may be sent. If that would be after end, it returns how the last try failed.
func (r *Repository) keepPace(ctx context.Context, what string, h *host, end time.Time, failure error) error {
	until := ctx
	if !end.IsZero() {
		var cancel context.CancelFunc
		until, cancel = context.WithDeadline(ctx, end)
		defer cancel()
	}
	err := h.pace.wait(until)
	var alone *LeaveAloneError
	switch {
	case errors.As(err, &alone):
		return r.wrap(what, h, err)
	case err != nil && failure != nil && ctx.Err() == nil:
		return r.wrap(what, h, failure)
	}
	return err
}

// once does a request once, under a watchdog, and slows down if the registry wants that.
func (r *Repository) once(ctx context.Context, h *host, of kind, request func(ctx context.Context, dog *watchdog) error) error {
	watched, dog := newWatchdog(ctx, r.options.idle())
	err := request((&guard{dog: dog, plain: r.allowsPlain()}).watch(watched), dog)
	if err != nil {
		err = causeOf(watched, err)
	}
	dog.stop()
	status := httpStatus(err)
	if err == nil || status != 0 {
		h.answered.Store(true)
	}
	switch {
	case err == nil:
		h.pace.serves(of)
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		h.pace.slow(retryAfterOf(err))
		h.pace.refuses(of, err)
	}
	return err
}

// retryAfterOf returns for how long a registry that answered with err wants to be left alone.
func retryAfterOf(err error) time.Duration {
	var answer *answerError
	if status := httpStatus(err); status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable || !errors.As(err, &answer) {
		return 0
	}
	return answer.retryAfter
}

// again waits until what failed may be done again: twice as long each time, give or take a quarter. It returns the error
// instead if there were enough tries, if it would be too late, or if it would not help. If nothing ever answered, a refused
// connection is taken for a wrong address.
func (r *Repository) again(ctx context.Context, what string, h *host, tries int, end time.Time, err error) error {
	after := retryAfterOf(err)
	nobody := errors.Is(err, syscall.ECONNREFUSED) && !h.answered.Load()
	if tries >= r.options.retries() || nobody || after > maxBlocked || !retryable(ctx, err) {
		return r.wrap(what, h, err)
	}
	delay := min(r.options.delay()<<min(tries, 16), maxDelay)
	delay += time.Duration((rand.Float64() - 0.5) * 0.5 * float64(delay)) //nolint:gosec // jitter is no secret
	if !end.IsZero() && time.Until(end) < max(delay, after) {
		return r.wrap(what, h, err)
	}
	r.options.OnEvent.Send(layout.Event{Kind: layout.EventRetry, Verb: what, Err: r.wrap(what, h, err), Wait: max(delay, after)})
	return sleep(ctx, delay)
}

// retryable reports whether an error may be transient. The end of the context itself never is.
func retryable(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if said, ok := answerOf(err); ok && said.code == v2.ErrorCodeBlobUploadUnknown {
		return true // the registry forgot the upload; a new one may succeed
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
	var token *remote.ErrorResponse
	said, ok := answerOf(err)
	switch {
	case ok:
		return said.status
	case errors.As(err, &token):
		return token.StatusCode
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return http.StatusUnauthorized
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

// errNoUser refuses credentials that name no user. It must not show them.
var errNoUser = errors.New("credentials name no user (want USER:PASSWORD)")
