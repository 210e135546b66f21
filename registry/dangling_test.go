package registry_test

import (
	"net/http"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
)

// TestTagWithoutManifest is seen and said, if it is not one that goes away between the list and the reading.
func TestTagWithoutManifest(t *testing.T) {
	t.Parallel()
	server := registrytest.New(t, registrytest.Options{})
	repo := open(t, server, plain())
	src, root := fixture(t, "artifact-gzip")
	for _, tag := range []string{"a", "b"} {
		if _, err := convert.Convert(t.Context(), src, root, repo, tag, convert.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	gone := registrytest.Fault{Path: "/manifests/a", Status: http.StatusNotFound, Code: "MANIFEST_UNKNOWN", Times: -1}
	server.Inject(gone)
	entries, err := repo.Entries(t.Context())
	if err != nil || len(entries) != 2 || entries[0].Kind != layout.KindDangling || entries[0].Tag != "a" || entries[1].Kind != layout.KindCache {
		t.Fatalf("%+v (%v)", entries, err)
	}
	for name, verify := range map[string]func() (inspect.Report, error){
		"all": func() (inspect.Report, error) { return inspect.VerifyAll(t.Context(), repo, inspect.Options{}) },
		"one": func() (inspect.Report, error) { return inspect.VerifyTag(t.Context(), repo, "a", inspect.Options{}) },
	} {
		report, err := verify()
		if err != nil || len(report.Problems) != 1 || report.Problems[0].Kind != buildcache.RootMissing || report.Problems[0].Cache != "a" {
			t.Errorf("%s: %+v (%v)", name, report.Problems, err)
		}
	}
	dst, err := layout.Create(t.Context(), t.TempDir()+"/dst", layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	synced, err := convert.Sync(t.Context(), repo, dst, convert.SyncOptions{})
	if err != nil || synced.Failed != 1 || len(synced.Caches) != 2 {
		t.Errorf("sync: %+v (%v)", synced, err)
	}

	server.Heal()
	gone.Times = 1
	server.Inject(gone)
	if entries, err := repo.Entries(t.Context()); err != nil || len(entries) != 2 || entries[0].Kind != layout.KindCache {
		t.Errorf("there again: %+v (%v)", entries, err)
	}
	server.Heal()
	server.Inject(registrytest.Fault{Path: "/manifests/a", Status: http.StatusNotFound, Code: "MANIFEST_UNKNOWN", Times: -1})
	server.Inject(registrytest.Fault{Path: "/tags/list", Skip: 1, Status: http.StatusNotFound, Code: "NAME_UNKNOWN", Times: -1})
	if entries, err := repo.Entries(t.Context()); err != nil || len(entries) != 1 || entries[0].Tag != "b" {
		t.Errorf("gone meanwhile: %+v (%v)", entries, err)
	}
}
