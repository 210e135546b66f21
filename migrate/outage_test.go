package migrate_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/migrate"
)

// TestOneIsBroken says that a registry that can't serve one thing is not down: what can't be read fails, and nothing else.
func TestOneIsBroken(t *testing.T) {
	t.Parallel()
	for _, fault := range []registrytest.Fault{
		{Path: "/manifests/c$", Status: http.StatusInternalServerError},
		{Path: "/manifests/c$", Status: http.StatusBadGateway},
		{Path: "/manifests/c$", Status: http.StatusServiceUnavailable},
		{Path: "/manifests/c$", Status: http.StatusForbidden},
		{Path: "/manifests/c$", Drop: true},
	} {
		t.Run(strconv.Itoa(fault.Status), func(t *testing.T) {
			t.Parallel()
			b := newBench(t, registrytest.Options{}, registrytest.Options{})
			b.fill(t, "app", "artifact-gzip", "a", "b", "c", "d", "e")
			fault.Times = -1
			b.from.Inject(fault)
			s := b.run(t, "version: 1\nmigrations: [{source: FROM/app, target: TO/app}]")
			if s.Done != 4 || s.Failed+s.NotTried != 1 {
				t.Errorf("got %+v, %+v", s.Counts, s.Causes)
			}
		})
	}
}

// TestOutage says that a registry may be away for as long as it is waited for, and no longer.
func TestOutage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		fault    registrytest.Fault
		giveUp   time.Duration
		done     int
		notTried int
	}{
		{"out of service for a while", registrytest.Fault{Path: "/blobs/", Times: 2, Status: http.StatusServiceUnavailable}, time.Minute, 2, 0},
		{"cut for a while", registrytest.Fault{Path: "/blobs/", Times: 2, Drop: true}, time.Minute, 2, 0},
		{"busy for a while", registrytest.Fault{Path: "/blobs/", Times: 2, Status: http.StatusTooManyRequests}, time.Minute, 2, 0},
		{"out of service", registrytest.Fault{Path: "/blobs/", Times: -1, Status: http.StatusServiceUnavailable}, time.Second, 0, 2},
		{"busy", registrytest.Fault{Path: "/blobs/", Times: -1, Status: http.StatusTooManyRequests}, time.Second, 0, 2},
		{"away for hours", registrytest.Fault{Path: "/blobs/", Times: -1, Status: http.StatusServiceUnavailable, RetryAfter: "7200"}, time.Hour, 0, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, registrytest.Options{}, registrytest.Options{})
			b.fill(t, "app", "artifact-gzip", "a")
			b.fill(t, "app", "merge-small2-fresh", "b")
			b.to.Inject(test.fault)
			s := b.run(t, "version: 1\nmigrations: [{source: FROM/app, target: TO/app}]", func(o *migrate.Options) {
				o.GiveUp, o.Jobs = test.giveUp, 1
				o.Registry.Retries, o.Registry.Delay = -1, time.Millisecond
			})
			want(t, s, test.done, 0, 0, 0, test.notTried)
			b.to.AssertFired(t)
		})
	}
}

// TestBusyForEver says that a run waits no longer than it says for a registry that answers 429 to one kind of request, and does all
// else. Retries, and what stands in line for a pace that was halved again and again, are part of that time.
func TestBusyForEver(t *testing.T) {
	t.Parallel()
	const giveUp = 2 * time.Second
	for name, test := range map[string]struct {
		fault       registrytest.Fault
		compression string
		at          func(*bench) *registrytest.Server
	}{
		"begins no upload":   {registrytest.Fault{Method: http.MethodPost, Path: "/uploads/"}, "keep", target},
		"ends no upload":     {registrytest.Fault{Method: http.MethodPut, Path: "/uploads/"}, "keep", target},
		"takes no new blobs": {registrytest.Fault{Method: http.MethodPatch, Path: "/uploads/"}, "zstd", target},
		"looks for no blob":  {registrytest.Fault{Method: http.MethodHead, Path: "/blobs/"}, "keep", target},
		"takes no root":      {registrytest.Fault{Method: http.MethodPut, Path: "/manifests/"}, "keep", target},
		"gives no blob":      {registrytest.Fault{Method: http.MethodGet, Path: "/blobs/"}, "keep", func(b *bench) *registrytest.Server { return b.from }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, registrytest.Options{}, registrytest.Options{})
			b.fill(t, "app", "artifact-gzip", "a", "b", "c")
			b.fill(t, "app", "merge-small2-fresh", "d")
			test.fault.Times, test.fault.Status = -1, http.StatusTooManyRequests
			test.at(b).Inject(test.fault)
			start := time.Now()
			s := b.run(t, "version: 1\nmigrations: [{source: FROM/app, target: TO/app, compression: "+test.compression+"}]", func(o *migrate.Options) {
				o.GiveUp, o.Registry.Retries, o.Registry.Delay = giveUp, 0, 200*time.Millisecond
			})
			if took := time.Since(start); took < giveUp || took > 20*giveUp {
				t.Errorf("it took %v, and was to give up after %v", took, giveUp)
			}
			want(t, s, 0, 0, 0, 0, 4)
			for _, cause := range s.Causes {
				if cause.Cause != migrate.CauseBusy {
					t.Errorf("%+v", cause)
				}
			}
			test.at(b).AssertFired(t)
			test.at(b).Heal()
			want(t, b.run(t, "version: 1\nmigrations: [{source: FROM/app, target: TO/app, compression: "+test.compression+"}]"), 4, 0, 0, 0, 0)
		})
	}
}

func target(b *bench) *registrytest.Server { return b.to }
