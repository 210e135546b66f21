package layout

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
)

// EventKind says what an Event is about.
type EventKind int

// The kinds of events. EventPlan comes before work on several blobs, and may come again: plans add up. Then each
// blob gets one EventStart, any number of EventBytes and one EventDone.
const (
	EventPlan EventKind = iota
	EventStart
	EventBytes
	EventDone
	// EventRetry says that a request to a registry failed and will be retried. It is about no blob.
	EventRetry
)

// Event is progress on one blob, or a plan for several. Handlers are called from several goroutines at once, and must be quick.
type Event struct {
	Kind   EventKind
	Verb   string // what is done to the blob, such as "recompress"; at EventRetry: what is retried
	Digest digest.Digest
	Count  int           // at EventPlan: how many blobs; negative takes some back
	Total  int64         // at EventStart: the blob's size in bytes; at EventPlan: the size of all, negative as Count
	Bytes  int64         // at EventBytes: bytes done since the last event; negative if they have to be done again
	Err    error         // at EventDone: why it failed; at EventRetry: why the last attempt did
	Wait   time.Duration // at EventRetry: how long until the next attempt
}

// Handler receives events. A nil Handler drops them.
type Handler func(Event)

// Send calls the handler, unless it is nil.
func (h Handler) Send(e Event) {
	if h != nil {
		h(e)
	}
}

// Track sends the events of one blob around work. work reports the bytes that it has done through its argument, from any
// goroutine. Once it has succeeded, total bytes count as done, whatever it reported: a blob that was there already was
// not read, and one that was sent again was read more than once.
func (h Handler) Track(verb string, d digest.Digest, total int64, work func(done func(bytes int64)) error) error {
	var told atomic.Int64
	done := func(n int64) {
		if n != 0 {
			told.Add(n)
			h.Send(Event{Kind: EventBytes, Verb: verb, Digest: d, Bytes: n})
		}
	}
	h.Send(Event{Kind: EventStart, Verb: verb, Digest: d, Total: total})
	err := work(done)
	if err == nil {
		done(total - told.Load())
	}
	h.Send(Event{Kind: EventDone, Verb: verb, Digest: d, Err: err})
	return err
}

// Counted wraps open so that done is told of bytes as they are read, and so that reading stops with ctx. Opening again
// starts over: the bytes read so far are taken back with a negative number. A Dir can still copy a file without reading it here.
func Counted(ctx context.Context, open OpenFunc, done func(bytes int64)) OpenFunc {
	var told atomic.Int64
	return func() (io.ReadCloser, error) {
		if n := told.Swap(0); n != 0 {
			done(-n)
		}
		raw, err := open()
		if err != nil {
			return nil, err
		}
		return &countedReader{contextReader{ctx, raw}, func(n int64) {
			told.Add(n)
			done(n)
		}}, nil
	}
}

type countedReader struct {
	contextReader
	done func(bytes int64)
}

func (r *countedReader) Read(p []byte) (int, error) {
	n, err := r.contextReader.Read(p)
	if n > 0 {
		r.done(int64(n))
	}
	return n, err
}

// fileIn returns the file that r reads, or nil, and the function to report its bytes to.
func fileIn(r io.Reader) (file *os.File, done func(bytes int64)) {
	done = func(int64) {}
	if counted, ok := r.(*countedReader); ok {
		r, done = counted.raw, counted.done
	}
	file, _ = r.(*os.File)
	return file, done
}

// Effort is what the work took, as part of a result. Sizes are in bytes of layers.
type Effort struct {
	Read  int64 `json:"read"`  // from the source, to write or recompress it, and from the destination, to prove what it has
	Moved int64 `json:"moved"` // sent or written to the destination, in all attempts
	// Lost is how many of the moved bytes were not confirmed because an attempt broke off: they were sent again, or have to be.
	Lost  int64   `json:"lost,omitempty"`
	Saved int64   `json:"saved"`   // not written, because the destination had them or could link them
	Took  Seconds `json:"seconds"` // from start to end
}

// Plus adds up two efforts, except for their time: they may have overlapped.
func (e Effort) Plus(o Effort) Effort {
	e.Read, e.Moved, e.Lost, e.Saved = e.Read+o.Read, e.Moved+o.Moved, e.Lost+o.Lost, e.Saved+o.Saved
	return e
}

// Seconds is a duration that is a number of seconds in JSON, to the millisecond.
type Seconds time.Duration

// MarshalJSON writes the seconds.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(float64(time.Duration(s).Round(time.Millisecond).Milliseconds()) / 1000)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Seconds) UnmarshalJSON(data []byte) error {
	var seconds float64
	if err := json.Unmarshal(data, &seconds); err != nil {
		return err
	}
	*s = Seconds(time.Duration(seconds * float64(time.Second)).Round(time.Millisecond))
	return nil
}
