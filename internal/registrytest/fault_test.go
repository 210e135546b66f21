package registrytest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/internal/registrytest"
)

// stored starts a registry with one blob in it.
func stored(t *testing.T) (c *client, blob []byte, path string) {
	t.Helper()
	c = newClient(t, registrytest.New(t, registrytest.Options{}))
	blob = bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	if status, err := c.push(blob); status != http.StatusCreated || err != nil {
		t.Fatal(status, err)
	}
	return c, blob, "/v2/team/cache/blobs/" + digest.FromBytes(blob).String()
}

func TestFaultStatus(t *testing.T) {
	t.Parallel()
	c, blob, path := stored(t)
	late := c.server.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/", Skip: 1, Times: 2, Status: 429, RetryAfter: "7"})
	want := []int{200, 429, 429, 200}
	for i, want := range want {
		status, header, body, err := c.try(http.MethodGet, path, "", nil)
		if err != nil || status != want {
			t.Errorf("request %d: %d %v, want %d", i, status, err, want)
		}
		if after := header.Get("Retry-After"); (want == 429) != (after == "7") {
			t.Errorf("request %d: Retry-After %q", i, after)
		}
		if want == 200 && !bytes.Equal(body, blob) || want == 429 && !strings.Contains(string(body), "TOOMANYREQUESTS") {
			t.Errorf("request %d: %d bytes", i, len(body))
		}
	}
	if got := late.Fired(); got != 2 {
		t.Errorf("it happened %d times", got)
	}
	c.server.AssertFired(t)
	if got := c.server.Count(http.MethodGet, "/blobs/"); got != 4 {
		t.Errorf("the log has %d requests", got)
	}
	c.server.Inject(registrytest.Fault{Times: -1, Status: 503})
	for range 3 {
		if status, _ := c.do(http.MethodGet, "/v2/", "", nil); status != 503 {
			t.Errorf("got %d", status)
		}
	}
	c.server.Heal()
	if status, _ := c.do(http.MethodGet, "/v2/", "", nil); status != 200 {
		t.Errorf("healed, and %d", status)
	}
}

func TestFaultCutsDownloads(t *testing.T) {
	t.Parallel()
	c, blob, path := stored(t)
	for _, at := range []float64{0.25, 0.5, 0.75} {
		c.server.Inject(registrytest.Fault{Method: http.MethodGet, Path: "/blobs/", CutAt: at})
		_, _, body, err := c.try(http.MethodGet, path, "", nil)
		if want := int(at * float64(len(blob))); !errors.Is(err, io.ErrUnexpectedEOF) || len(body) != want || !bytes.HasPrefix(blob, body) {
			t.Errorf("cut at %v: %d bytes, %v, want %d", at, len(body), err, want)
		}
	}
	if _, _, body, err := c.try(http.MethodGet, path, "", nil); err != nil || !bytes.Equal(body, blob) {
		t.Errorf("afterwards: %d bytes, %v", len(body), err)
	}
	c.server.AssertFired(t)
}

func TestFaultCutsUploads(t *testing.T) {
	t.Parallel()
	for _, at := range []float64{0.25, 0.5, 0.75, 1} {
		c := newClient(t, registrytest.New(t, registrytest.Options{}))
		blob := bytes.Repeat([]byte("x"), 1<<20)
		c.server.Inject(registrytest.Fault{Method: http.MethodPatch, CutAt: at})
		if status, err := c.push(blob); err == nil {
			t.Errorf("cut at %v: %d", at, status)
		}
		if status, err := c.push(blob); err != nil || status != http.StatusCreated {
			t.Errorf("cut at %v, then: %d %v", at, status, err)
		}
		c.server.AssertFired(t)
	}
	// Of an answer that is lost the registry knows nothing: it has the manifest.
	c, _, _ := stored(t)
	raw := c.manifest("artifact")
	c.server.Inject(registrytest.Fault{Method: http.MethodPut, Path: "/manifests/", CutAt: 1})
	if status, _, _, err := c.try(http.MethodPut, "/v2/team/cache/manifests/v1", "application/vnd.oci.image.manifest.v1+json", raw); err == nil {
		t.Errorf("an answer: %d", status)
	}
	c.header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	if status, _ := c.do(http.MethodGet, "/v2/team/cache/manifests/v1", "", nil); status != http.StatusOK {
		t.Errorf("the manifest is not there: %d", status)
	}
	c.server.AssertFired(t)
}

// TestFaultCutsUnknownLengths cuts an upload that does not say how long it is.
func TestFaultCutsUnknownLengths(t *testing.T) {
	t.Parallel()
	arrived := make(chan string, 1)
	server := registrytest.Serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		arrived <- fmt.Sprintf("%s, %v", got, err)
	}))
	server.Inject(registrytest.Fault{Method: http.MethodPatch, CutAt: 0.5})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, server.URL, io.MultiReader(strings.NewReader("12345678")))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err == nil {
		_ = response.Body.Close()
		t.Errorf("got %s", response.Status)
	}
	if got := <-arrived; got != "1234, unexpected EOF" {
		t.Errorf("%q arrived", got)
	}
	server.AssertFired(t)
}

func TestFaultDamages(t *testing.T) {
	t.Parallel()
	c, blob, path := stored(t)
	c.server.Inject(registrytest.Fault{Path: "/blobs/", Flip: true})
	_, _, body, err := c.try(http.MethodGet, path, "", nil)
	differ := 0
	for i := range body {
		if body[i] != blob[i] {
			differ++
		}
	}
	if err != nil || len(body) != len(blob) || differ != 1 || body[len(body)/2] == blob[len(blob)/2] {
		t.Errorf("%d of %d bytes differ, %v", differ, len(body), err)
	}
	c.server.Inject(registrytest.Fault{Path: "/blobs/", Length: 5})
	if _, _, body, err := c.try(http.MethodGet, path, "", nil); !errors.Is(err, io.ErrUnexpectedEOF) || len(body) != len(blob) {
		t.Errorf("promised too much: %d bytes, %v", len(body), err)
	}
	c.server.Inject(registrytest.Fault{Path: "/blobs/", Length: -5})
	if _, _, body, err := c.try(http.MethodGet, path, "", nil); err != nil || len(body) != len(blob)-5 {
		t.Errorf("promised too little: %d bytes, %v", len(body), err)
	}
	c.server.Inject(registrytest.Fault{Method: http.MethodHead, Path: "/blobs/", Length: 5})
	if _, header, _, err := c.try(http.MethodHead, path, "", nil); err != nil || header.Get("Content-Length") != "262149" {
		t.Errorf("%v, %v", header, err)
	}
	c.server.AssertFired(t)
}

func TestFaultNoAnswer(t *testing.T) {
	t.Parallel()
	c, _, path := stored(t)
	c.server.Inject(registrytest.Fault{Path: "/blobs/", Drop: true})
	if _, _, _, err := c.try(http.MethodGet, path, "", nil); !errors.Is(err, io.EOF) {
		t.Errorf("dropped: %v", err)
	}
	ctx, leave := context.WithCancel(t.Context())
	c.server.Inject(registrytest.Fault{Path: "/blobs/", Hang: true, Before: leave})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.http.Do(request)
	if err == nil {
		err = response.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("hanging: %v", err)
	}
	moved := false
	c.server.Inject(registrytest.Fault{Path: "/blobs/", Delay: time.Millisecond, Before: func() { moved = true }})
	if status, _ := c.do(http.MethodGet, path, "", nil); status != http.StatusOK || !moved {
		t.Errorf("late: %d, %v", status, moved)
	}
	c.server.AssertFired(t)
	if log := c.server.Requests(); log[len(log)-3].Status != 0 || log[len(log)-1].Status != 200 {
		t.Errorf("%v", log)
	}
}

// TestFaultHangsToTheEnd checks that a request that hangs does not keep the test from ending.
func TestFaultHangsToTheEnd(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	t.Run("hang", func(t *testing.T) {
		server := registrytest.Lenient(t)
		asked := make(chan struct{})
		server.Inject(registrytest.Fault{Method: http.MethodPut, Hang: true, Before: func() { close(asked) }})
		go func() {
			request, err := http.NewRequest(http.MethodPut, server.URL+"/v2/a/manifests/b", strings.NewReader("{}"))
			if err == nil {
				var response *http.Response
				if response, err = http.DefaultClient.Do(request); err == nil {
					err = response.Body.Close()
				}
			}
			ended <- err
		}()
		<-asked
	})
	if err := <-ended; err == nil {
		t.Error("it got an answer")
	}
}

func TestFaultLosesUploads(t *testing.T) {
	t.Parallel()
	c, _, _ := stored(t)
	_, header, _, err := c.try(http.MethodPost, "/v2/team/cache/blobs/uploads/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	c.server.Inject(registrytest.Fault{Method: http.MethodPatch, LoseUpload: true})
	for range 2 { // it stays lost
		if status, body := c.do(http.MethodPatch, header.Get("Location"), "application/octet-stream", []byte("x")); status != 404 || !strings.Contains(body, "BLOB_UPLOAD_UNKNOWN") {
			t.Errorf("%d %s", status, body)
		}
	}
	if status, err := c.push([]byte("another")); status != http.StatusCreated || err != nil {
		t.Errorf("another upload: %d %v", status, err)
	}
	c.server.AssertFired(t)
}

// silent is a test that may fail.
type silent struct {
	testing.TB
	failed int
}

func (s *silent) Helper()               {}
func (s *silent) Errorf(string, ...any) { s.failed++ }

func TestAssertFired(t *testing.T) {
	t.Parallel()
	c, _, path := stored(t)
	c.server.Inject(registrytest.Fault{Path: "/nowhere/", Status: 500})
	c.server.Inject(registrytest.Fault{Path: "/blobs/", Times: 2, Status: 500})
	c.server.Inject(registrytest.Fault{Path: "/v2/$", Times: -1, Status: 500})
	check := func(want int) {
		t.Helper()
		s := &silent{}
		c.server.AssertFired(s)
		if s.failed != want {
			t.Errorf("%d faults count as missing, want %d", s.failed, want)
		}
	}
	check(3)
	c.do(http.MethodGet, path, "", nil)
	c.do(http.MethodGet, "/v2/", "", nil)
	check(2)
	c.do(http.MethodGet, path, "", nil)
	check(1)
}
