package layout_test

import (
	"errors"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/layout/placetest"
)

func TestMemoryIsAPlace(t *testing.T) {
	t.Parallel()
	placetest.Run(t, placetest.Subject{
		New: func(*testing.T) layout.Place { return layout.NewMemory("memory") },
		Lacks: []placetest.Ability{
			placetest.Untagged, placetest.SharedTags, placetest.Damaging,
			placetest.Resolving, placetest.Locking, placetest.UnnamedRoots,
		},
	})
}

// A layout lacks nothing.
func TestDirIsAPlace(t *testing.T) {
	t.Parallel()
	placetest.Run(t, placetest.Subject{
		New: func(t *testing.T) layout.Place { return layouttest.Create(t) },
		Holding: func(t *testing.T, contents placetest.Contents) (layout.Source, error) {
			h := byHand(t)
			for _, tree := range contents.Trees {
				for _, blob := range tree {
					h.blob(blob.MediaType, string(blob.Data))
				}
			}
			var entries []buildcache.Descriptor
			for _, e := range contents.Entries {
				root := e.Descriptor
				if e.Tag != "" {
					root = tagged(root, e.Tag)
				}
				entries = append(entries, root)
			}
			h.index(entries...)
			return h.open(), nil
		},
		Again: func(t *testing.T, place layout.Source) layout.Source { return open(t, place.String()) },
		Damage: func(t *testing.T, place layout.Source, blob digest.Digest) {
			path := blobPath(place.String(), blob)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			if err := errors.Join(os.Remove(path), os.WriteFile(path, data, 0o444)); err != nil {
				t.Fatal(err)
			}
		},
	})
}
