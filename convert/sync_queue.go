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

// turn keeps caches that are worked on at the same time in their order: each is done with after the one before it.
type turn struct {
	before   *turn // nil for the first, and where it has ended
	ended    chan struct{}
	failed   bool // it was not tried, or failed; for those who saw it end
	failFast bool
}

func (t *turn) next() *turn {
	return &turn{before: t, ended: make(chan struct{}), failed: true, failFast: t.failFast}
}

// end says that the cache is done with, so that the next one may be.
func (t *turn) end() {
	t.before = nil // or all that there were would be kept
	close(t.ended)
}

// wait waits for the cache before, which has begun before. It fails with errStopped where that one has failed and nothing is to come
// behind it.
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

// stops reports whether it is known already that nothing is to come behind the cache.
func (t *turn) stops() bool {
	select {
	case <-t.ended:
		return t.failFast && t.failed
	default:
		return false
	}
}

// bringAll brings caches over, several at once. It fails only where it is interrupted, or a place can't be asked any more.
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

// bringInTurn brings a cache over, and adds what became of it to the result when it is its turn.
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

// ended takes note of what became of a cache, in its turn, which comes soon where all are interrupted. What is there is there, whatever
// was interrupted meanwhile; what is not, and failed for that, is not the cache's fault.
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

// wordInterrupted is what is said of a cache that an interruption ended, in place of what came of that.
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

// atOnce is how many caches are worked on at once.
func (s *syncer) atOnce() int {
	if s.o.Compression != "" {
		return 1
	}
	return max(s.o.Parallel, 1)
}
