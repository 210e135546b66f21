package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/registry"
)

// TestGetsThrough says that what gets through sets back the clock of giving up, and nothing else does: neither what is sent once more,
// nor time.
func TestGetsThrough(t *testing.T) {
	t.Parallel()
	const host, giveUp = "127.0.0.1:1", 20 * time.Second
	repository, err := registry.Open(host+"/x", registry.Options{Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	_, down := repository.Entries(t.Context())
	if failure, ok := registry.FailureOf(down); !ok || !failure.Down {
		t.Fatal(down)
	}
	synctest.Test(t, func(t *testing.T) {
		h, names := &hosts{giveUp: giveUp}, []string{host}
		p, other := h.begin(brought, names), h.begin(brought, names)
		part := func(n int) { p.got(h, brought, names, digest.FromString(fmt.Sprint(n))) }
		var givenUp *GivenUpError
		for n := range 30 {
			if err := h.wait(t.Context(), names); err != nil {
				t.Fatal(err)
			}
			time.Sleep(giveUp / 2)
			part(n)
			time.Sleep(giveUp / 4)
			if err := other.failed(h, brought, names, down); errors.As(err, &givenUp) {
				t.Fatalf("another was given up: %v", err)
			}
			if err := p.failed(h, brought, names, down); errors.As(err, &givenUp) || p.isOver() {
				t.Fatalf("it was given up after %d parts: %v", n, err)
			}
		}
		last := time.Now()
		for !p.isOver() {
			time.Sleep(giveUp / 8)
			part(29)
			if err := p.failed(h, brought, names, down); p.isOver() && (!errors.As(err, &givenUp) || time.Since(last) > 2*giveUp) {
				t.Errorf("after %v: %v", time.Since(last), err)
			}
		}
		if givenUp.For < giveUp || givenUp.For > 2*giveUp {
			t.Errorf("it says %v", givenUp)
		}
	})
}

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
