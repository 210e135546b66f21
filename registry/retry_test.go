package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/distribution/registry/api/errcode"
	v2 "github.com/docker/distribution/registry/api/v2"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/ocicache/ocicache/layout"
)

// quiet is a repository that nobody is asked for.
func quiet(t *testing.T, o Options) *Repository {
	t.Helper()
	r, err := Open("registry.example/cache", o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestWaits holds how often something is tried, and the time between: doubled each time up to a bound, give or take a
// quarter.
func TestWaits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		options Options
		err     error
		want    []time.Duration
	}{
		{name: "as it comes", err: io.ErrUnexpectedEOF, want: []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}},
		{
			name: "long", options: Options{Retries: 6, Delay: 5 * time.Second}, err: &answerError{status: 503},
			want: []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, maxDelay, maxDelay, maxDelay},
		},
		{name: "never", options: Options{Retries: -1}, err: io.ErrUnexpectedEOF},
		{name: "does not pass", err: &answerError{status: 404}},
		{name: "unknown", err: errors.New("no idea")},
		{name: "nobody there", err: syscall.ECONNREFUSED},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var waits []time.Duration
				last := time.Now()
				r := quiet(t, test.options)
				err := r.try(t.Context(), "ask", r.writes.host, reading, func(context.Context, *watchdog) error {
					waits = append(waits, time.Since(last))
					last = time.Now()
					return test.err
				})
				if !errors.Is(err, test.err) || len(waits) != len(test.want)+1 {
					t.Fatalf("%d tries, want %d: %v", len(waits), len(test.want)+1, err)
				}
				for i, want := range test.want {
					if got := waits[i+1]; got < want*3/4 || got > want*5/4 {
						t.Errorf("wait %d: %v, want about %v", i, got, want)
					}
				}
			})
		})
	}
}

// TestRefusedLater says that a connection that is refused by a registry that has answered before is tried again, and that each
// retry is told of: what, why, and when again.
func TestRefusedLater(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]error{"done": nil, "answered": &answerError{status: 404}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var told []layout.Event
				r := quiet(t, Options{OnEvent: func(e layout.Event) { told = append(told, e) }})
				if err := r.try(t.Context(), "ask", r.writes.host, reading, func(context.Context, *watchdog) error { return first }); !errors.Is(err, first) {
					t.Fatal(err)
				}
				start := time.Now()
				err := r.try(t.Context(), "push", r.writes.host, reading, func(context.Context, *watchdog) error { return syscall.ECONNREFUSED })
				if !errors.Is(err, syscall.ECONNREFUSED) || len(told) != DefaultRetries || !HadAnswered(err) {
					t.Fatalf("%d retries: %v", len(told), err)
				}
				var waits time.Duration
				for _, e := range told {
					if e.Kind != layout.EventRetry || e.Verb != "push" || !errors.Is(e.Err, syscall.ECONNREFUSED) || e.Wait <= 0 {
						t.Errorf("told %+v", e)
					}
					waits += e.Wait
				}
				if took := time.Since(start); took != waits {
					t.Errorf("it took %v, and %v were told", took, waits)
				}
			})
		})
	}
}

// TestNeverAnswered says that what never answered did not stop answering.
func TestNeverAnswered(t *testing.T) {
	t.Parallel()
	r := quiet(t, Options{})
	err := r.try(t.Context(), "ask", r.writes.host, reading, func(context.Context, *watchdog) error { return syscall.ECONNREFUSED })
	if !errors.Is(err, syscall.ECONNREFUSED) || HadAnswered(err) {
		t.Error(err)
	}
}

// TestWhatPasses holds which answers and breaks are worth another try.
func TestWhatPasses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want bool
	}{
		{err: &answerError{status: 408}, want: true},
		{err: &answerError{status: 429}, want: true},
		{err: &answerError{status: 500}, want: true},
		{err: &answerError{status: 502}, want: true},
		{err: &answerError{status: 503}, want: true},
		{err: &answerError{status: 504}, want: true},
		{err: &answerError{status: 501}},
		{err: &answerError{status: 400}},
		{err: &answerError{status: 404}},
		{err: auth.ErrBasicCredentialNotFound},
		{err: &answerError{status: 404, said: errcode.Errors{v2.ErrorCodeBlobUploadUnknown.WithDetail("x")}}, want: true},
		{err: &answerError{status: 400, said: errcode.Errors{v2.ErrorCodeManifestInvalid.WithDetail("x")}}},
		{err: io.EOF, want: true},
		{err: io.ErrUnexpectedEOF, want: true},
		{err: syscall.ECONNRESET, want: true},
		{err: syscall.ECONNREFUSED, want: true},
		{err: syscall.EPIPE, want: true},
		{err: net.ErrClosed, want: true},
		{err: &net.DNSError{IsTimeout: true}, want: true},
		{err: &net.DNSError{IsNotFound: true}},
		{err: ErrIdle, want: true},
		{err: errors.New("no idea")},
	} {
		for what, err := range map[string]error{
			"": test.err, "wrapped": fmt.Errorf("ask: %w", test.err), "joined": errors.Join(test.err), "a request's": &requestError{err: test.err},
		} {
			if got := retryable(t.Context(), err); got != test.want {
				t.Errorf("%T %v %s: %v, want %v", test.err, test.err, what, got, test.want)
			}
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if retryable(ended, io.EOF) {
		t.Error("another try after the end")
	}
}

// TestEnded ends a request while it runs, and while the next one is waited for.
func TestEnded(t *testing.T) {
	t.Parallel()
	lost := errors.New("the lease is lost")
	for name, test := range map[string]struct {
		request func(ctx context.Context, dog *watchdog) error
		cause   error
	}{
		"running":                  {request: func(ctx context.Context, _ *watchdog) error { <-ctx.Done(); return ctx.Err() }, cause: lost},
		"waiting":                  {request: func(context.Context, *watchdog) error { return io.EOF }, cause: lost},
		"running, without a cause": {request: func(ctx context.Context, _ *watchdog) error { <-ctx.Done(); return ctx.Err() }},
		"waiting, without a cause": {request: func(context.Context, *watchdog) error { return io.EOF }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(500*time.Millisecond, func() { cancel(test.cause) })
				start := time.Now()
				r := quiet(t, Options{})
				err := r.try(ctx, "ask", r.writes.host, reading, test.request)
				if !errors.Is(err, context.Canceled) || test.cause != nil && !errors.Is(err, test.cause) || errors.Is(err, ErrIdle) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(start); took != 500*time.Millisecond {
					t.Errorf("after %v", took)
				}
			})
		})
	}
}

// TestIdle has a registry that says nothing, and one that takes its time but says something.
func TestIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := quiet(t, Options{Retries: 1, Delay: time.Millisecond})
		start := time.Now()
		err := r.try(t.Context(), "ask", r.writes.host, reading, func(ctx context.Context, _ *watchdog) error { <-ctx.Done(); return ctx.Err() })
		if !errors.Is(err, ErrIdle) || errors.Is(err, context.Canceled) || time.Since(start).Round(time.Second) != 2*DefaultIdle {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		err = r.try(t.Context(), "ask", r.writes.host, reading, func(ctx context.Context, dog *watchdog) error {
			for range 10 {
				time.Sleep(DefaultIdle - time.Second)
				dog.alive()
			}
			dog.pause() // it waits for us
			time.Sleep(10 * DefaultIdle)
			return ctx.Err()
		})
		if err != nil {
			t.Errorf("nobody was silent: %v", err)
		}
	})
}

// slowStream gives a byte at a time, and waits before it.
type slowStream struct {
	ctx   context.Context //nolint:containedctx // io.Reader has no place for one
	waits []time.Duration
}

func (s *slowStream) Read(p []byte) (int, error) {
	if len(s.waits) == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(s.waits[0]):
		s.waits = s.waits[1:]
		return copy(p, "x"), nil
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
}

func (s *slowStream) Close() error { return nil }

// TestIdleStream reads streams that falter, slowly.
func TestIdleStream(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		waits []time.Duration
		want  error
	}{
		{name: "slow", waits: []time.Duration{9 * time.Second, 9 * time.Second, 9 * time.Second}},
		{name: "silent", waits: []time.Duration{9 * time.Second, 11 * time.Second}, want: ErrIdle},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				stream, err := watch(t.Context(), 10*time.Second, func(ctx context.Context, _ *watchdog) (io.ReadCloser, error) {
					return &slowStream{ctx: ctx, waits: test.waits}, nil
				})
				if err != nil {
					t.Fatal(err)
				}
				for err == nil {
					_, err = stream.Read(make([]byte, 8))
					time.Sleep(time.Minute) // the reader may take its time
				}
				if test.want == nil && !errors.Is(err, io.EOF) || test.want != nil && !errors.Is(err, test.want) {
					t.Errorf("got %v", err)
				}
				if err := stream.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestTooManyRequests wants a 429 to be known.
func TestTooManyRequests(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want bool
	}{
		{err: &answerError{status: 429}, want: true},
		{err: fmt.Errorf("push: %w", errors.Join(&answerError{status: 429})), want: true},
		{err: &answerError{status: 503}, want: false},
		{err: io.EOF, want: false},
	} {
		r := quiet(t, Options{})
		err := r.wrap("ask", r.writes.host, test.err)
		if got := errors.Is(err, ErrTooManyRequests); got != test.want {
			t.Errorf("%v: %v", err, got)
		}
	}
}

// TestNothingSecret wraps what a library may say of an address, and looks at all that can be unwrapped.
func TestNothingSecret(t *testing.T) {
	t.Parallel()
	raw := &url.Error{Op: "Put", URL: "https://ann:hunter2@store.example/blob?X-Signature=hunter2&b=1", Err: io.ErrUnexpectedEOF}
	r := quiet(t, Options{})
	err := r.wrap("push", r.writes.host, fmt.Errorf("library: %w", errors.Join(raw, errors.New("at http://store.example/upload?_state=hunter2"))))
	var asURL *url.Error
	if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.As(err, &asURL) {
		t.Errorf("got %v", err)
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if strings.Contains(e.Error(), "hunter2") {
			t.Errorf("%T: %v", e, e)
		}
	}
	if want := `Put "https://...@store.example/blob?..."`; !strings.Contains(err.Error(), want) {
		t.Errorf("%q is not in %q", want, err)
	}
	if _, err := Open("ann:hunter2@registry.example/cache", Options{}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}
