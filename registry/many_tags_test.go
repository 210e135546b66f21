package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
)

// manyTags is how many caches a migration has here.
const manyTags = 120

// fleet is a place with that many caches, in memory. Each shares one layer with all others and has one of its own.
type fleet struct {
	entries []layout.Entry
	blobs   map[digest.Digest][]byte
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{blobs: map[digest.Digest][]byte{}}
	put := func(mediaType string, raw []byte) buildcache.Descriptor {
		d := buildcache.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		f.blobs[d.Digest] = raw
		return d
	}
	shared := tarball(t, 0, 500)
	for i := range manyTags {
		root := assemble(t, put, buildcache.OCIIndex, buildcache.Uncompressed, shared, tarball(t, uint64(i+1), 200))
		f.entries = append(f.entries, layout.Entry{Tag: fmt.Sprintf("build-%03d", i), Descriptor: root})
	}
	return f
}

func (f *fleet) String() string { return "fleet" }

func (f *fleet) Entries(context.Context) ([]layout.Entry, error) { return f.entries, nil }

func (f *fleet) Has(_ context.Context, blob buildcache.Descriptor) (bool, error) {
	return f.blobs[blob.Digest] != nil, nil
}

func (f *fleet) Open(_ context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	return layout.OpenBytes(f.blobs[blob.Digest])()
}

// TestManyTags migrates many caches in one go: through a registry that fails now and then, interrupted in the
// middle, gone on with, and run once more for nothing.
func TestManyTags(t *testing.T) {
	t.Parallel()
	from := newFleet(t)
	server := registrytest.New(t, registrytest.Options{User: "ann", Password: "secret", Token: true})
	o := plain()
	o.Creds = "ann:secret"
	repository := open(t, server, o)
	options := convert.SyncOptions{Options: convert.Options{Form: buildcache.Artifact, Compression: buildcache.Gzip, Jobs: 4}}

	// Interrupted.
	ctx, interrupt := context.WithCancel(t.Context())
	half, seen := options, 0
	half.OnEntry = func(convert.SyncEntry) {
		if seen++; seen == manyTags/2 {
			interrupt()
		}
	}
	if _, err := convert.Sync(ctx, from, repository, half); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	entries, err := open(t, server, o).Entries(t.Context())
	if err != nil || len(entries) < manyTags/2 || len(entries) > manyTags/2+1 {
		t.Fatalf("%d tags after half of them: %v", len(entries), err)
	}

	// Gone on with, with faults that pass, and one cache whose tag can't be written.
	server.Forget()
	server.Inject(registrytest.Fault{Method: http.MethodPut, Path: "/manifests/build-100$", Status: 500, Times: -1})
	for i := range 12 {
		server.Inject(registrytest.Fault{Path: "/(blobs|manifests)/", Skip: 40 * i, Status: 503})
	}
	result, err := convert.Sync(t.Context(), from, open(t, server, o), options)
	if err != nil {
		t.Fatal(err)
	}
	server.AssertFired(t)
	skipped := 0
	for _, cache := range result.Caches {
		if cache.Skipped {
			skipped++
		}
		if failed := cache.From == "build-100"; failed != (cache.Err != nil) {
			t.Errorf("%s: %v", cache.From, cache.Err)
		}
	}
	if len(result.Caches) != manyTags || result.Failed != 1 || skipped != len(entries) {
		t.Errorf("%d caches, %d failed, %d skipped", len(result.Caches), result.Failed, skipped)
	}
	shared := 0
	for _, r := range server.Requests() {
		if r.Method == http.MethodPost && strings.Contains(r.Path, "/uploads/") && r.Status == http.StatusAccepted {
			shared++
		}
	}
	// One layer, one config and the retries of a few for each cache; the shared layer was there.
	if most := 2*(manyTags-len(entries)) + 40; shared > most {
		t.Errorf("%d uploads, want %d at most", shared, most)
	}

	// Run again: the one that failed, and nothing else.
	server.Heal()
	server.Forget()
	result, err = convert.Sync(t.Context(), from, open(t, server, o), options)
	if err != nil || result.Failed != 0 || result.Caches[100].Skipped {
		t.Errorf("again: %+v %v", result.Caches[100], err)
	}
	if n := server.Count(http.MethodPut, "/manifests/build-"); n != 1 {
		t.Errorf("%d tags were written, want 1", n)
	}
	server.Forget()
	result, err = convert.Sync(t.Context(), from, open(t, server, o), options)
	if err != nil || result.Moved != 0 || server.Count(http.MethodPut, "")+server.Count(http.MethodPost, "") != 0 {
		t.Errorf("for nothing: %d bytes, %v", result.Moved, err)
	}
}
