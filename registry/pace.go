package registry

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// pace keeps requests to one registry to what it can bear: they are not slowed down, up to a ceiling, until it says that there
// are too many. Then the rate is halved, and rises again slowly.
type pace struct {
	limiter *rate.Limiter
	ceiling rate.Limit
	// calm is how long after a halving the rate is not halved again, as answers to earlier requests still come in. It is also
	// the time over which requests are counted, and in which at least one may be sent.
	calm time.Duration

	mu      sync.Mutex
	since   time.Time // when sent began to count
	sent    int
	before  float64   // requests a second before that
	slowed  time.Time // when the rate was halved last
	blocked time.Time // until when the registry wants to be left alone
	refused [2]spell
}

// kind is what a request does: a registry may refuse one kind and serve the other.
type kind int

const (
	reading kind = iota
	writing
)

// spell is a time in which a registry does nothing of a kind, because it is busy or out of service.
type spell struct {
	since time.Time     // zero for none
	err   error         // what it said last
	eased chan struct{} // closed when it does something again
	// steady is since when it has refused without a gap, and last is when it refused last, or until when it wants to be left
	// alone.
	steady, last time.Time
}

// gap is how long nobody may ask for what is refused before it no longer counts as refused all the time.
const gap = time.Minute

// givenUp returns when a registry that refuses all the time is given up. It returns false if it is not.
func (s spell) givenUp(giveUp time.Duration) (time.Time, bool) {
	return s.steady.Add(giveUp), giveUp > 0 && !s.steady.IsZero() && time.Since(s.last) < gap
}

const (
	// With each request that is answered, the rate grows by a share of itself, and by some requests a second.
	share, some = 0.02, 0.5
	// free is the rate above which there is no limit any more.
	free = 2000
	// maxBlocked bounds the wait for a registry that wants to be left alone. If it asks for more, that is an error.
	maxBlocked = 5 * time.Minute
)

// newPace returns the pace of a registry that may be sent most requests a second, or any number if that is 0. delay is the wait
// before a first retry.
func newPace(most float64, delay time.Duration) *pace {
	p := &pace{ceiling: rate.Inf, calm: delay}
	if most > 0 {
		p.ceiling = rate.Limit(most)
	}
	p.limiter = rate.NewLimiter(p.ceiling, burst)
	return p
}

// burst is how many requests may be sent at once.
const burst = 8

// GivenUpError says that a registry did nothing for too long, because it was busy or out of service: see Options.GiveUp. The
// GivenUpError of package migrate is about a registry that may not even be there.
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

// LeaveAloneError says that a registry wants to be left alone for longer than we wait.
type LeaveAloneError struct{ For time.Duration }

func (e *LeaveAloneError) Error() string {
	return fmt.Sprintf("it asks to wait %v before the next request", e.For.Round(time.Second))
}

// wait waits until a request may be sent. It fails at once if that is after the context's deadline.
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

// follows counts a request that continues one that was answered. It does not wait, but those after it do.
func (p *pace) follows() {
	p.mu.Lock()
	p.sent++
	p.mu.Unlock()
	p.limiter.Reserve()
}

// refuses records that the registry did not do something, because it is busy or out of service.
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

// begins records that it has begun to do something. Whether it finishes will show later.
func (p *pace) begins(what kind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := &p.refused[what]; r.eased != nil {
		close(r.eased)
		r.eased = nil
	}
}

// serves records that it did something.
func (p *pace) serves(what kind) {
	p.begins(what)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refused[what] = spell{}
}

// refusing returns the spell in which the registry does nothing of a kind. It returns false if there is none, or if it may be
// over.
func (p *pace) refusing(what kind) (spell, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused[what], p.refused[what].eased != nil
}

// slow records that the registry is busy, and for how long at least it wants to be left alone, if it says so.
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
	if limit == rate.Inf { // half of the rate that was too much
		limit = rate.Limit(max(p.before, p.rate(now)))
	}
	p.limiter.SetLimit(max(limit/2, p.least()))
}

// least returns the rate at which halving stops.
func (p *pace) least() rate.Limit { return rate.Every(p.calm) }

// rate returns how many requests a second were sent lately.
func (p *pace) rate(now time.Time) float64 {
	return float64(p.sent) / max(now.Sub(p.since), p.calm).Seconds()
}

// well records that a request was answered, and raises the rate.
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

// sleep waits for d, or until ctx ends.
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
