package registry_test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// delicate returns a cache whose root, if a bit is flipped at its very middle, is as good a root as before, but another
// one.
func delicate(t *testing.T) *layout.Dir {
	t.Helper()
	for layers := 1; layers < 40; layers++ {
		dir := many(t, layers)
		raw, err := os.ReadFile(rootPath(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		flipped := bytes.Clone(raw)
		flipped[len(raw)/2] ^= 1
		if _, err := buildcache.ParseRoot(flipped); err == nil {
			return dir
		}
	}
	t.Fatal("every root is broken by a bit")
	return nil
}

// TestFlippedRoot damages the root itself on its way here.
func TestFlippedRoot(t *testing.T) {
	t.Parallel()
	for _, times := range []int{1, -1} {
		server := registrytest.New(t, registrytest.Options{})
		from := delicate(t)
		mustTransfer(t, from, open(t, server, plain()))
		server.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/manifests/", Flip: true, Times: times})
		r, back := open(t, server, plain()), layouttest.Create(t)
		found, err := r.Resolve(t.Context(), "latest")
		if err == nil {
			if found.Descriptor.Digest != layouttest.Entry(t, from, "latest").Descriptor.Digest {
				t.Errorf("it is %s now", found.Descriptor.Digest)
			}
			_, err = convert.Convert(t.Context(), r, *found, back, "latest", convert.Options{})
		}
		if err != nil && !errors.Is(err, layout.ErrBlobDamaged) {
			t.Errorf("got %v", err)
		}
		if err == nil {
			wantBlobs(t, back, blobs(t, from, layouttest.Entry(t, from, "latest").Descriptor))
		}
		server.AssertFired(t)
	}
}

// TestTagMovesWhileRead moves a tag between the requests that read it: the result is the old cache or the new one, whole.
func TestTagMovesWhileRead(t *testing.T) {
	t.Parallel()
	for skip := range 4 {
		server := registrytest.New(t, registrytest.Options{})
		one, two := many(t, 3), many(t, 4)
		r := open(t, server, plain())
		mustTransfer(t, one, r)
		if _, err := convert.Convert(t.Context(), two, layouttest.Entry(t, two, "latest"), r, "other", convert.Options{}); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(rootPath(t, two))
		if err != nil {
			t.Fatal(err)
		}
		move := server.Inject(registrytest.Fault{Path: "/manifests/", Skip: skip, Before: func() {
			store(t, server, http.MethodPut, "/v2/"+cacheRepository+"/manifests/latest", buildcache.MediaTypeOCIManifest, raw)
		}})
		from, back := open(t, server, plain()), layouttest.Create(t)
		found, err := from.Resolve(t.Context(), "latest")
		if err != nil || found == nil {
			t.Fatal(found, err)
		}
		if _, err := convert.Convert(t.Context(), from, *found, back, "latest", convert.Options{}); err != nil {
			t.Fatal(err)
		}
		want := one
		if found.Descriptor.Digest == digest.FromBytes(raw) {
			want = two
		}
		wantBlobs(t, back, blobs(t, want, layouttest.Entry(t, want, "latest").Descriptor))
		if skip == 0 && move.Fired() != 1 {
			t.Error("the tag did not move")
		}
	}
}

// lastSteps is a registry with an old cache, and a new one to be pushed there.
func lastSteps(t *testing.T) (server *registrytest.Server, old, from *layout.Dir) {
	t.Helper()
	server = registrytest.New(t, registrytest.Options{})
	old, from = many(t, 1), many(t, 3)
	mustTransfer(t, old, open(t, server, plain()))
	return server, old, from
}

// TestTagNotWritten fails at the last step. The message says what the tag names.
func TestTagNotWritten(t *testing.T) {
	t.Parallel()
	const tag = "/manifests/latest$"
	short := plain()
	short.Retries, short.Idle = 1, 4*silence() // an eighth of it for the last look at the tag
	for what, fault := range map[string]registrytest.Fault{
		"500":     {Status: 500},
		"503":     {Status: 503},
		"429":     {Status: 429, RetryAfter: "1"},
		"403":     {Status: 403},
		"dropped": {Drop: true},
		"hangs":   {Hang: true},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			server, old, from := lastSteps(t)
			fault.Method, fault.Path, fault.Times = http.MethodPut, tag, -1
			server.Inject(fault)
			_, err := transfer(t, from, open(t, server, short))
			if err == nil || !strings.Contains(err.Error(), `the tag "latest" names `+layouttest.Entry(t, old, "latest").Descriptor.Digest.String()+" as before") {
				t.Errorf("got %v", err)
			}
			var auth *registry.AuthError
			if is := errors.As(err, &auth); is != (what == "403") {
				t.Errorf("about credentials: %v", is)
			}
			server.AssertFired(t)
			server.Heal()
			wantBack(t, server, old, plain())
		})
	}
	t.Run("new tag", func(t *testing.T) {
		t.Parallel()
		server := registrytest.New(t, registrytest.Options{})
		server.Inject(registrytest.Fault{Method: http.MethodPut, Path: tag, Times: -1, Status: 500})
		_, err := transfer(t, many(t, 1), open(t, server, short))
		if err == nil || !strings.Contains(err.Error(), `the tag "latest" is still not there`) {
			t.Errorf("got %v", err)
		}
		server.AssertFired(t)
	})
}

// TestTagPerhapsWritten loses the answer to the last request: either the tag can be read then, or the message says that
// nobody knows.
func TestTagPerhapsWritten(t *testing.T) {
	t.Parallel()
	const tag = "/manifests/latest$"
	short := plain()
	short.Retries = 1
	t.Run("written", func(t *testing.T) {
		t.Parallel()
		server, _, from := lastSteps(t)
		server.Inject(registrytest.Fault{Method: http.MethodPut, Path: tag, CutAt: 1, Times: 2})
		if _, err := transfer(t, from, open(t, server, short)); err != nil {
			t.Error(err)
		}
		server.AssertFired(t)
		wantBack(t, server, from, plain())
	})
	t.Run("unknown", func(t *testing.T) {
		t.Parallel()
		server, _, from := lastSteps(t)
		server.Inject(registrytest.Fault{Method: http.MethodPut, Path: tag, CutAt: 1, Before: func() {
			server.Inject(registrytest.Fault{Times: -1, Drop: true})
		}})
		_, err := transfer(t, from, open(t, server, short))
		if err == nil || !strings.Contains(err.Error(), `what the tag "latest" names now is unknown`) {
			t.Errorf("got %v", err)
		}
		server.AssertFired(t)
		server.Heal()
		wantBack(t, server, from, plain())
	})
	t.Run("not read back", func(t *testing.T) {
		t.Parallel()
		server, _, from := lastSteps(t)
		server.Inject(registrytest.Fault{Method: http.MethodPut, Path: tag, Before: func() {
			server.Inject(registrytest.Fault{Method: http.MethodHead, Times: -1, Status: 500})
			server.Inject(registrytest.Fault{Method: http.MethodGet, Times: -1, Status: 500})
		}, Delay: time.Millisecond})
		_, err := transfer(t, from, open(t, server, short))
		if err == nil || !strings.Contains(err.Error(), "the tag was written, but can't be read back") {
			t.Errorf("got %v", err)
		}
		server.Heal()
		wantBack(t, server, from, plain())
	})
}
