package registry_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// deletingByDigest is a registry that deletes by digest only, with a cache that is tagged with some names. beforeDelete is
// called before a manifest goes, to put the cache's bytes under other tags. After that the registry lists a tag "late" as well.
func deletingByDigest(t *testing.T, beforeDelete func(put func(tag, mediaType string, raw []byte), raw []byte), tags ...string) (*registry.Repository, layout.Entry) {
	t.Helper()
	server := registrytest.New(t, registrytest.Options{TakesLists: true, Deletes: registrytest.DeletesManifests})
	back, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	src, root := fixture(t, "artifact-gzip")
	raw, err := layout.ReadBlob(t.Context(), src, root.Descriptor, buildcache.MaxRoot)
	if err != nil {
		t.Fatal(err)
	}
	var repository string
	var deleted atomic.Bool
	put := func(tag, mediaType string, raw []byte) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+"/v2/"+repository+"/manifests/"+tag, bytes.NewReader(raw))
		if err != nil {
			t.Error(err)
			return
		}
		request.Header.Set("Content-Type", mediaType)
		response, err := http.DefaultClient.Do(request)
		if err != nil || response.StatusCode != http.StatusCreated || response.Body.Close() != nil {
			t.Errorf("put %s: %v (%v)", tag, response, err)
		}
	}
	proxy := httputil.NewSingleHostReverseProxy(back)
	front := registrytest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, _, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/sha256:")
		if ok && r.Method == http.MethodDelete {
			repository = path
			beforeDelete(put, raw)
			deleted.Store(true)
		}
		if deleted.Load() && strings.HasSuffix(r.URL.Path, "/tags/list") {
			_, _ = io.WriteString(w, `{"name":"x","tags":["late"]}`) // a client that left needs no answer
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	repo := open(t, front, plain())
	for _, tag := range tags {
		if _, err := convert.Convert(t.Context(), src, root, repo, tag, convert.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := repo.Entries(t.Context()); err != nil {
		t.Fatal(err)
	}
	return repo, root
}

// TestUntagKeepsLateTags that were given after the tags were listed: before the last look, and after it.
func TestUntagKeepsLateTags(t *testing.T) {
	t.Parallel()
	t.Run("before the last look", func(t *testing.T) {
		t.Parallel()
		repo, root := deletingByDigest(t, func(func(string, string, []byte), []byte) { t.Error("deleted") }, "a")
		if err := repo.Tag(t.Context(), "late", root.Descriptor, ""); err != nil {
			t.Fatal(err)
		}
		err := repo.Untag(t.Context(), "a", root.Descriptor.Digest, nil)
		var kept *layout.KeptError
		if !errors.As(err, &kept) || !slices.Equal(kept.Sharing, []string{"late"}) {
			t.Errorf("%v", err)
		}
		wantTagsOf(t, repo, []string{"a", "late"})
	})
	t.Run("after it, and listed without its manifest", func(t *testing.T) {
		t.Parallel()
		repo, root := deletingByDigest(t, func(func(string, string, []byte), []byte) {}, "a", "b")
		for _, tag := range []string{"a", "b"} { // both are to go
			if err := repo.Untag(t.Context(), tag, root.Descriptor.Digest, nil); err != nil {
				t.Fatal(err)
			}
		}
		wantTagsOf(t, repo, []string{"late"})
		if _, err := layout.Graph(t.Context(), repo, root.Descriptor); err != nil {
			t.Error(err)
		}
	})
	t.Run("after it, with another root before", func(t *testing.T) {
		t.Parallel()
		repo, root := deletingByDigest(t, func(put func(string, string, []byte), raw []byte) {
			put("moved", buildcache.MediaTypeOCIManifest, raw)
		}, "a")
		src, other := fixture(t, "artifact-zstd")
		if _, err := convert.Convert(t.Context(), src, other, repo, "moved", convert.Options{}); err != nil {
			t.Fatal(err)
		}
		err := repo.Untag(t.Context(), "a", root.Descriptor.Digest, nil)
		if err == nil || !strings.Contains(err.Error(), `the tag "moved", which named `+other.Descriptor.Digest.String()) {
			t.Errorf("%v", err)
		}
		var gone *layout.DeletedError
		if !errors.As(err, &gone) {
			t.Errorf("it is not said to be deleted: %v", err)
		}
	})
	t.Run("among many, listed a while ago", func(t *testing.T) {
		t.Parallel()
		tags := []string{"a"}
		for i := range 60 {
			tags = append(tags, fmt.Sprintf("t%02d", i))
		}
		repo, root := deletingByDigest(t, func(func(string, string, []byte), []byte) { t.Error("deleted") }, tags...)
		src, other := fixture(t, "artifact-zstd")
		if _, err := convert.Convert(t.Context(), src, other, repo, "b", convert.Options{}); err != nil {
			t.Fatal(err)
		}
		entries, err := repo.Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := repo.Tag(t.Context(), "t07", other.Descriptor, root.Descriptor.Digest); err != nil {
			t.Fatal(err)
		}
		results, err := convert.Untag(t.Context(), repo, []layout.Entry{{Descriptor: other.Descriptor, Tag: "b"}}, entries)
		var kept *layout.KeptError
		if err != nil || len(results) != 1 || !errors.As(results[0].Err, &kept) || !slices.Equal(kept.Sharing, []string{"t07"}) {
			t.Errorf("%+v, %v", results, err)
		}
	})
}

// TestUntagKeepsWhatAnIndexNeeds where the registry would delete a root that a tagged index names.
func TestUntagKeepsWhatAnIndexNeeds(t *testing.T) {
	t.Parallel()
	repo, root := deletingByDigest(t, func(func(string, string, []byte), []byte) { t.Error("deleted") }, "a")
	d := root.Descriptor
	raw := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, buildcache.MediaTypeOCIIndex, d.MediaType, d.Digest, d.Size)
	index := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIIndex, Digest: digest.FromString(raw), Size: int64(len(raw))}
	if err := errors.Join(repo.Put(t.Context(), index, layout.OpenBytes([]byte(raw))), repo.Tag(t.Context(), "multi", index, "")); err != nil {
		t.Fatal(err)
	}
	err := repo.Untag(t.Context(), "a", d.Digest, nil)
	var kept *layout.KeptError
	if !errors.As(err, &kept) || !slices.Equal(kept.Sharing, []string{"multi"}) {
		t.Errorf("%v", err)
	}
	wantTagsOf(t, repo, []string{"a", "multi"})
}

// TestUntagNeedsAList that has the tag itself: another one could name the same root.
func TestUntagNeedsAList(t *testing.T) {
	t.Parallel()
	server := registrytest.New(t, registrytest.Options{Deletes: registrytest.DeletesManifests})
	repo := open(t, server, plain())
	src, root := fixture(t, "artifact-gzip")
	if _, err := convert.Convert(t.Context(), src, root, repo, "a", convert.Options{}); err != nil {
		t.Fatal(err)
	}
	server.Inject(registrytest.Fault{Path: "/tags/list", Status: http.StatusNotFound, Code: "NAME_UNKNOWN"})
	var kept *layout.KeptError
	if err := repo.Untag(t.Context(), "a", root.Descriptor.Digest, nil); !errors.As(err, &kept) {
		t.Errorf("%v", err)
	}
	server.Heal()
	wantTagsOf(t, repo, []string{"a"})
}
