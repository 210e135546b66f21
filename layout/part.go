package layout

import (
	"maps"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Part returns a handler for one part of the work that a larger plan covers: announced is what that plan has for
// the part. Plans that the part sends are taken to be included in it, and only what exceeds it is passed on. end ends
// the part: what is not done by then is taken back, because it was not needed or has failed.
func (h Handler) Part(announced Event) (part Handler, end func()) {
	p := h.NewPart(announced)
	return p.Begin(), func() { p.End(true) }
}

// Part is one part of the work that a larger plan covers. It may take several attempts, but its work is announced only once,
// and so is each blob that is done. A nil Part reports to nobody.
type Part struct {
	whole Handler
	verb  string

	mu sync.Mutex
	// planned is everything announced so far, unplanned the part of it that this attempt hasn't planned yet, undone what remains to be
	// done.
	planned, unplanned, undone amount
	// done are the blobs that earlier attempts finished, now those of this attempt, and begun the bytes of those that failed.
	done, now map[deed]bool
	begun     map[deed]int64
}

// deed is something done to a blob.
type deed struct {
	verb string
	blob digest.Digest
}

func deedOf(e Event) deed { return deed{e.Verb, e.Digest} }

// amount is a number of blobs and their bytes.
type amount struct {
	count int
	bytes int64
}

func amountOf(plan Event) amount { return amount{plan.Count, plan.Total} }

// NewPart returns a part for which announced was sent.
func (h Handler) NewPart(announced Event) *Part {
	if h == nil {
		return nil
	}
	of := amountOf(announced)
	return &Part{whole: h, verb: announced.Verb, planned: of, undone: of, done: map[deed]bool{}, now: map[deed]bool{}, begun: map[deed]int64{}}
}

// Begin starts an attempt, and returns the handler for it.
func (p *Part) Begin() Handler {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unplanned = p.planned
	maps.Copy(p.done, p.now)
	clear(p.now)
	return p.handle
}

// End ends an attempt. If that ends the part, what isn't done is taken back, as nobody will do it. Otherwise it remains to be done.
func (p *Part) End(over bool) {
	if p == nil || !over {
		return
	}
	p.mu.Lock()
	left := p.undone
	p.undone, p.unplanned, p.planned = amount{}, amount{}, amount{}
	p.mu.Unlock()
	if left != (amount{}) {
		p.whole(Event{Kind: EventPlan, Verb: p.verb, Count: -left.count, Total: -left.bytes})
	}
}

func (p *Part) handle(e Event) {
	for _, e := range p.told(e) {
		p.whole(e)
	}
}

// told records an event, and returns the events to pass on to the handler of the whole.
func (p *Part) told(e Event) []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := deedOf(e)
	if e.Kind != EventPlan && e.Kind != EventRetry && p.done[d] {
		return nil
	}
	switch e.Kind {
	case EventPlan:
		return p.plan(e)
	case EventStart:
		if n := p.begun[d]; n != 0 { // it failed, and starts over
			p.undone.bytes += n
			delete(p.begun, d)
			return []Event{{Kind: EventBytes, Verb: e.Verb, Digest: e.Digest, Bytes: -n}, e}
		}
	case EventBytes:
		p.undone.bytes -= e.Bytes
		p.begun[d] += e.Bytes
	case EventDone:
		if e.Err == nil {
			p.undone.count--
			p.now[d] = true
			delete(p.begun, d)
		}
	case EventRetry:
	}
	return []Event{e}
}

// plan returns the part of a plan that was not announced yet.
func (p *Part) plan(e Event) []Event {
	within := amount{min(e.Count, p.unplanned.count), min(e.Total, p.unplanned.bytes)}
	p.unplanned.count -= within.count
	p.unplanned.bytes -= within.bytes
	e.Count -= within.count
	e.Total -= within.bytes
	p.undone.count += e.Count
	p.undone.bytes += e.Total
	p.planned.count += e.Count
	p.planned.bytes += e.Total
	if amountOf(e) == (amount{}) {
		return nil
	}
	return []Event{e}
}
