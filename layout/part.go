package layout

import (
	"maps"
	"sync"

	"github.com/opencontainers/go-digest"
)

// Part returns a handler for one part of the work that a larger plan was sent for: announced is what that plan has for
// the part. Plans that the part sends are taken to be included in it, and only what exceeds it is passed on. end says
// that the part is over: what is not done by then is taken back, because it was not needed or has failed.
func (h Handler) Part(announced Event) (part Handler, end func()) {
	p := h.NewPart(announced)
	return p.Begin(), func() { p.End(true) }
}

// Part is one part of the work that a larger plan was sent for, which may take several attempts: what there is to do is told once,
// and so is each blob that is done. nil is a part that nobody hears of.
type Part struct {
	whole Handler
	verb  string

	mu sync.Mutex
	// planned is all that was told to be done so far, unplanned what of it the attempt has not planned yet, undone what is to be done
	// still.
	planned, unplanned, undone amount
	// done are the blobs that earlier attempts are done with, now those of this one, and begun the bytes of those that have failed.
	done, now map[deed]bool
	begun     map[deed]int64
}

// deed is something that is done with a blob.
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

// NewPart returns a part, for which announced was sent.
func (h Handler) NewPart(announced Event) *Part {
	if h == nil {
		return nil
	}
	of := amountOf(announced)
	return &Part{whole: h, verb: announced.Verb, planned: of, undone: of, done: map[deed]bool{}, now: map[deed]bool{}, begun: map[deed]int64{}}
}

// Begin begins an attempt, and returns the handler for it.
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

// End ends an attempt. Where the part is over with it, what is not done is taken back, as nobody will do it; else it stays to be done.
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

// told takes an event in, and returns what is new of it for who hears of the whole.
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
		if n := p.begun[d]; n != 0 { // it has failed, and is done again from its beginning
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

// plan returns what of a plan is not included in what was told.
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
