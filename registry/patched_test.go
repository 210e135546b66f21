package registry_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// TestWrongRest has a connection break, and a registry give wrong bytes for the rest. That is damage only if the blob is as wrong in one
// piece.
func TestWrongRest(t *testing.T) {
	t.Parallel()
	_, from, layer, _ := zstdOf(t)
	for _, test := range []struct {
		name    string
		then    registrytest.Fault // what happens to all requests after the one for the rest
		damaged bool
	}{
		{name: "right in one piece"},
		{name: "never in one piece", then: registrytest.Fault{CutAt: 0.5, Times: -1}},
		{name: "wrong in one piece", then: registrytest.Fault{Flip: true, Times: -1}, damaged: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r, server := wrongRest(t, from, layer, 0, test.then)
			err := layout.ReadThrough(t.Context(), r, layer, func(int64) {})
			server.AssertFired(t)
			if errors.Is(err, layout.ErrBlobDamaged) != test.damaged || errors.Is(err, layout.ErrPatched) == test.damaged {
				t.Errorf("got %v, want damage: %v", err, test.damaged)
			}
		})
	}
	t.Run("not asked for again", func(t *testing.T) {
		t.Parallel()
		r, server := wrongRest(t, from, layer, 0, registrytest.Fault{})
		if err := layout.ReadThrough(t.Context(), r, layer, func(int64) {}); !errors.Is(err, layout.ErrPatched) {
			t.Errorf("the first time: %v", err)
		}
		server.Inject(registrytest.Fault{Method: http.MethodGet, Path: layer.Digest.String(), CutAt: 0.5})
		server.Forget()
		if err := layout.ReadThrough(t.Context(), r, layer, func(int64) {}); err != nil {
			t.Errorf("the second time: %v", err)
		}
		for _, request := range server.Requests() {
			if request.Status == http.StatusPartialContent {
				t.Error("the rest was asked for again")
			}
		}
	})
}

// wrongRest returns a repository with a cache, and has a layer break off once, after some requests, the rest be wrong, and then something
// happen.
func wrongRest(
	t *testing.T, from *layout.Dir, layer buildcache.Descriptor, skip int, then registrytest.Fault,
) (*registry.Repository, *registrytest.Server) {
	t.Helper()
	server := registrytest.New(t, registrytest.Options{})
	mustTransfer(t, from, open(t, server, plain()))
	faults := []registrytest.Fault{{CutAt: 0.5, Skip: skip}, {Flip: true, Skip: skip}}
	if then.Times != 0 {
		faults = append(faults, then)
	}
	for _, fault := range faults {
		fault.Method, fault.Path = http.MethodGet, layer.Digest.String()
		server.Inject(fault)
	}
	return open(t, server, plain()), server
}

// TestWrongRestIsKept repairs and verifies a cache over such a connection: nothing is called damaged, and nothing dropped, whether the
// layer is hashed or unpacked.
func TestWrongRestIsKept(t *testing.T) {
	t.Parallel()
	_, from, layer, _ := zstdOf(t)
	for _, test := range []struct {
		name string
		skip int // requests for the layer that pass first
	}{{"hashed", 0}, {"unpacked", 1}} {
		t.Run("repair, "+test.name, func(t *testing.T) {
			t.Parallel()
			r, server := wrongRest(t, from, layer, test.skip, registrytest.Fault{})
			result, err := convert.RepairCache(t.Context(), r, layouttest.Entry(t, r, "latest"), convert.RepairOptions{Write: true, Deep: true})
			server.AssertFired(t)
			if !errors.Is(err, layout.ErrPatched) || result.Written || len(result.Repairs) > 0 {
				t.Errorf("got %v, and %+v", err, result.Repairs)
			}
			if now := latestOf(t, server); now != layouttest.Entry(t, from, "latest").Descriptor.Digest {
				t.Errorf("the tag names %s", now)
			}
		})
	}
	t.Run("verify", func(t *testing.T) {
		t.Parallel()
		r, server := wrongRest(t, from, layer, 1, registrytest.Fault{}) // the first one is for its head
		problems, err := inspect.Verify(t.Context(), r, layouttest.Entry(t, r, "latest"), inspect.Options{Deep: true})
		server.AssertFired(t)
		if !errors.Is(err, layout.ErrPatched) {
			t.Errorf("got %v, and %+v", err, problems)
		}
	})
}
