package registry

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// TestPace halves the rate when the registry has enough, raises it again, and waits as long as the registry wants.
func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPace(0, DefaultDelay)
		for range 2000 { // 100 a second
			time.Sleep(10 * time.Millisecond)
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.well()
		}
		if p.limiter.Limit() != rate.Inf {
			t.Errorf("without a word: %v", p.limiter.Limit())
		}
		p.slow(3 * time.Second)
		p.slow(0) // from the same moment
		if got := p.limiter.Limit(); got < 40 || got > 60 {
			t.Errorf("after a 429: %v, want half of 100", got)
		}
		start := time.Now()
		if err := p.wait(t.Context()); err != nil || time.Since(start) < 3*time.Second {
			t.Errorf("waited %v for Retry-After (%v)", time.Since(start), err)
		}
		for range 20 {
			time.Sleep(2 * time.Second)
			p.slow(0)
		}
		if got := p.limiter.Limit(); got != 1 {
			t.Errorf("after a storm: %v", got)
		}
		start = time.Now()
		for range 500 {
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.well()
		}
		if took := time.Since(start); took > 30*time.Second || p.limiter.Limit() != rate.Inf {
			t.Errorf("500 requests after the storm took %v, the limit is %v", took, p.limiter.Limit())
		}
	})
}

// TestPaceHasACeiling keeps to the rate that the user gave, and ends with the context.
func TestPaceHasACeiling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPace(10, DefaultDelay)
		start := time.Now()
		for range 108 {
			if err := p.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.well()
		}
		if took := time.Since(start).Round(time.Second); took != 10*time.Second {
			t.Errorf("100 requests at 10 a second took %v", took)
		}
		p.slow(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		p.slow(time.Hour)
		var alone *LeaveAloneError
		if err := p.wait(t.Context()); !errors.As(err, &alone) || alone.For.Round(time.Minute) != time.Hour {
			t.Errorf("for an hour: got %v", err)
		}
	})
}

// TestGivenUp says that a registry is given up only where it was asked all the time, and refused: one word of it is nothing to go by when
// nobody has asked since.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPace(0, DefaultDelay)
		refused := func(long time.Duration) bool {
			for begun := time.Now(); time.Since(begun) < long; time.Sleep(gap / 2) {
				p.refuses(writing, errNoUser)
			}
			s, _ := p.refusing(writing)
			end, gives := s.givenUp(DefaultGiveUp)
			return gives && time.Now().After(end)
		}
		if refused(gap) {
			t.Error("given up at once")
		}
		time.Sleep(2 * DefaultGiveUp)
		if refused(gap) {
			t.Error("given up for what it said long ago")
		}
		if !refused(DefaultGiveUp) {
			t.Error("not given up")
		}
		p.serves(writing)
		if refused(gap) {
			t.Error("given up though it served")
		}
	})
}
