package migrate_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/migrate"
)

// TestSpent says that what failed attempts have sent is counted, in the run and in the state, and that it is not said to have been there.
func TestSpent(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a")
	var mu sync.Mutex
	var planned, done int64
	plan := "version: 1\nmigrations: [{source: FROM/app, target: TO/app}]"
	b.to.Inject(registrytest.Fault{Method: http.MethodPut, Path: "/uploads/", Skip: 3, Times: -1, Status: http.StatusInternalServerError})
	first := b.run(t, plan, func(o *migrate.Options) {
		o.Jobs = 1
		o.OnEvent = func(e layout.Event) {
			mu.Lock()
			defer mu.Unlock()
			switch e.Kind {
			case layout.EventPlan:
				planned += e.Total
			case layout.EventBytes:
				done += e.Bytes
			case layout.EventStart, layout.EventDone, layout.EventRetry:
			}
		}
	})
	want(t, first, 0, 0, 0, 1, 0)
	if first.Moved == 0 || first.Saved != 0 || done >= planned {
		t.Errorf("moved %d, saved %d, told %d of %d bytes", first.Moved, first.Saved, done, planned)
	}
	total := planned
	b.to.Heal()
	second := b.run(t, plan)
	want(t, second, 1, 0, 0, 0, 0)
	r := migrate.NewReport(b.state)
	if r.Moved != first.Moved+second.Moved || r.Moved-r.Lost != total || r.Saved != 0 || second.Saved != 0 || r.Unmeasured != 0 {
		t.Errorf("%d bytes of layers, moved %d and %d: got %+v", total, first.Moved, second.Moved, r)
	}
	var sent int64
	for _, step := range r.Throughput {
		sent += step.Bytes
	}
	if sent != r.Moved || r.Slowest[0].Moved != r.Moved {
		t.Errorf("%d in steps, slowest %+v", sent, r.Slowest)
	}
}

// TestReadTwice says that what a file and a log both say counts once.
func TestReadTwice(t *testing.T) {
	t.Parallel()
	took := func(event migrate.Event, moved int64) migrate.Record {
		r := record(event, "x")
		r.Moved, r.Lost, r.Took = moved, moved/2, layout.Seconds(time.Second)
		return r
	}
	lines := log(t, 0, 1, begins(""), record(migrate.EventBegun, "x"), took(migrate.EventFailed, 10), record(migrate.EventBegun, "x"), took(migrate.EventInterrupted, 30),
		record(migrate.EventBegun, "x"))
	for _, logs := range [][]*bytes.Buffer{{lines}, {lines, lines}} {
		if r := reportOf(t, logs...); r.Moved != 40 || r.Lost != 20 || r.Interrupted != 1 || r.Unmeasured != 1 {
			t.Errorf("of %d: %+v", len(logs), r)
		}
	}
}

// TestRunAndReportAgree says that a run and the report of its state count alike: what failed, what was interrupted, what is left.
func TestRunAndReportAgree(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a", "b", "c", "d")
	b.from.Inject(registrytest.Fault{Path: "/app/manifests/b", Times: -1, Status: http.StatusForbidden})
	ctx, stop := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	b.to.Inject(registrytest.Fault{Method: http.MethodPut, Path: "/uploads/", Skip: 2, Times: -1, Hang: true, Before: func() { stop(enough) }})
	s, err := migrate.Run(ctx, b.plan(t, "FROM/app TO/app"), migrate.Options{Registry: insecure(), Jobs: 1, Parallel: 1, Record: func(r migrate.Record) error {
		b.state.Add(r)
		return nil
	}})
	if !errors.Is(err, enough) || !s.Stopped {
		t.Fatalf("%+v, %v", s, err)
	}
	r := migrate.NewReport(b.state)
	if r.Caches != 4 || s.Planned != 4 || s.Failed != 1 || s.Interrupted != 1 || s.NotTried != 2 || s.Left() != 4 || s.Moved == 0 {
		t.Errorf("the run: %+v, %d bytes", s.Counts, s.Moved)
	}
	if r.NotTried != s.NotTried || r.Failed != s.Failed || r.Interrupted != s.Interrupted || r.Done != s.Done || r.Moved != s.Moved {
		t.Errorf("the run: %+v; the report: %+v", s.Counts, r)
	}
}

// TestCausesCount says in the groups of causes what the counts say.
func TestCausesCount(t *testing.T) {
	t.Parallel()
	b := newBench(t, registrytest.Options{}, registrytest.Options{})
	b.fill(t, "app", "artifact-gzip", "a", "b")
	s := b.run(t, "version: 1\nmigrations: [{source: FROM/app, target: 'docker://127.0.0.1:1/app'}]")
	if s.NotTried != 2 || s.Failed != 0 || len(s.Causes) != 1 || s.Causes[0].InWords() != "2 not tried" {
		t.Errorf("%+v, %+v", s.Counts, s.Causes)
	}
}
