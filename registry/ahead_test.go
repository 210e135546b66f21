package registry_test

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// TestSyncAhead says that a sync by tags asks both registries at the same time: for their lists, and for roots; and that it asks each for a
// root once, where all is there, and for little else. It has both registries wait for one another.
func TestSyncAhead(t *testing.T) {
	t.Parallel()
	fleet := newFleet(t)
	fleet.entries = fleet.entries[:40]
	tags := len(fleet.entries)
	from, to := registrytest.New(t, registrytest.Options{}), registrytest.New(t, registrytest.Options{})
	for _, server := range []*registrytest.Server{from, to} {
		fill(t, fleet, server)
		server.Forget()
	}
	for _, path := range []string{"/tags/list", "/manifests/build-"} {
		asked, other := make(chan struct{}), make(chan struct{})
		meet := func(mine, theirs chan struct{}) func() {
			once := sync.OnceFunc(func() { close(mine) })
			return func() {
				once()
				select {
				case <-theirs:
				case <-time.After(time.Minute):
					t.Errorf("%s: the other registry is not asked meanwhile", path)
				}
			}
		}
		from.Inject(registrytest.Fault{Method: http.MethodGet, Path: path, Before: meet(asked, other)})
		to.Inject(registrytest.Fault{Method: http.MethodGet, Path: path, Before: meet(other, asked)})
	}
	o := plain()
	o.Hosts = &registry.Hosts{}
	src, dst := open(t, from, o), open(t, to, o)
	result, err := convert.Sync(t.Context(), src, dst, convert.SyncOptions{Tags: src.Tags, Parallel: 4})
	if err != nil || result.Failed > 0 || len(result.Caches) != tags || result.NotTried != 0 {
		t.Fatalf("%+v, %v", result, err)
	}
	for i, cache := range result.Caches {
		if cache.From != fleet.entries[i].Tag || !cache.Skipped || cache.ToDigest != cache.FromDigest {
			t.Errorf("%d: %+v", i, cache)
		}
	}
	from.AssertFired(t)
	to.AssertFired(t)
	for _, server := range []*registrytest.Server{from, to} {
		if roots, all := server.Count(http.MethodGet, "/manifests/"), server.Count("", ""); roots != tags || all > tags*11/10 {
			t.Errorf("%d roots were asked for, and %d requests sent", roots, all)
		}
	}
}

// fill brings a fleet to a registry, as artifacts.
func fill(t *testing.T, fleet *fleet, server *registrytest.Server) {
	t.Helper()
	o := convert.SyncOptions{Options: convert.Options{Form: buildcache.Artifact}, Parallel: 8}
	result, err := convert.Sync(t.Context(), fleet, open(t, server, plain()), o)
	if err == nil {
		err = result.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestSyncByTags says what becomes of tags that can't be brought over.
func TestSyncByTags(t *testing.T) {
	t.Parallel()
	fleet := newFleet(t)
	fleet.entries = fleet.entries[:6]
	from, to := registrytest.New(t, registrytest.Options{}), registrytest.New(t, registrytest.Options{})
	fill(t, fleet, from)
	sync := func(o convert.SyncOptions) (*convert.SyncResult, error) {
		t.Helper()
		src := open(t, from, plain())
		o.Tags = src.Tags
		return convert.Sync(t.Context(), src, open(t, to, plain()), o)
	}
	// Neither the one that can't be served nor the one that names nothing stops others.
	from.Inject(registrytest.Fault{Path: "/manifests/build-001$", Times: -1, Status: http.StatusInternalServerError})
	from.Inject(registrytest.Fault{Path: "/manifests/build-003$", Times: -1, Status: http.StatusNotFound, Code: "MANIFEST_UNKNOWN"})
	result, err := sync(convert.SyncOptions{})
	if err != nil || result.Failed != 2 || len(result.Caches) != 6 || result.NotTried != 0 {
		t.Fatalf("%+v, %v", result, err)
	}
	if !errors.Is(result.Err(), layout.ErrListedOnly) || result.Caches[5].From != "build-003" {
		t.Error(result.Err())
	}
	// What is not known at the destination is not replaced; with FailFast nothing comes behind it.
	from.Heal()
	to.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/manifests/build-002$", Times: -1, Status: http.StatusInternalServerError})
	result, err = sync(convert.SyncOptions{FailFast: true})
	if err != nil || result.Failed != 1 || len(result.Caches) != 3 || result.NotTried != 3 {
		t.Errorf("%+v, %v", result, err)
	}
	// Where nothing can be read, it is not about one.
	from.Inject(registrytest.Fault{Path: "/manifests/", Times: -1, Status: http.StatusInternalServerError})
	if result, err := sync(convert.SyncOptions{}); err == nil || result != nil {
		t.Errorf("%+v, %v", result, err)
	}
	from.Heal()
	from.Inject(registrytest.Fault{Path: "/manifests/", Times: -1, Status: http.StatusUnauthorized})
	if result, err := sync(convert.SyncOptions{}); err == nil || result != nil {
		t.Errorf("%+v, %v", result, err)
	}
}

// TestGiveUp says that a registry that is always busy, or out of service, is waited for as long as is said, and then asked for nothing more.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]registrytest.Fault{
		"busy":                {Status: http.StatusTooManyRequests},
		"out of service":      {Status: http.StatusServiceUnavailable},
		"to be left alone":    {Status: http.StatusTooManyRequests, RetryAfter: "60"},
		"alone for very long": {Status: http.StatusTooManyRequests, RetryAfter: "6000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{})
			fault.Path, fault.Times = "/tags/list", -1
			server.Inject(fault)
			const giveUp = time.Second
			o := plain()
			o.GiveUp, o.Retries, o.Hosts = giveUp, 1<<20, &registry.Hosts{}
			r := open(t, server, o)
			begun := time.Now()
			if _, err := r.Tags(t.Context()); err == nil {
				t.Fatal("no error")
			}
			if took := time.Since(begun); took > 10*giveUp {
				t.Errorf("it took %v", took)
			}
			var givenUp *registry.GivenUpError
			var err error
			for givenUp == nil && time.Since(begun) < 20*giveUp {
				_, err = r.Tags(t.Context())
				errors.As(err, &givenUp)
			}
			if givenUp == nil || givenUp.Host != server.Host || !o.Hosts.HasGivenUp(server.Host) {
				t.Fatalf("got %v", err)
			}
			if failure, ok := registry.FailureOf(err); !ok || !failure.Busy && !failure.Down {
				t.Errorf("%+v of %v", failure, err)
			}
			server.Forget()
			if _, err := r.Tags(t.Context()); !errors.As(err, &givenUp) || server.Count("", "") != 0 {
				t.Errorf("%d requests, and %v", server.Count("", ""), err)
			}
		})
	}
}
