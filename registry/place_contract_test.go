package registry_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// kinds are the registries that a place must be the same in. What they refuse is tested elsewhere.
var kinds = map[string]func(testing.TB) *registrytest.Server{
	"strict": func(tb testing.TB) *registrytest.Server {
		return registrytest.New(tb, registrytest.Options{TakesLists: true})
	},
	"lenient": registrytest.Lenient,
}

// eachKind runs a test with each of them.
func eachKind(t *testing.T, test func(t *testing.T, server *registrytest.Server)) {
	t.Helper()
	for name, start := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t))
		})
	}
}

// TestCorpus sends every real cache there and back.
func TestCorpus(t *testing.T) {
	t.Parallel()
	names, err := os.ReadDir(filepath.Join("..", "testdata", "caches"))
	if err != nil {
		t.Fatal(err)
	}
	server := registrytest.New(t, registrytest.Options{TakesLists: true})
	whole, sent, roots := open(t, server, plain()), 0, map[string]bool{}
	for _, name := range names {
		dir, err := layout.Open(filepath.Join("..", "testdata", "caches", name.Name()), layout.Options{})
		if err != nil {
			t.Fatal(err)
		}
		found, err := layout.Survey(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if f.Kind != layout.KindCache {
				continue
			}
			tag := name.Name() + "." + f.Tag
			roots[f.Descriptor.Digest.String()] = true
			result, err := convert.Convert(t.Context(), dir, f, whole, tag, convert.Options{Jobs: 4})
			if err != nil {
				t.Errorf("%s: %v", tag, err)
				continue
			}
			if result.To.Digest != f.Descriptor.Digest || result.Tag != tag || !result.Unchanged {
				t.Errorf("%s: %+v", tag, result)
			}
			wantSame(t, open(t, server, plain()), tag, blobs(t, dir, f.Descriptor))
			sent++
		}
	}
	if sent < 8 {
		t.Errorf("%d caches were sent", sent)
	}
	// Whatever the form, entries are blobs.
	for _, r := range server.Requests() {
		_, which, _ := strings.Cut(r.Path, "/manifests/")
		if r.Status == http.StatusNotFound && strings.HasPrefix(which, "sha256:") && !roots[which] {
			t.Errorf("it was asked for a manifest that is none: %s %s", r.Method, r.Path)
		}
	}
}

// wantSame reads every blob of a cache from a place, verified, and compares it.
func wantSame(t *testing.T, src layout.Source, tag string, want map[digest.Digest]string) {
	t.Helper()
	cache, err := layout.Load(t.Context(), src, layouttest.Entry(t, src, tag))
	if err != nil {
		t.Error(err)
		return
	}
	got := map[digest.Digest]string{digest.FromBytes(cache.RawRoot): string(cache.RawRoot)}
	for _, blob := range append(cache.Root.Layers, cache.Root.Config) {
		raw, err := layout.ReadBlob(t.Context(), src, blob, 1<<30)
		if err != nil {
			t.Error(err)
		}
		got[blob.Digest] = string(raw)
	}
	if !maps.Equal(got, want) {
		t.Errorf("%s: %d blobs came back, want %d, or other bytes", tag, len(got), len(want))
	}
}

// TestNothingThere looks at a repository that does not exist.
func TestNothingThere(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, server *registrytest.Server) {
		for _, tag := range []string{"", "latest"} {
			r := open(t, server, plain())
			if entries, err := r.Entries(t.Context()); err != nil || len(entries) != 0 {
				t.Errorf("%v %v", entries, err)
			}
			if found, err := r.Resolve(t.Context(), "latest"); err != nil || found != nil {
				t.Errorf("%v %v", found, err)
			}
			var missing *layout.NotFoundError
			if _, err := layout.OneCache(t.Context(), r, tag); !errors.As(err, &missing) {
				t.Errorf("got %v", err)
			}
		}
		r := open(t, server, plain())
		blob := blobOf("not there")
		root := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: blob.Digest, Size: blob.Size}
		for _, d := range []buildcache.Descriptor{blob, root} {
			if has, err := r.Has(t.Context(), d); has || err != nil {
				t.Errorf("%s: %v %v", d.MediaType, has, err)
			}
		}
		if _, err := r.Open(t.Context(), root); !errors.Is(err, layout.ErrBlobMissing) {
			t.Errorf("got %v", err)
		}
	})
}

// TestBlobs stores and finds blobs, with and without a known digest.
func TestBlobs(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, server *registrytest.Server) {
		r := open(t, server, plain())
		blob, empty := blobOf("some bytes"), blobOf("")
		for d, raw := range map[*buildcache.Descriptor]string{&blob: "some bytes", &empty: ""} {
			if err := r.Put(t.Context(), *d, layout.OpenBytes([]byte(raw))); err != nil {
				t.Fatalf("%q: %v", raw, err)
			}
			if has, err := r.Has(t.Context(), *d); !has || err != nil {
				t.Errorf("%q: %v %v", raw, has, err)
			}
			other := *d
			other.Size++
			if has, err := r.Has(t.Context(), other); has || err != nil {
				t.Errorf("%q with another size: %v %v", raw, has, err)
			}
		}
		server.Forget()
		never := func() (io.ReadCloser, error) { return nil, errors.New("opened in vain") }
		if err := r.Put(t.Context(), blob, never); err != nil {
			t.Error(err)
		}
		wantRequests(t, server, map[string]int{"HEAD blobs": 0, "POST uploads": 0})

		raw := string(noise(1, 300_000))
		got, err := r.Ingest(t.Context(), func(w io.Writer) error {
			for part := range slices.Chunk([]byte(raw), 7000) {
				if _, err := w.Write(part); err != nil {
					return err
				}
			}
			return nil
		})
		if want := blobOf(raw); err != nil || got.Digest != want.Digest || got.Size != want.Size {
			t.Fatalf("%+v %v", got, err)
		}
		if has, err := r.Has(t.Context(), blobOf(raw)); !has || err != nil {
			t.Errorf("%v %v", has, err)
		}
	})
}

// TestOpenWants says what a reader needs before it can read blobs, and that it gets the very bytes then.
func TestOpenBlob(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, server *registrytest.Server) {
		from := many(t, 3)
		mustTransfer(t, from, open(t, server, plain()))
		e := layouttest.Entry(t, from, "latest")
		r := open(t, server, plain())
		if got := layouttest.Entry(t, r, "latest"); got.Descriptor.Digest != e.Descriptor.Digest || got.Descriptor.Size != e.Descriptor.Size ||
			got.Descriptor.MediaType != e.Descriptor.MediaType || got.Tag != "latest" {
			t.Errorf("%+v, want %+v", got, e)
		}
		for d, raw := range blobs(t, from, e.Descriptor) {
			blob := buildcache.Descriptor{Digest: d, Size: int64(len(raw)), MediaType: buildcache.MediaTypeConfig}
			if d == e.Descriptor.Digest {
				blob.MediaType = e.Descriptor.MediaType
			}
			if got, err := layout.ReadBlob(t.Context(), r, blob, 1<<20); err != nil || string(got) != raw {
				t.Errorf("%s: %d bytes, %v", d, len(got), err)
			}
		}
		_, err := r.Open(t.Context(), blobOf("not there"))
		var missing *layout.BlobError
		if !errors.As(err, &missing) || !errors.Is(err, layout.ErrBlobMissing) || !strings.Contains(err.Error(), server.Host) {
			t.Errorf("got %v", err)
		}
		// A root is found by its digest, whatever the tags name.
		other := many(t, 2)
		mustTransfer(t, other, open(t, server, plain())) // takes latest
		one, err := layout.FindDigest(t.Context(), r, e.Descriptor.Digest)
		if err != nil || one.Descriptor.Digest != e.Descriptor.Digest || one.Kind != layout.KindCache {
			t.Errorf("by digest: %+v, %v", one, err)
		}
	})
}

// TestWrongBytes pushes what is not what it says to be.
func TestWrongBytes(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, server *registrytest.Server) {
		r := open(t, server, plain())
		for what, raw := range map[string]string{"altered": "some bytEs", "cut": "some", "long": "some bytes and more"} {
			err := r.Put(t.Context(), blobOf("some bytes"), layout.OpenBytes([]byte(raw)))
			var blob *layout.BlobError
			if !errors.As(err, &blob) || !errors.Is(err, layout.ErrBlobDamaged) && !errors.Is(err, layout.ErrBlobSize) {
				t.Errorf("%s: got %v", what, err)
			}
			for _, stored := range []string{"some bytes", raw} {
				if has, err := r.Has(t.Context(), blobOf(stored)); has || err != nil {
					t.Errorf("%s: %q is there: %v %v", what, stored, has, err)
				}
			}
		}
		if n := server.Count(http.MethodPost, "/uploads/"); n != 3 {
			t.Errorf("wrong bytes were sent %d times, want 3: they do not get better", n)
		}
		broken := errors.New("the disk is broken")
		err := r.Put(t.Context(), blobOf("some bytes"), func() (io.ReadCloser, error) { return nil, broken })
		if !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		if _, err := r.Ingest(t.Context(), func(w io.Writer) error {
			_, err := io.WriteString(w, "half of")
			return errors.Join(err, broken)
		}); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
		if has, err := r.Has(t.Context(), blobOf("half of")); has || err != nil {
			t.Errorf("half of a blob is there: %v %v", has, err)
		}
	})
}

// TestDamagedSource pushes a cache with a damaged layer.
func TestDamagedSource(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, server *registrytest.Server) {
		old := many(t, 2)
		mustTransfer(t, old, open(t, server, plain()))
		from := many(t, 5)
		e := layouttest.Entry(t, from, "latest")
		cache, err := layout.Load(t.Context(), from, e)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(from.String(), "blobs", "sha256", cache.Root.Layers[3].Digest.Encoded())
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		raw[10] ^= 1
		if err := errors.Join(os.Remove(path), os.WriteFile(path, raw, 0o600)); err != nil {
			t.Fatal(err)
		}
		_, err = transfer(t, from, open(t, server, plain()))
		if !errors.Is(err, layout.ErrBlobDamaged) || !strings.Contains(err.Error(), cache.Root.Layers[3].Digest.String()) {
			t.Errorf("got %v", err)
		}
		if got, want := latestOf(t, server), layouttest.Entry(t, old, "latest").Descriptor.Digest; got != want {
			t.Errorf("the tag moved to %s", got)
		}
		wantBack(t, server, old, plain())
	})
}

// TestTag moves a tag, and does not where somebody else did.
func TestTag(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, server *registrytest.Server) {
		first, second := many(t, 1), many(t, 2)
		r := open(t, server, plain())
		mustTransfer(t, first, r)
		one, two := layouttest.Entry(t, first, "latest").Descriptor, layouttest.Entry(t, second, "latest").Descriptor
		if _, err := convert.Convert(t.Context(), second, layouttest.Entry(t, second, "latest"), r, "other", convert.Options{}); err != nil {
			t.Fatal(err)
		}
		var moved *layout.TagMovedError
		for _, was := range []digest.Digest{"", two.Digest} {
			err := r.Tag(t.Context(), "latest", two, was)
			if !errors.As(err, &moved) || moved.Now != one.Digest || moved.Was != was || moved.Tag != "latest" {
				t.Errorf("got %v", err)
			}
		}
		if err := r.Tag(t.Context(), "third", two, one.Digest); !errors.As(err, &moved) || moved.Now != "" {
			t.Errorf("got %v", err)
		}
		server.Forget()
		if err := r.Tag(t.Context(), "latest", one, ""); err != nil {
			t.Errorf("equal digest: %v", err)
		}
		if n := server.Count(http.MethodPut, ""); n != 0 {
			t.Errorf("%d writes for an equal digest", n)
		}
		if err := r.Tag(t.Context(), "latest", two, one.Digest); err != nil {
			t.Error(err)
		}
		entries, err := open(t, server, plain()).Entries(t.Context())
		if err != nil || len(entries) != 2 || entries[0].Tag != "latest" || entries[1].Tag != "other" ||
			entries[0].Descriptor.Digest != two.Digest || entries[1].Descriptor.Digest != two.Digest {
			t.Errorf("%+v %v", entries, err)
		}
	})
}

// TestTagMovedMeanwhile has another client move the tag while a cache is pushed.
func TestTagMovedMeanwhile(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, server *registrytest.Server) {
		first, second, third := many(t, 1), many(t, 2), many(t, 3)
		mustTransfer(t, first, open(t, server, plain()))
		theirs, err := os.ReadFile(rootPath(t, second))
		if err != nil {
			t.Fatal(err)
		}
		other := open(t, server, plain())
		if _, err := convert.Convert(t.Context(), second, layouttest.Entry(t, second, "latest"), other, "other", convert.Options{}); err != nil {
			t.Fatal(err)
		}
		move := server.Inject(registrytest.Fault{Method: http.MethodPost, Path: "/uploads/", Before: func() {
			store(t, server, http.MethodPut, "/v2/"+cacheRepository+"/manifests/latest", buildcache.MediaTypeOCIManifest, theirs)
		}})
		_, err = transfer(t, third, open(t, server, plain()))
		var moved *layout.TagMovedError
		if !errors.As(err, &moved) || moved.Now != digest.FromBytes(theirs) {
			t.Errorf("got %v", err)
		}
		if got := latestOf(t, server); got != digest.FromBytes(theirs) {
			t.Errorf("the tag names %s", got)
		}
		if move.Fired() != 1 {
			t.Error("the tag was not moved")
		}
	})
}

func rootPath(t *testing.T, dir *layout.Dir) string {
	t.Helper()
	return filepath.Join(dir.String(), "blobs", "sha256", layouttest.Entry(t, dir, "latest").Descriptor.Digest.Encoded())
}

// TestKnownBlobs asks once for each blob: what was put or seen is known, in one run.
func TestKnownBlobs(t *testing.T) {
	t.Parallel()
	server := registrytest.New(t, registrytest.Options{})
	from := many(t, 9)
	r := open(t, server, plain())
	mustTransfer(t, from, r)
	server.Forget()
	if _, err := convert.Convert(t.Context(), from, layouttest.Entry(t, from, "latest"), r, "again", convert.Options{}); err != nil {
		t.Fatal(err)
	}
	wantRequests(t, server, map[string]int{"HEAD blobs": 0, "POST uploads": 0, "PUT manifests": 1})
	server.Forget()
	if _, err := convert.Convert(t.Context(), from, layouttest.Entry(t, from, "latest"), open(t, server, plain()), "more", convert.Options{}); err != nil {
		t.Fatal(err)
	}
	wantRequests(t, server, map[string]int{"HEAD blobs": 10, "POST uploads": 0, "PUT manifests": 2})
}

// TestMounts copies within one registry, without sending a blob where the registry mounts.
func TestMounts(t *testing.T) {
	t.Parallel()
	for _, mounts := range []bool{true, false} {
		server := registrytest.New(t, registrytest.Options{NoMounts: !mounts})
		from := many(t, 5)
		o := plain()
		o.Hosts = &registry.Hosts{}
		src := open(t, server, o)
		mustTransfer(t, from, src)
		dst, err := registry.Open(server.Host+"/other/cache", o)
		if err != nil {
			t.Fatal(err)
		}
		server.Forget()
		_, err = transfer(t, src, dst)
		if err := errors.Join(err, dst.Close()); err != nil {
			t.Fatal(err)
		}
		sent := map[bool]int{true: 0, false: 6}[mounts]
		wantRequests(t, server, map[string]int{"PUT uploads": sent})
	}
}

// TestChangesRoots has a registry that gives back another root than it took.
func TestChangesRoots(t *testing.T) {
	t.Parallel()
	from := many(t, 2)
	lenient := registrytest.Lenient(t)
	server := registrytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		url := lenient.URL + r.URL.RequestURI()
		request, err := http.NewRequestWithContext(r.Context(), r.Method, url, r.Body)
		if err != nil {
			panic(err)
		}
		request.Header, request.ContentLength = r.Header, r.ContentLength
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		raw, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			panic(http.ErrAbortHandler)
		}
		for name, values := range response.Header {
			if name != "Content-Length" || r.Method == http.MethodHead {
				w.Header()[name] = values
			}
		}
		w.WriteHeader(response.StatusCode)
		if strings.Contains(r.URL.Path, "/manifests/") {
			raw = bytes.ReplaceAll(raw, []byte("2026-01-02"), []byte("2026-01-03"))
		}
		_, _ = w.Write(raw) // a client that left needs no answer
	}))
	_, err := transfer(t, from, open(t, server, plain()))
	if err == nil {
		t.Error("nobody noticed")
	}
	if got := latestOf(t, lenient); got != "" {
		t.Errorf("the tag names %s: %v", got, err)
	}
}
