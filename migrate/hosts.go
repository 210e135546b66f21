package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/registry"
)

// GivenUpError says that a registry was down, or had enough of us, for too long: nothing got through there in that time.
type GivenUpError struct {
	Host  string
	For   time.Duration
	Until time.Time // when the registry says to ask again, if that is too late
	Err   error     // what was wrong with it last
}

func (e *GivenUpError) Error() string {
	if !e.Until.IsZero() {
		return fmt.Sprintf("%s wants to be left alone until %s, and was given up: %v", e.Host, e.Until.Format(time.RFC3339), e.Err)
	}
	return fmt.Sprintf("nothing got through at %s for %v, and it was given up: %v", e.Host, e.For.Round(time.Second), e.Err)
}

// Unwrap returns what was wrong last.
func (e *GivenUpError) Unwrap() error { return e.Err }

// How long to wait between two tries of a registry that is down.
const (
	leastWait = time.Second
	mostWait  = 15 * time.Second
	// They are at most 1/30 and 1/10 of the time for which a registry may be down.
	partsLeast, partsMost = 30, 10
)

// hosts knows which registries of a run are down. While one is, caches wait, except for one at a time that tries.
type hosts struct {
	giveUp time.Duration
	alive  func(host string) bool // asks a registry whether it is up at all

	mu   sync.Mutex
	down map[string]*outage
	got  map[success]int
	last map[success]time.Time // when something last got through, even just a part of what was asked for
}

// success is something that a registry does while it is well: that it can be looked at says nothing about blobs.
type success struct {
	host string
	what deed
}

type deed int

const (
	looked deed = iota
	brought
)

// outage is a time while a registry is down.
type outage struct {
	since, next time.Time
	wait        time.Duration
	told        bool // the registry itself has said when next is
	givenUp     bool
	spared      bool  // before it was given up, it was asked whether it is up
	err         error // the last one
}

// trouble says whose fault an error is.
type trouble int

const (
	troubleOther trouble = iota // not about a registry that is down
	troubleOne                  // the registry is up, but can't do this one thing
	troubleHost                 // the registry is down, or has enough of us
)

// failed records an error. If the registry is up otherwise, its 5xx answer to one request says nothing about other requests.
func (h *hosts) failed(err error) trouble {
	failure, ok := registry.FailureOf(err)
	switch {
	case !ok || !failure.Down && !failure.Busy:
		return troubleOther
	case failure.Answered && h.alive != nil && h.alive(failure.Host):
		return troubleOne
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	o := h.down[failure.Host]
	if o == nil {
		o = &outage{since: now, wait: min(leastWait, h.giveUp/partsLeast)}
		if h.down == nil {
			h.down = map[string]*outage{}
		}
		h.down[failure.Host] = o
	}
	o.err = err
	if now.After(o.next) {
		o.next, o.wait, o.told = now.Add(o.wait), min(2*o.wait, mostWait, h.giveUp/partsMost), false
	}
	if told := now.Add(failure.RetryAfter); told.After(o.next) {
		o.next, o.told = told, true
	}
	return troubleHost
}

// patience counts the failures of one thing that is retried. A registry that is down costs it time, but none of its rounds; if
// the registry meanwhile does the same thing for others, it is not down.
type patience struct {
	rounds int
	since  time.Time // since when nothing got through: the first failure after something did
	seen   int       // successes of others
	last   trouble
	parts  map[digest.Digest]bool // parts of this one thing that got through
	passed bool                   // one of them did, since the last failure
}

// got records a part that got through. The same part again does not count, or a registry that loses everything would be tried forever.
func (p *patience) got(h *hosts, what deed, names []string, part digest.Digest) {
	if p.parts[part] {
		return
	}
	if p.parts == nil {
		p.parts = map[digest.Digest]bool{}
	}
	p.parts[part], p.passed = true, true
	h.pass(what, names)
}

// begin begins to track something that is asked of registries.
func (h *hosts) begin(what deed, names []string) *patience {
	return &patience{seen: h.successes(what, names)}
}

// failed records an error, and returns it, or a *GivenUpError if this has gone on for too long. As long as parts get through, however
// slowly, the thing will be finished some time, so it is tried again.
func (p *patience) failed(h *hosts, what deed, names []string, err error) error {
	p.last = h.failed(err)
	seen := h.successes(what, names)
	switch {
	case p.last == troubleHost && p.passed:
		p.rounds = 0
	case p.last != troubleHost || seen != p.seen:
		p.rounds++
	}
	p.seen, p.passed = seen, false
	now := time.Now()
	if through := h.through(what, names); through.After(p.since) && !p.since.IsZero() {
		p.since = through
	}
	switch {
	case p.last != troubleHost:
	case p.since.IsZero():
		p.since = now
	case now.Sub(p.since) > h.giveUp:
		failure, _ := registry.FailureOf(err)
		p.rounds = rounds
		return &GivenUpError{Host: failure.Host, For: now.Sub(p.since), Err: err}
	}
	return err
}

// isOver reports whether trying again is pointless.
func (p *patience) isOver() bool { return p.rounds >= rounds }

// through returns when something last got through at registries.
func (h *hosts) through(what deed, names []string) (last time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range names {
		last = latest(last, h.last[success{name, what}])
	}
	return last
}

func (h *hosts) successes(what deed, names []string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range names {
		n += h.got[success{name, what}]
	}
	return n
}

// well records that registries did what they were asked.
func (h *hosts) well(what deed, names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.got == nil {
		h.got = map[success]int{}
	}
	for _, name := range names {
		h.got[success{name, what}]++
	}
	h.are(what, names)
}

// pass records that a part of what was asked for got through at registries: they are not down, whatever becomes of the rest.
func (h *hosts) pass(what deed, names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.are(what, names)
}

// are records that registries are up. The caller holds the lock.
func (h *hosts) are(what deed, names []string) {
	if h.last == nil {
		h.last = map[success]time.Time{}
	}
	for _, name := range names {
		h.last[success{name, what}] = time.Now()
		if o := h.down[name]; o != nil && !o.givenUp {
			delete(h.down, name)
		}
	}
}

// wait waits while one of the registries is down, and fails with a *GivenUpError if that takes too long.
func (h *hosts) wait(ctx context.Context, names []string) error {
	for {
		left, err := h.left(names)
		var givenUp *GivenUpError
		if errors.As(err, &givenUp) && givenUp.Until.IsZero() && h.spare(givenUp.Host) {
			return nil
		}
		if err != nil || left <= 0 {
			return err
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// spare reports whether a registry that was down for too long is not given up after all: it answers, so perhaps it was only unable to
// do what it was asked all that time. Those that asked have failed; the others get as much time again.
func (h *hosts) spare(name string) bool {
	h.mu.Lock()
	o := h.down[name]
	asked := o == nil || o.spared
	h.mu.Unlock()
	alive := !asked && h.alive != nil && h.alive(name)
	h.mu.Lock()
	defer h.mu.Unlock()
	if o == nil || o.spared {
		return o == nil || !o.givenUp
	}
	if o.spared = true; alive {
		o.since, o.givenUp = time.Now(), false
	}
	return alive
}

// left returns how long to wait before trying again. Whoever may try now keeps others from it for a while.
func (h *hosts) left(names []string) (time.Duration, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	var left time.Duration
	for _, name := range names {
		o := h.down[name]
		if o == nil {
			continue
		}
		if err := o.over(name, now, h.giveUp); err != nil {
			return 0, err
		}
		left = max(left, o.left(now, h.giveUp))
	}
	if left <= 0 {
		for _, name := range names {
			if o := h.down[name]; o != nil {
				o.next, o.told = now.Add(o.wait), false
			}
		}
	}
	return left, nil
}

// left returns how long to wait before trying again, or giving up.
func (o *outage) left(now time.Time, giveUp time.Duration) time.Duration {
	return min(o.next.Sub(now), o.since.Add(giveUp).Sub(now)+time.Millisecond)
}

// over returns why a registry is given up, if it is.
func (o *outage) over(name string, now time.Time, giveUp time.Duration) error {
	tooLate := o.told && o.next.Sub(now) > giveUp
	if o.givenUp = o.givenUp || now.Sub(o.since) > giveUp || tooLate; !o.givenUp {
		return nil
	}
	e := &GivenUpError{Host: name, For: now.Sub(o.since), Err: o.err}
	if o.told && o.next.After(now) {
		e.Until = o.next
	}
	return e
}

// try does something at registries, and repeats it while one is down. If it succeeds, the registries are well.
func (h *hosts) try(ctx context.Context, names []string, do func() error) error {
	err := h.attempt(ctx, names, do)
	if err == nil {
		h.well(looked, names)
	}
	return err
}

// attempt is try for what may succeed without the registries.
func (h *hosts) attempt(ctx context.Context, names []string, do func() error) error {
	p := h.begin(looked, names)
	for {
		if err := h.wait(ctx, names); err != nil {
			return err
		}
		err := do()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		if err = p.failed(h, looked, names, err); p.isOver() || p.last == troubleOther {
			return err
		}
	}
}

// slots bound how many blobs are worked on at once, in the whole run and at each registry.
type slots struct {
	all chan struct{}
	of  map[string]chan struct{} // by host; other hosts have no bound of their own
}

func newSlots(jobs int, registries map[string]Registry) *slots {
	s := &slots{all: make(chan struct{}, jobs), of: map[string]chan struct{}{}}
	for host, r := range registries {
		if r.Transfers > 0 {
			s.of[host] = make(chan struct{}, r.Transfers)
		}
	}
	return s
}

// take returns a function that waits for a slot of each of the hosts, and then for one of the run. All callers take them in the same
// order, so that none of them wait for each other.
func (s *slots) take(names []string) func(context.Context) (func(), error) {
	var needed []chan struct{}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if slot := s.of[name]; slot != nil {
			needed = append(needed, slot)
		}
	}
	needed = append(needed, s.all)
	return func(ctx context.Context) (func(), error) {
		for i, slot := range needed {
			select {
			case slot <- struct{}{}:
			case <-ctx.Done():
				giveBack(needed[:i])
				return nil, context.Cause(ctx)
			}
		}
		return func() { giveBack(needed) }, nil
	}
}

func giveBack(slots []chan struct{}) {
	for _, slot := range slices.Backward(slots) {
		<-slot
	}
}
