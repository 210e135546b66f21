package registry_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containers/image/v5/pkg/sysregistriesv2"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// caches are in testdata/caches; one for each form, all of them the same cache.
var caches = []string{"docker-list-gzip", "oci-index-gzip", "artifact-gzip"}

func fixture(t *testing.T, name string) (*layout.Dir, layout.Entry) {
	t.Helper()
	dir, err := layout.Open(filepath.Join("..", "testdata", "caches", name), layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	entry, err := layout.OneCache(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return dir, entry
}

// quick are options for tests: nobody waits for long.
func quick(server *registrytest.Server) registry.Options {
	plain := false
	return registry.Options{
		TLSVerify: &plain, Creds: "", CertDir: server.CertDir, Delay: 10 * time.Millisecond, Idle: 4 * time.Second,
	}
}

func repository(t *testing.T, server *registrytest.Server, name string, o registry.Options) *registry.Repository {
	t.Helper()
	r, err := registry.Open(server.Host+"/"+name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// pull copies the tag main into a new layout, and verifies it there.
func pull(t *testing.T, r *registry.Repository) (*layout.Dir, layout.Entry, error) {
	t.Helper()
	const tag = "main"
	dir, err := layout.Create(t.Context(), filepath.Join(t.TempDir(), "pulled"), layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := layout.Find(t.Context(), r, tag)
	if err != nil || found == nil {
		return dir, layout.Entry{}, err
	}
	if _, err := convert.Convert(t.Context(), r, *found, dir, tag, convert.Options{}); err != nil {
		return dir, *found, err
	}
	report, err := inspect.VerifyTag(t.Context(), dir, tag, inspect.Options{Deep: true})
	if err != nil || len(report.Problems) > 0 {
		t.Errorf("what was pulled is wrong: %v %v", report.Problems, err)
	}
	return dir, *found, nil
}

// Every form goes to a registry that takes it and comes back as it was; a list's children travel as blobs, and what is
// there is not sent again.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, name := range caches {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{TakesLists: true})
			src, entry := fixture(t, name)
			r := repository(t, server, "team/cache", quick(server))
			if _, err := convert.Convert(t.Context(), src, entry, r, "main", convert.Options{}); err != nil {
				t.Fatal(err)
			}
			_, pulled, err := pull(t, repository(t, server, "team/cache", quick(server)))
			if err != nil || pulled.Descriptor.Digest != entry.Descriptor.Digest {
				t.Fatalf("pulled %s, want %s: %v", pulled.Descriptor.Digest, entry.Descriptor.Digest, err)
			}
			for _, request := range server.Requests() {
				if strings.Contains(request.Path, "/manifests/sha256:") && !strings.HasSuffix(request.Path, entry.Descriptor.Digest.String()) {
					t.Errorf("%s %s: a layer is no manifest", request.Method, request.Path)
				}
			}
			server.Forget()
			result, err := convert.Convert(t.Context(), src, entry, r, "main", convert.Options{})
			if err != nil || result.Moved != 0 || server.Count(http.MethodPost, "") != 0 {
				t.Errorf("the second time: %v, %d bytes and %d uploads", err, result.Moved, server.Count(http.MethodPost, ""))
			}
		})
	}
}

// A registry that takes no lists refuses them by name, and keeps its old tag; with several forms to try, another goes.
func TestFormRefused(t *testing.T) {
	t.Parallel()
	for _, form := range []buildcache.Form{buildcache.DockerList, buildcache.OCIIndex} {
		server := registrytest.New(t, registrytest.Options{})
		src, entry := fixture(t, string(form)+"-gzip")
		r := repository(t, server, "cache", quick(server))
		_, err := convert.Convert(t.Context(), src, entry, r, "main", convert.Options{})
		var refused *registry.RefusedError
		if !errors.As(err, &refused) || !refused.IsAboutForm() || refused.Form != form {
			t.Fatalf("pushing a list: %v", err)
		}
		if found, err := layout.Find(t.Context(), r, "main"); err != nil || found != nil {
			t.Errorf("the tag is there: %v %v", found, err)
		}
		result, err := convert.Convert(t.Context(), src, entry, r, "main", convert.Options{
			Form: convert.AutoForm, Rules: listFirst{},
		})
		if err != nil || result.To.Form != buildcache.Artifact {
			t.Errorf("with another form to try: %v, %v", result, err)
		}
	}
}

// One token does for many layers, however many are pushed at once.
func TestOneTokenForManyLayers(t *testing.T) {
	t.Parallel()
	server := registrytest.New(t, registrytest.Options{User: "ann", Password: "secret", Token: true, TakesLists: true})
	options := quick(server)
	options.Creds = "ann:secret"
	src, entry := fixture(t, "many-docker-list-gzip")
	r := repository(t, server, "cache", options)
	if _, err := convert.Convert(t.Context(), src, entry, r, "main", convert.Options{Jobs: 8}); err != nil {
		t.Fatal(err)
	}
	if n := server.TokenRequests(); n == 0 || n > 8 {
		t.Errorf("%d token requests for 254 layers", n)
	}
}

// registries.conf may allow plain HTTP, block a registry, and name mirrors for pulls.
func TestRegistriesConf(t *testing.T) {
	server := registrytest.New(t, registrytest.Options{})
	src, entry := fixture(t, "artifact-gzip")
	conf := filepath.Join(t.TempDir(), "registries.conf")
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
	write := func(text string) {
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		sysregistriesv2.InvalidateCache()
	}
	asConfigured := registry.Options{Delay: time.Millisecond, Retries: -1}

	write("[[registry]]\nlocation = \"" + server.Host + "\"\ninsecure = true\n")
	if _, err := convert.Convert(t.Context(), src, entry, repository(t, server, "cache", asConfigured), "main", convert.Options{}); err != nil {
		t.Fatalf("insecure: %v", err)
	}
	write("[[registry]]\nlocation = \"" + server.Host + "\"\nblocked = true\n")
	if _, err := registry.Open(server.Host+"/cache", asConfigured); err == nil || !strings.Contains(err.Error(), "blocks") {
		t.Errorf("a blocked registry: %v", err)
	}
	write("[[registry]]\nlocation = \"registry.invalid\"\n[[registry.mirror]]\nlocation = \"" + server.Host + "\"\ninsecure = true\n")
	mirrored, err := registry.Open("registry.invalid/cache", asConfigured)
	if err != nil {
		t.Fatal(err)
	}
	if _, pulled, err := pull(t, mirrored); err != nil || pulled.Descriptor.Digest != entry.Descriptor.Digest {
		t.Errorf("from the mirror: %v %v", pulled.Descriptor.Digest, err)
	}

	// What decides about writing is not asked of a mirror, which may be late.
	itself := registrytest.New(t, registrytest.Options{})
	write("[[registry]]\nlocation = \"" + itself.Host + "\"\ninsecure = true\n[[registry.mirror]]\nlocation = \"" + server.Host + "\"\ninsecure = true\n")
	for name, change := range map[string]func(*registry.Options){
		"Direct": func(o *registry.Options) { o.Direct = true },
		"Push":   func(o *registry.Options) { o.Push = true },
	} {
		options := asConfigured
		change(&options)
		repo, err := registry.Open(itself.Host+"/cache", options)
		if err != nil {
			t.Fatal(err)
		}
		if found, err := repo.Resolve(t.Context(), "main"); err != nil || found != nil {
			t.Errorf("%s: the mirror was asked: %+v, %v", name, found, err)
		}
		if has, err := repo.Has(t.Context(), entry.Descriptor); err != nil || has {
			t.Errorf("%s: the mirror was asked for a root: %v, %v", name, has, err)
		}
	}
}

// upload is in the path of each request of an upload.
const upload = "/blobs/uploads/"

// Requests that fail in passing are done again, and what arrives is right. Which statuses pass is said by
// TestWhatPasses.
func TestFaultsThatPass(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]registrytest.Fault{
		"push: 429 to HEAD":                {Method: http.MethodHead, Status: 429, RetryAfter: "0"},
		"push: 429 to POST, unexplained":   {Method: http.MethodPost, Status: 429},
		"push: 429 to PUT, unexplained":    {Method: http.MethodPut, Path: upload, Status: 429, Times: 2},
		"push: 429 to PUT of a blob":       {Method: http.MethodPut, Path: upload, Status: 429, RetryAfter: "0"},
		"push: 429 to PUT of the root":     {Method: http.MethodPut, Path: "/manifests/", Status: 429},
		"push: 503 to HEAD":                {Method: http.MethodHead, Status: 503},
		"push: 500 to POST":                {Method: http.MethodPost, Status: 500},
		"push: 500 to PUT of a blob":       {Method: http.MethodPut, Path: upload, Status: 500, Times: 2},
		"push: 503 to PUT of a blob":       {Method: http.MethodPut, Path: upload, Status: 503},
		"push: 500 to PUT of the root":     {Method: http.MethodPut, Path: "/manifests/", Status: 500},
		"push: 503 to PUT of the tag":      {Method: http.MethodPut, Path: "/manifests/main", Status: 503},
		"push: dropped":                    {Method: http.MethodPut, Path: upload, Drop: true},
		"push: cut":                        {Method: http.MethodPut, Path: upload, CutAt: 0.5, Times: 2},
		"push: hangs once":                 {Method: http.MethodPut, Path: upload, Hang: true},
		"push: the answer is lost":         {Method: http.MethodPut, Path: "/manifests/main", CutAt: 1},
		"push: the upload session is lost": {Method: http.MethodPut, Path: upload, LoseUpload: true},
		"pull: 429 to GET of a blob":       {Method: http.MethodGet, Path: "/blobs/", Status: 429, RetryAfter: "0"},
		"pull: 503 to GET of a blob":       {Method: http.MethodGet, Path: "/blobs/", Status: 503},
		"pull: 500 to GET of the root":     {Method: http.MethodGet, Path: "/manifests/", Status: 500},
		"pull: hangs once":                 {Method: http.MethodGet, Path: "/blobs/", Hang: true},
		"pull: cut":                        {Method: http.MethodGet, Path: "/blobs/", CutAt: 0.5, Times: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{})
			src, entry := fixture(t, "artifact-gzip")
			options := quick(server)
			if fault.Hang {
				options.Idle = silence()
			}
			r := repository(t, server, "cache", options)
			if strings.HasPrefix(name, "push") {
				server.Inject(fault)
			}
			if _, err := convert.Convert(t.Context(), src, entry, r, "main", convert.Options{}); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(name, "pull") {
				server.Inject(fault)
			}
			_, pulled, err := pull(t, repository(t, server, "cache", options))
			if err != nil || pulled.Descriptor.Digest != entry.Descriptor.Digest {
				t.Fatalf("pulled %s, want %s: %v", pulled.Descriptor.Digest, entry.Descriptor.Digest, err)
			}
			server.AssertFired(t)
		})
	}
}

// What does not pass is an error, and the old tag stays.
func TestFaultsThatStay(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault registrytest.Fault
		want  func(error) bool
	}{
		"500 to every upload":    {fault: registrytest.Fault{Method: http.MethodPut, Path: upload, Status: 500, Times: -1}, want: isError},
		"429 to every upload":    {fault: registrytest.Fault{Method: http.MethodPut, Path: upload, Status: 429, Times: -1}, want: isBusy},
		"500 to every root":      {fault: registrytest.Fault{Method: http.MethodPut, Path: "/manifests/", Status: 500, Times: -1}, want: isError},
		"every upload dropped":   {fault: registrytest.Fault{Method: http.MethodPut, Path: upload, Drop: true, Times: -1}, want: isError},
		"the registry hangs":     {fault: registrytest.Fault{Method: http.MethodPut, Path: upload, Hang: true, Times: -1}, want: isIdle},
		"403 to every beginning": {fault: registrytest.Fault{Method: http.MethodPost, Status: 403, Times: -1}, want: isAuth},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{})
			old, oldEntry := fixture(t, "artifact-zstd")
			r := repository(t, server, "cache", quick(server))
			if _, err := convert.Convert(t.Context(), old, oldEntry, r, "main", convert.Options{}); err != nil {
				t.Fatal(err)
			}
			server.Inject(test.fault)
			src, entry := fixture(t, "artifact-gzip")
			options := quick(server)
			options.Retries = 1
			if test.fault.Hang {
				options.Idle = silence()
			}
			_, err := convert.Convert(t.Context(), src, entry, repository(t, server, "cache", options), "main", convert.Options{})
			if !test.want(err) || strings.Contains(err.Error(), "_state") { // the registry's secret in addresses of uploads
				t.Errorf("got %v", err)
			}
			server.AssertFired(t)
			server.Heal()
			found, err := layout.Find(t.Context(), r, "main")
			if err != nil || found == nil || found.Descriptor.Digest != oldEntry.Descriptor.Digest {
				t.Errorf("the tag names %v, want %s: %v", found, oldEntry.Descriptor.Digest, err)
			}
		})
	}
}

// Damage on the way is found, and nothing is tagged.
func TestDamagedOnTheWay(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]registrytest.Fault{
		"a bit":          {Method: http.MethodGet, Path: "/blobs/", Flip: true, Times: -1},
		"Content-Length": {Method: http.MethodGet, Path: "/blobs/", Length: -1, Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := registrytest.New(t, registrytest.Options{})
			src, entry := fixture(t, "artifact-gzip")
			if _, err := convert.Convert(t.Context(), src, entry, repository(t, server, "cache", quick(server)), "main", convert.Options{}); err != nil {
				t.Fatal(err)
			}
			server.Inject(fault)
			dir, _, err := pull(t, repository(t, server, "cache", quick(server)))
			if err == nil {
				t.Error("nobody noticed")
			}
			server.AssertFired(t)
			if entries, err := dir.Entries(t.Context()); err != nil || len(entries) > 0 {
				t.Errorf("tagged all the same: %v %v", entries, err)
			}
		})
	}
}

// A tag that somebody else moves in between is not overwritten.
func TestTagMovesMeanwhile(t *testing.T) {
	t.Parallel()
	server := registrytest.New(t, registrytest.Options{})
	src, entry := fixture(t, "artifact-gzip")
	other, otherEntry := fixture(t, "artifact-zstd")
	theirs := repository(t, server, "cache", quick(server))
	r := repository(t, server, "cache", quick(server))
	moved := false
	_, err := convert.Convert(t.Context(), src, entry, r, "main", convert.Options{OnEvent: func(e layout.Event) {
		if e.Kind != layout.EventPlan || moved {
			return
		}
		moved = true
		if _, err := convert.Convert(t.Context(), other, otherEntry, theirs, "main", convert.Options{}); err != nil {
			t.Error(err)
		}
	}})
	var tag *layout.TagMovedError
	if !errors.As(err, &tag) || tag.Now != otherEntry.Descriptor.Digest {
		t.Errorf("got %v", err)
	}
}

func isIdle(err error) bool {
	return errors.Is(err, registry.ErrIdle) && !errors.Is(err, context.Canceled)
}

func isBusy(err error) bool { return errors.Is(err, registry.ErrTooManyRequests) }

func isError(err error) bool { return err != nil }

func isAuth(err error) bool {
	var auth *registry.AuthError
	return errors.As(err, &auth)
}

// listFirst are rules that try a cache's own form before the one that is taken.
type listFirst struct{ registry.Profile }

func (listFirst) Candidates(f buildcache.Form) []buildcache.Form {
	return []buildcache.Form{f, buildcache.Artifact}
}
