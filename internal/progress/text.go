package progress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// interval is the time between lines in a log.
const interval = 5 * time.Second

// text writes a line now and then about everything in progress, and if it has written one, a last line about how that ended.
type text struct {
	mu            sync.Mutex
	w             io.Writer
	trace, ended  bool
	shown         bool // a line was written
	verb          string
	blobs, count  int
	failed        map[digest.Digest]bool // blobs, except those that were only stopped, or have begun again
	bytes, total  int64
	done, stopped chan struct{}
}

func newText(w io.Writer, trace bool) (layout.Handler, func()) {
	t := &text{w: w, trace: trace, done: make(chan struct{}), stopped: make(chan struct{}), failed: map[digest.Digest]bool{}}
	go t.tick()
	return t.handle, func() {
		close(t.done)
		<-t.stopped
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.shown && !t.ended {
			t.print(t.outcome())
		}
		t.ended = true
	}
}

// outcome returns the word for how it ended.
func (t *text) outcome() string {
	switch {
	case len(t.failed) > 0:
		return "ended"
	case t.blobs < t.count:
		return "stopped"
	}
	return "done"
}

// finish counts a blob that is done, or has failed.
func (t *text) finish(blob digest.Digest, err error) {
	var stopped *parallel.StoppedError
	switch {
	case err == nil:
		t.blobs++
	case !errors.As(err, &stopped) && !errors.Is(err, context.Canceled):
		t.failed[blob] = true
	}
}

func (t *text) tick() {
	defer close(t.stopped)
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		select {
		case <-t.done:
			return
		case <-timer.C:
			t.show()
			timer.Reset(interval)
		}
	}
}

func (t *text) handle(e layout.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Kind {
	case layout.EventPlan:
		t.count += e.Count
		t.total += e.Total
		t.verb = e.Verb
	case layout.EventStart:
		t.verb = e.Verb
		delete(t.failed, e.Digest)
	case layout.EventBytes:
		t.bytes += e.Bytes
	case layout.EventDone:
		t.finish(e.Digest, e.Err)
	case layout.EventRetry:
		if !t.ended {
			fmt.Fprint(t.w, retryLine(e))
		}
	}
	if t.trace && !t.ended && (e.Kind == layout.EventStart || e.Kind == layout.EventDone) {
		t.printTrace(e)
	}
}

// show writes how far everything is.
func (t *text) show() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count > 0 {
		t.shown = true
		t.print(t.verb)
	}
}

func (t *text) print(what string) {
	failed := ""
	if len(t.failed) > 0 {
		failed = fmt.Sprintf(", %d failed", len(t.failed))
	}
	fmt.Fprintf(t.w, "ocicache: %s: %d of %d blobs%s, %s of %s\n", what, t.blobs, t.count, failed,
		humanize.Bytes(uint64(max(t.bytes, 0))), humanize.Bytes(uint64(max(t.total, 0))))
}

// retryLine says what is tried again, why, and when.
func retryLine(e layout.Event) string {
	why, _, _ := strings.Cut(fmt.Sprint(e.Err), "\n")
	return fmt.Sprintf("ocicache: %s; trying again in %.1f s\n", why, e.Wait.Seconds())
}

func (t *text) printTrace(e layout.Event) {
	switch {
	case e.Kind == layout.EventStart:
		fmt.Fprintf(t.w, "ocicache: debug: %s %s (%d bytes)\n", e.Verb, e.Digest, e.Total)
	case e.Err != nil:
		fmt.Fprintf(t.w, "ocicache: debug: %s %s: %v\n", e.Verb, e.Digest, e.Err)
	default:
		fmt.Fprintf(t.w, "ocicache: debug: %s %s: done\n", e.Verb, e.Digest)
	}
}
