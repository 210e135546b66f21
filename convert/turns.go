package convert

import (
	"context"
	"sync"

	"github.com/opencontainers/go-digest"
)

// turns make those who need the same blob wait for one another, so that the second finds what the first has brought.
// nil lets everybody go at once.
type turns struct {
	mu    sync.Mutex
	taken map[digest.Digest]chan struct{}
}

// take waits until it is the caller's turn, which ends with done.
func (t *turns) take(ctx context.Context, blob digest.Digest) (done func(), err error) {
	if t == nil {
		return func() {}, nil
	}
	for {
		t.mu.Lock()
		before, ok := t.taken[blob]
		if !ok {
			mine := make(chan struct{})
			if t.taken == nil {
				t.taken = map[digest.Digest]chan struct{}{}
			}
			t.taken[blob] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				defer t.mu.Unlock()
				delete(t.taken, blob)
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-before:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// promises are blobs that a dry run has said would be there by then. nil remembers none.
type promises struct {
	mu    sync.Mutex
	blobs map[digest.Digest]bool
}

// make promises a blob, and reports whether it was promised before.
func (p *promises) make(blob digest.Digest) (before bool) {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	before = p.blobs[blob]
	if p.blobs == nil {
		p.blobs = map[digest.Digest]bool{}
	}
	p.blobs[blob] = true
	return before
}
