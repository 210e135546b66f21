package progress

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/ocicache/ocicache/layout"
)

// interval is how often a line goes to a log.
const interval = 5 * time.Second

// text writes a line now and then, about everything that is under way.
type text struct {
	mu            sync.Mutex
	w             io.Writer
	trace, ended  bool
	verb          string
	blobs, count  int
	bytes, total  int64
	done, stopped chan struct{}
}

func newText(w io.Writer, trace bool) (layout.Handler, func()) {
	t := &text{w: w, trace: trace, done: make(chan struct{}), stopped: make(chan struct{})}
	go t.tick()
	return t.handle, func() {
		close(t.done)
		<-t.stopped
		t.mu.Lock()
		defer t.mu.Unlock()
		t.ended = true
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
			t.print()
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
	case layout.EventBytes:
		t.bytes += e.Bytes
	case layout.EventDone:
		t.blobs++
	}
	if t.trace && !t.ended && (e.Kind == layout.EventStart || e.Kind == layout.EventDone) {
		t.printTrace(e)
	}
}

func (t *text) print() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count == 0 {
		return
	}
	fmt.Fprintf(t.w, "ocicache: %s: %d of %d blobs, %s of %s\n", t.verb, t.blobs, t.count,
		humanize.Bytes(uint64(max(t.bytes, 0))), humanize.Bytes(uint64(max(t.total, 0))))
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
