package convert

import (
	"context"
	"errors"

	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// errStopped says that a cache is left out because one before it has failed.
var errStopped = errors.New("a cache before this one has failed")

// queue keeps caches that are worked on at the same time in their order: each is done with after the one before it.
type queue struct {
	failFast bool
	done     []*SyncEntry // nil for one that was not tried
	ended    []chan struct{}
}

func newQueue(caches int, failFast bool) *queue {
	q := &queue{failFast: failFast, done: make([]*SyncEntry, caches), ended: make([]chan struct{}, caches)}
	for i := range q.ended {
		q.ended[i] = make(chan struct{})
	}
	return q
}

// wait waits for the cache before the i-th, which has begun before it. It fails with errStopped where that one has failed and
// nothing is to come behind it.
func (q *queue) wait(ctx context.Context, i int) error {
	if i == 0 {
		return nil
	}
	select {
	case <-q.ended[i-1]:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if q.failFast && (q.done[i-1] == nil || q.done[i-1].Err != nil) {
		return errStopped
	}
	return nil
}

// bringAll brings caches over, several at once. It fails only where it is interrupted.
func (s *syncer) bringAll(ctx context.Context, entries []layout.Entry, result *SyncResult) error {
	q := newQueue(len(entries), s.o.FailFast)
	group, _ := parallel.New(ctx, s.atOnce())
	for i, entry := range entries {
		group.Go(func() error {
			defer close(q.ended[i])
			ctx, err := s.begin(ctx, entry)
			if err != nil {
				return context.Cause(ctx)
			}
			became := s.bring(ctx, entry, func(ctx context.Context) error { return q.wait(ctx, i) })
			if err := q.wait(ctx, i); err != nil || errors.Is(became.Err, errStopped) {
				return context.Cause(ctx)
			}
			if err := context.Cause(ctx); err != nil && became.Err != nil {
				return err // and not the cache's fault
			}
			q.done[i] = &became
			if s.o.OnEntry != nil {
				s.o.OnEntry(became)
			}
			return nil
		})
	}
	err := group.Wait()
	for _, became := range q.done {
		if became != nil {
			result.add(*became)
		} else {
			result.NotTried++
		}
	}
	return err
}

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
