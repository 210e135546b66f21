package registry_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
)

// TestGoneInMidBlob has a registry that breaks off in the middle of a blob and then answers nothing any more: that is an
// error, however often it is read on.
func TestGoneInMidBlob(t *testing.T) {
	t.Parallel()
	server := registrytest.New(t, registrytest.Options{})
	o := plain()
	o.Retries, o.Idle = 2, time.Second
	r := open(t, server, o)
	mustTransfer(t, many(t, 1), r)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	blob := buildcache.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := r.Put(t.Context(), blob, layout.OpenBytes(data)); err != nil {
		t.Fatal(err)
	}
	cut := server.Inject(registrytest.Fault{Method: http.MethodGet, Path: blob.Digest.Encoded(), CutAt: 0.5})
	server.Inject(registrytest.Fault{Method: http.MethodGet, Path: blob.Digest.Encoded(), Drop: true, Times: -1})
	raw, err := r.Open(t.Context(), blob)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(raw); err == nil || len(got) >= len(data) {
		t.Errorf("%d of %d bytes and no error", len(got), len(data))
	}
	for range 2 {
		if n, err := raw.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("read on after the end: %d bytes, %v", n, err)
		}
	}
	if err := raw.Close(); err != nil {
		t.Error(err)
	}
	if cut.Fired() != 1 {
		t.Errorf("the connection was cut %d times", cut.Fired())
	}
}
