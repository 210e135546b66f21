package layout

import "github.com/opencontainers/go-digest"

// EventKind says what an Event tells.
type EventKind int

// The kinds of events. EventPlan comes before the work on several blobs. Then for each blob there is one EventStart,
// any number of EventBytes and one EventDone.
const (
	EventPlan EventKind = iota
	EventStart
	EventBytes
	EventDone
)

// Event is progress on one blob. Handlers are called from several goroutines at once, and must be quick.
type Event struct {
	Kind   EventKind
	Verb   string // what happens to the blob, such as "recompress"
	Digest digest.Digest
	Count  int   // at EventPlan: how many blobs
	Total  int64 // at EventStart: the blob's size in bytes; at EventPlan: that of all
	Bytes  int64 // at EventBytes: bytes done since the last event
	Err    error // at EventDone: why it failed
}

// Handler receives events. A nil handler is silence.
type Handler func(Event)

// Send passes an event on, if somebody listens.
func (h Handler) Send(e Event) {
	if h != nil {
		h(e)
	}
}

// Track sends the events of one blob around work: work reports the bytes it is done with to the function it gets.
func (h Handler) Track(verb string, d digest.Digest, total int64, work func(done func(bytes int64)) error) error {
	h.Send(Event{Kind: EventStart, Verb: verb, Digest: d, Total: total})
	err := work(func(n int64) { h.Send(Event{Kind: EventBytes, Verb: verb, Digest: d, Bytes: n}) })
	h.Send(Event{Kind: EventDone, Verb: verb, Digest: d, Err: err})
	return err
}
