package registry

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// pace keeps requests to one registry to what it bears: as many as there are, up to a ceiling, until it says that it has
// enough of them. Then the rate is halved, and rises again slowly.
type pace struct {
	limiter *rate.Limiter
	ceiling rate.Limit
	// calm is how long after a halving another one does nothing: answers to what was sent before it still come in. It is also
	// the time in which requests are counted, and in which one is sent at least.
	calm time.Duration

	mu      sync.Mutex
	since   time.Time // when sent began to count
	sent    int
	before  float64   // requests a second before that
	slowed  time.Time // when the rate was halved last
	blocked time.Time // until when the registry wants to be left alone
	refused [2]spell
}

// kind is what a request is about: a registry may have enough of one, and serve the other.
type kind int

const (
	reading kind = iota
	writing
)

// spell is the time in which a registry does nothing of a kind, as it has enough of requests or is out of service.
type spell struct {
	since time.Time     // zero for none
	err   error         // what it said last
	eased chan struct{} // closed when it does something again
	// steady is since when it has refused all the time: nobody asks for long, or it wants to be left alone, until last.
	steady, last time.Time
}

// gap is how long nobody may have asked for what is refused, for it to count as refused all the time.
const gap = time.Minute

// givenUp returns when a registry is given up that refuses all the time, and is false where it does not.
func (s spell) givenUp(giveUp time.Duration) (time.Time, bool) {
	return s.steady.Add(giveUp), giveUp > 0 && !s.steady.IsZero() && time.Since(s.last) < gap
}

const (
	// With each request that is answered, the rate grows by a share of it and by some.
	share, some = 0.02, 0.5
	// free is the rate from which there is no limit again.
	free = 2000
	// maxBlocked bounds how long one waits for a registry that wants to be left alone. Where it says more, there is an error.
	maxBlocked = 5 * time.Minute
)

// newPace returns the pace of a registry that is sent so many requests a second at most, or 0. What is asked again waits for
// delay.
func newPace(most float64, delay time.Duration) *pace {
	p := &pace{ceiling: rate.Inf, calm: delay}
	if most > 0 {
		p.ceiling = rate.Limit(most)
	}
	p.limiter = rate.NewLimiter(p.ceiling, burst)
	return p
}

// burst is how many requests go at once.
const burst = 8

// GivenUpError says that a registry did nothing for too long, as it had enough of requests or was out of service: see Options.GiveUp. That of
// package migrate is about a registry that may not even be there.
type GivenUpError struct {
	Host string
	For  time.Duration
	Err  error // what it said last
}

func (e *GivenUpError) Error() string {
	return fmt.Sprintf("it was busy or out of service for %v, and was given up: %v", e.For.Round(time.Second), e.Err)
}

// Unwrap returns what the registry said last.
func (e *GivenUpError) Unwrap() error { return e.Err }

// LeaveAloneError says that a registry wants to be left alone for longer than anybody waits.
type LeaveAloneError struct{ For time.Duration }

func (e *LeaveAloneError) Error() string {
	return fmt.Sprintf("it wants to be left alone for %v", e.For.Round(time.Second))
}

// wait waits until a request may be sent. It fails at once where that is after the context's end.
func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	left := time.Until(p.blocked)
	if now := time.Now(); now.Sub(p.since) > p.calm {
		p.before = p.rate(now)
		p.since, p.sent = now, 0
	}
	p.sent++
	p.mu.Unlock()
	if left > maxBlocked {
		return &LeaveAloneError{For: left}
	}
	if end, ok := ctx.Deadline(); ok && time.Until(end) < left {
		return context.DeadlineExceeded
	}
	if left > 0 {
		if err := sleep(ctx, left); err != nil {
			return err
		}
	}
	if err := p.limiter.Wait(ctx); err != nil {
		return causeOf(ctx, err)
	}
	return nil
}

// follows says that a request is sent that belongs to one that was answered, and does not wait: those after it do.
func (p *pace) follows() {
	p.mu.Lock()
	p.sent++
	p.mu.Unlock()
	p.limiter.Reserve()
}

// refuses says that the registry did not do something, as it has enough of requests or is out of service.
func (p *pace) refuses(what kind, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &p.refused[what]
	now := time.Now()
	if r.err = err; r.since.IsZero() {
		r.since = now
	}
	if now.Sub(r.last) >= gap {
		r.steady = now
	}
	r.last = later(now, p.blocked)
	if r.eased == nil {
		r.eased = make(chan struct{})
	}
}

// begins says that it has begun to do something. Whether it does it shows later.
func (p *pace) begins(what kind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := &p.refused[what]; r.eased != nil {
		close(r.eased)
		r.eased = nil
	}
}

// serves says that it did something.
func (p *pace) serves(what kind) {
	p.begins(what)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused[what] = spell{}
}

// refusing returns the spell in which the registry does nothing of a kind, and is false where there is none, or it may be over.
func (p *pace) refusing(what kind) (spell, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused[what], p.refused[what].eased != nil
}

// slow says that the registry has enough: of requests, and for how long at least, where it says so.
func (p *pace) slow(retryAfter time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if until := now.Add(retryAfter); until.After(p.blocked) {
		p.blocked = until
	}
	if now.Sub(p.slowed) < p.calm {
		return
	}
	p.slowed = now
	limit := p.limiter.Limit()
	if limit == rate.Inf { // half of what it had enough of
		limit = rate.Limit(max(p.before, p.rate(now)))
	}
	p.limiter.SetLimit(max(limit/2, p.least()))
}

// least is the rate that halving stops at.
func (p *pace) least() rate.Limit { return rate.Every(p.calm) }

// rate is how many requests a second were sent of late.
func (p *pace) rate(now time.Time) float64 {
	return float64(p.sent) / max(now.Sub(p.since), p.calm).Seconds()
}

// well says that a request was answered.
func (p *pace) well() {
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := p.limiter.Limit()
	if limit >= p.ceiling {
		return
	}
	if limit += limit*share + some; limit > free {
		limit = rate.Inf
	}
	p.limiter.SetLimit(min(limit, p.ceiling))
}

// sleep waits, unless ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return causeOf(ctx, ctx.Err())
	}
}
