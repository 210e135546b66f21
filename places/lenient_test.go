package places_test

import (
	"net/http"
	"testing"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// TestLenient says that a sync goes on after a tag that its source can't serve, and ends where it can serve none.
func TestLenient(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fault  registrytest.Fault
		failed int // -1 for all, before anything is brought over
	}{
		{registrytest.Fault{Path: "/manifests/b$", Status: http.StatusInternalServerError}, 1},
		{registrytest.Fault{Path: "/manifests/b$", Status: http.StatusForbidden}, 1},
		{registrytest.Fault{Path: "/manifests/b$", Status: http.StatusBadRequest}, 1},
		{registrytest.Fault{Path: "/manifests/b$", Status: http.StatusServiceUnavailable}, 1},
		{registrytest.Fault{Path: "/manifests/", Status: http.StatusServiceUnavailable}, -1},
		{registrytest.Fault{Path: "/manifests/", Status: http.StatusForbidden}, -1},
		{registrytest.Fault{Path: "/manifests/b$", Drop: true}, -1},
	} {
		server := registrytest.New(t, registrytest.Options{})
		insecure := false
		ref, err := layout.ParseReference("docker://" + server.Host + "/app")
		if err != nil {
			t.Fatal(err)
		}
		src, err := places.Open(t.Context(), ref, places.Options{Registry: registry.Options{TLSVerify: &insecure, Retries: -1}})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		place, err := src.Place()
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range []string{"a", "b", "c"} {
			from, err := layout.Open(layouttest.CopyCorpus(t, "artifact-gzip"), layout.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := convert.Convert(t.Context(), from, layouttest.Entry(t, from, ""), place, tag, convert.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		test.fault.Times = -1
		server.Inject(test.fault)
		entries, err := src.LenientEntries(t.Context())
		if (err != nil) != (test.failed < 0) {
			t.Fatalf("%+v: got %v", test.fault, err)
		}
		if err != nil {
			continue
		}
		dst, err := layout.Create(t.Context(), t.TempDir(), layout.Options{})
		if err != nil {
			t.Fatal(err)
		}
		result, err := convert.Sync(t.Context(), src.Source, dst, convert.SyncOptions{Entries: entries})
		if err != nil || result.Failed != test.failed || len(result.Caches) != 3 {
			t.Errorf("%+v: %v, %+v", test.fault, err, result)
		}
	}
}
