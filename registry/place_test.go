package registry_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/layout/placetest"
	"github.com/ocicache/ocicache/registry"
)

// TestRepositoryIsAPlace has a registry of its own for each place.
func TestRepositoryIsAPlace(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB) *registrytest.Server{
		"distribution": func(tb testing.TB) *registrytest.Server {
			return registrytest.New(tb, registrytest.Options{TakesLists: true})
		},
		"lenient": registrytest.Lenient,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var servers sync.Map // by the name of the place: some registries share blobs between repositories
			placetest.Run(t, placetest.Subject{
				New: func(t *testing.T) layout.Place {
					server := start(t)
					place := openNamed(t, "docker://"+server.Host+"/place")
					servers.Store(place.String(), server)
					return place
				},
				Again: func(t *testing.T, place layout.Source) layout.Source { return openNamed(t, place.String()) },
				Damage: func(t *testing.T, place layout.Source, blob digest.Digest) {
					found, _ := servers.Load(place.String())
					server, ok := found.(*registrytest.Server)
					if !ok {
						t.Fatalf("%s: no such place", place)
					}
					server.Inject(registrytest.Fault{Method: http.MethodGet, Path: blob.Encoded(), Flip: true, Times: -1})
				},
				Lacks: []placetest.Ability{
					placetest.Untagged, placetest.SharedTags, placetest.Dangling, placetest.CompareAndSwap,
					placetest.RandomAccess, placetest.Locking, placetest.UnnamedRoots,
				},
			})
		})
	}
}

// openNamed opens the repository that String names.
func openNamed(t *testing.T, name string) *registry.Repository {
	t.Helper()
	r, err := registry.Open(strings.TrimPrefix(name, "docker://"), plain())
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
