package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/ocicache/ocicache/internal/line"
)

// ErrIdle says that a registry was silent for longer than Options.Idle, each time that it was asked.
var ErrIdle = errors.New("the registry is silent")

// watchdog ends a context when nothing has happened for a while: nothing on our side, and nothing that was sent has arrived.
type watchdog struct {
	idle time.Duration
	end  context.CancelCauseFunc

	mu      sync.Mutex
	timer   *time.Timer
	resting bool
	last    time.Time // when something happened
	conn    net.Conn  // of the current request, nil before there is one
	arrived uint64    // bytes that had arrived at the last look
}

// looks is how often a watchdog looks within the time that it allows for silence.
const looks = 16

func newWatchdog(ctx context.Context, idle time.Duration) (context.Context, *watchdog) {
	ctx, end := context.WithCancelCause(ctx)
	w := &watchdog{idle: idle, end: end, last: time.Now()}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(idle/looks, w.look)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: w.sendsOver}), w
}

// sendsOver records the connection that a request got.
func (w *watchdog) sendsOver(info httptrace.GotConnInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = info.Conn
	w.arrived, _ = line.Arrived(w.conn)
}

// look ends the context if nothing has happened for too long. What was handed to the system long ago may still be on its way
// over a slow line: as long as some of it arrives, something happens.
func (w *watchdog) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.resting {
		return
	}
	if w.conn != nil {
		if now, known := line.Arrived(w.conn); known && now > w.arrived {
			w.arrived, w.last = now, time.Now()
		}
	}
	left := w.idle - time.Since(w.last)
	if left <= 0 {
		w.bite(fmt.Errorf("%w: nothing for %v", ErrIdle, w.idle))
		return
	}
	w.timer.Reset(min(left, w.idle/looks))
}

// bite ends the context for a reason of our own.
func (w *watchdog) bite(reason error) { w.end(&bitten{reason}) }

// bitten is the reason for which a watchdog has ended a context.
type bitten struct{ reason error }

func (b *bitten) Error() string { return b.reason.Error() }
func (b *bitten) Unwrap() error { return b.reason }

// alive records that something happened.
func (w *watchdog) alive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
	if w.resting {
		w.resting = false
		w.timer.Reset(w.idle / looks)
	}
}

// pause suspends the watch until alive is called, because somebody else is being waited for.
func (w *watchdog) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resting = true
	w.timer.Stop()
}

// stop ends the watch, and the context with it.
func (w *watchdog) stop() {
	w.pause()
	w.end(context.Canceled)
}

// watched is a stream with a watchdog over it.
type watched struct {
	stream io.ReadCloser
	ctx    context.Context //nolint:containedctx // it says why a read failed
	dog    *watchdog
}

// watch opens a stream of which every read must return something within idle.
func watch(
	ctx context.Context, idle time.Duration, open func(ctx context.Context, dog *watchdog) (io.ReadCloser, error),
) (*watched, error) {
	ctx, dog := newWatchdog(ctx, idle)
	stream, err := open(ctx, dog)
	if err != nil {
		err = causeOf(ctx, err)
		dog.stop()
		return nil, err
	}
	return &watched{stream: stream, ctx: ctx, dog: dog}, nil
}

func (w *watched) Read(p []byte) (int, error) {
	w.dog.alive()
	n, err := w.stream.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = causeOf(w.ctx, err)
	}
	// Until the next read the consumer may take its time.
	w.dog.pause()
	return n, err
}

func (w *watched) Close() error {
	err := w.stream.Close()
	w.dog.stop()
	return err
}

// causeOf returns why ctx ended, if it did, instead of the error that followed from it.
func causeOf(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	var own *bitten
	switch {
	case cause == nil:
		return err
	case errors.As(cause, &own):
		return own.reason
	case errors.Is(cause, ctx.Err()):
		return cause
	}
	return &endedError{cause: cause, err: ctx.Err()}
}

// endedError says why somebody ended a context. It wraps context.Canceled or context.DeadlineExceeded as well.
type endedError struct{ cause, err error }

func (e *endedError) Error() string   { return e.cause.Error() }
func (e *endedError) Unwrap() []error { return []error{e.cause, e.err} }
