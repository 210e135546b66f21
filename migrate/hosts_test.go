package migrate

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// TestSlots says that a registry's bound is kept, and that nobody waits for ever.
func TestSlots(t *testing.T) {
	t.Parallel()
	s := newSlots(3, map[string]Registry{"a": {Transfers: 1}, "b": {Transfers: 2}, "c": {}})
	var all, atA, atB atomic.Int64
	var group sync.WaitGroup
	for n := range 200 {
		names := [][]string{{"a", "b"}, {"b", "a"}, {"c"}, {"b", "b"}, {"a"}, {}}[n%6]
		group.Go(func() {
			release, err := s.take(names)(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			counters := []*atomic.Int64{&all}
			for _, name := range names {
				if name == "a" {
					counters = append(counters, &atA)
				}
			}
			if len(names) > 0 && (names[0] == "b" || names[len(names)-1] == "b") {
				counters = append(counters, &atB)
			}
			for _, c := range counters {
				c.Add(1)
			}
			if all.Load() > 3 || atA.Load() > 1 || atB.Load() > 2 {
				t.Errorf("%d at once, %d at a, %d at b", all.Load(), atA.Load(), atB.Load())
			}
			for _, c := range counters {
				c.Add(-1)
			}
			release()
		})
	}
	group.Wait()
}

// TestSlotsInterrupted says that who stops waiting keeps nothing.
func TestSlotsInterrupted(t *testing.T) {
	t.Parallel()
	s := newSlots(1, map[string]Registry{"a": {Transfers: 1}})
	release, err := s.take(nil)(t.Context()) // the one slot of the run
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	stop(enough)
	if _, err := s.take([]string{"a"})(ctx); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
	release()
	if release, err = s.take([]string{"a"})(t.Context()); err != nil {
		t.Fatal(err)
	}
	release()
}
