package progress

import (
	"encoding/json"
	"io"
	"sync"

	"github.com/ocicache/ocicache/layout"
)

// line is one line of JSON. Bytes are the size of what is planned or started; progress within a blob is not shown.
type line struct {
	Event  string `json:"event"` // plan, start, done or retry
	Verb   string `json:"verb"`
	Digest string `json:"digest,omitempty"`
	Blobs  int    `json:"blobs,omitempty"`
	Bytes  int64  `json:"bytes,omitempty"`
	Error  string `json:"error,omitempty"`
	// Seconds is the time until a retry.
	Seconds layout.Seconds `json:"seconds,omitempty"`
}

func newJSON(w io.Writer) (layout.Handler, func()) {
	var mu sync.Mutex
	enc := json.NewEncoder(w)
	closed := false
	handle := func(e layout.Event) {
		l := line{Verb: e.Verb, Digest: e.Digest.String()}
		switch e.Kind {
		case layout.EventPlan:
			l.Event, l.Blobs, l.Bytes = "plan", e.Count, e.Total
		case layout.EventStart:
			l.Event, l.Bytes = "start", e.Total
		case layout.EventDone:
			l.Event = "done"
			if e.Err != nil {
				l.Error = e.Err.Error()
			}
		case layout.EventRetry:
			l.Event, l.Seconds = "retry", layout.Seconds(e.Wait)
			if e.Err != nil {
				l.Error = e.Err.Error()
			}
		case layout.EventBytes:
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if !closed {
			_ = enc.Encode(l) // progress that can't be shown does not stop the work
		}
	}
	return handle, func() {
		mu.Lock()
		defer mu.Unlock()
		closed = true
	}
}
