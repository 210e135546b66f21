package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrIdle says that a registry was silent for longer than Options.Idle, as often as it was asked.
var ErrIdle = errors.New("the registry is silent")

// watchdog ends a context when nothing happened for a while.
type watchdog struct {
	timer *time.Timer
	idle  time.Duration
	end   context.CancelCauseFunc
}

func newWatchdog(ctx context.Context, idle time.Duration) (context.Context, *watchdog) {
	ctx, end := context.WithCancelCause(ctx)
	w := &watchdog{idle: idle, end: end}
	w.timer = time.AfterFunc(idle, func() { end(fmt.Errorf("%w: nothing for %v", ErrIdle, idle)) })
	return ctx, w
}

// alive says that something happened.
func (w *watchdog) alive() { w.timer.Reset(w.idle) }

// pause ends the watch until something happens again: somebody else is being waited for.
func (w *watchdog) pause() { w.timer.Stop() }

// stop ends the watch, and the context with it.
func (w *watchdog) stop() {
	w.timer.Stop()
	w.end(context.Canceled)
}

// watched is a stream with a watchdog over it.
type watched struct {
	stream io.ReadCloser
	ctx    context.Context //nolint:containedctx // it says why a read failed
	dog    *watchdog
}

// watch opens a stream whose every read must come to something within idle.
func watch(ctx context.Context, idle time.Duration, open func(context.Context) (io.ReadCloser, error)) (*watched, error) {
	ctx, dog := newWatchdog(ctx, idle)
	stream, err := open(ctx)
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

// causeOf returns why ctx ended, if it did, instead of what came of that.
func causeOf(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case cause == nil:
		return err
	case errors.Is(cause, ErrIdle), errors.Is(cause, ctx.Err()):
		return cause
	}
	return &endedError{cause: cause, err: ctx.Err()}
}

// endedError says why somebody ended a context. It is context.Canceled or context.DeadlineExceeded as well.
type endedError struct{ cause, err error }

func (e *endedError) Error() string   { return e.cause.Error() }
func (e *endedError) Unwrap() []error { return []error{e.cause, e.err} }
