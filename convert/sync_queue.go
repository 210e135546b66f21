package convert

import (
	"context"
	"errors"
	"iter"

	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// errStopped says that a cache is left out because one before it has failed.
var errStopped = errors.New("an earlier cache failed")

// turn keeps caches that are worked on at the same time in order: each is finished after the one before it.
type turn struct {
	before   *turn // nil for the first, and once it has ended
	ended    chan struct{}
	failed   bool // it was not tried, or failed; valid once ended is closed
	failFast bool
}

func (t *turn) next() *turn {
	return &turn{before: t, ended: make(chan struct{}), failed: true, failFast: t.failFast}
}

// end says that the cache is finished, so that the next one may be.
func (t *turn) end() {
	t.before = nil // else all turns so far would stay in memory
	close(t.ended)
}

// wait waits for the cache before, which was started earlier. It fails with errStopped if that one has failed and nothing is to
// follow it.
func (t *turn) wait(ctx context.Context) error {
	select {
	case <-t.before.ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if t.failFast && t.before.failed {
		return errStopped
	}
	return nil
}

// stops reports whether it is known already that nothing is to follow the cache.
func (t *turn) stops() bool {
	select {
	case <-t.ended:
		return t.failFast && t.failed
	default:
		return false
	}
}

// bringAll copies caches, several at once. It fails only if it is interrupted, or a place can't be asked any more.
func (s *syncer) bringAll(ctx context.Context, caches iter.Seq[*candidate], result *SyncResult) error {
	group, _ := parallel.New(ctx, s.atOnce())
	last := &turn{ended: make(chan struct{}), failFast: s.o.FailFast}
	last.end()
	var failed error
	for c := range caches {
		if failed = c.wait(ctx); failed != nil || last.stops() {
			break
		}
		t := last.next()
		last = t
		group.Go(func() error {
			defer t.end()
			return s.bringInTurn(ctx, c, t, result)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return failed
}

// bringInTurn copies a cache, and adds what became of it to the result when it is its turn.
func (s *syncer) bringInTurn(ctx context.Context, c *candidate, t *turn, result *SyncResult) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	with, err := s.begin(ctx, c.entry)
	if err != nil {
		return context.Cause(ctx)
	}
	return s.ended(ctx, t, s.bring(with, c, t.wait), result)
}

// ended records what became of a cache, in its turn, which comes soon if all are interrupted. What was copied counts, even if there was
// an interruption meanwhile; what failed because of that counts as interrupted.
func (s *syncer) ended(ctx context.Context, t *turn, became SyncEntry, result *SyncResult) error {
	<-t.before.ended
	if t.failFast && t.before.failed || errors.Is(became.Err, errStopped) {
		result.Effort = result.Plus(became.Effort)
		return context.Cause(ctx)
	}
	var interrupted error
	if became.Err != nil && ctx.Err() != nil {
		interrupted = context.Cause(ctx)
		became.Interrupted, became.Err, became.Error = true, interrupted, wordInterrupted
	}
	t.failed = became.Err != nil
	result.add(became, s.o.Keep)
	if s.o.OnEntry != nil {
		s.o.OnEntry(became)
	}
	return interrupted
}

// wordInterrupted is the error text for a cache that an interruption ended, in place of the errors that it caused.
const wordInterrupted = "interrupted"

// begin returns the context in which a cache is worked on, or why it is left out.
func (s *syncer) begin(ctx context.Context, entry layout.Entry) (context.Context, error) {
	if s.o.OnBegin == nil {
		return ctx, nil
	}
	with, err := s.o.OnBegin(ctx, entry)
	if err != nil {
		return ctx, err
	}
	return with, nil
}

// atOnce returns how many caches are worked on at once.
func (s *syncer) atOnce() int {
	if s.o.Compression != "" {
		return 1
	}
	return max(s.o.Parallel, 1)
}
