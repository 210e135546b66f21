package registry_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/registrytest"
)

// TestEndlessAnswer has a registry say without end what is wrong with a request. Nobody reads more of it than an
// answer may have, and nobody asks again.
func TestEndlessAnswer(t *testing.T) {
	t.Parallel()
	from := made(t, buildcache.Gzip, []byte("one"), []byte("two"))
	for _, test := range []struct{ name, method, path string }{
		{"blob", http.MethodGet, "/blobs/"},
		{"begin of an upload", http.MethodPost, "/blobs/uploads/"},
		{"end of an upload", http.MethodPut, "/blobs/uploads/"},
		{"root that is written", http.MethodPut, "/manifests/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{})
			if test.method == http.MethodGet {
				mustTransfer(t, from, open(t, server, plain()))
			}
			server.Inject(registrytest.Fault{Method: test.method, Path: test.path, Status: http.StatusBadRequest, Endless: true})
			start := time.Now()
			var err error
			if test.method == http.MethodGet {
				_, err = transfer(t, open(t, server, plain()), layouttest.Create(t))
			} else {
				_, err = transfer(t, from, open(t, server, plain()))
			}
			if took := time.Since(start); err == nil || took > 20*time.Second {
				t.Errorf("it ended after %v with %v", took, err)
			}
			if err != nil && len(err.Error()) > 4<<10 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
			server.AssertFired(t)
		})
	}
}
