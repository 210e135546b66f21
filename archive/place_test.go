package archive_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/layout/placetest"
)

// classified returns entries of a place as what is to be packed.
func classified(ctx context.Context, src layout.Source, entries []layout.Entry) ([]archive.Chosen, error) {
	var roots []archive.Chosen
	for _, e := range entries {
		entry, err := layout.Classify(ctx, src, e)
		if err != nil {
			return nil, err
		}
		roots = append(roots, archive.Chosen{Source: src, Entry: entry})
	}
	return roots, nil
}

// TestArchiveIsAPlace packs what is to be there, and reads it from the tar.
func TestArchiveIsAPlace(t *testing.T) {
	t.Parallel()
	placetest.Run(t, placetest.Subject{
		Holding: func(t *testing.T, contents placetest.Contents) (layout.Source, error) {
			src := layout.NewMemory("memory")
			for _, tree := range contents.Trees {
				if err := tree.Put(t.Context(), src); err != nil {
					return nil, err
				}
			}
			roots, err := classified(t.Context(), src, contents.Entries)
			if err != nil {
				return nil, err
			}
			file := filepath.Join(t.TempDir(), "cache.tar")
			if _, err := archive.Pack(t.Context(), roots, archive.Target{File: file}, archive.PackOptions{}); err != nil {
				return nil, err
			}
			return openFileOf(t, file), nil
		},
		Again:  func(t *testing.T, place layout.Source) layout.Source { return openFileOf(t, place.String()) },
		Damage: damageFile,
		Lacks: []placetest.Ability{
			placetest.Writing, placetest.SharedTags, placetest.Dangling, placetest.Locking, placetest.UnnamedRoots,
		},
	})
}

// TestArchiveWithABaseIsAPlace packs every second blob of each tree, and finds the others in the base.
func TestArchiveWithABaseIsAPlace(t *testing.T) {
	t.Parallel()
	var bases sync.Map // of the archives, by their names
	open := func(t *testing.T, file string) layout.Source {
		t.Helper()
		base, _ := bases.Load(file)
		src, _ := base.(layout.Source) // nil would fail in Open
		a, err := archive.Open(t.Context(), []string{file}, archive.OpenOptions{Base: src})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Close() })
		return a
	}
	placetest.Run(t, placetest.Subject{
		Holding: func(t *testing.T, contents placetest.Contents) (layout.Source, error) {
			src, base := layout.NewMemory("memory"), layout.NewMemory("base")
			var held []archive.Blob
			for _, tree := range contents.Trees {
				half := placetest.Tree{}
				for i := 0; i < len(tree); i += 2 {
					half, held = append(half, tree[i]), append(held, archive.Blob{Digest: tree[i].Digest, Size: tree[i].Size})
				}
				if err := errors.Join(tree.Put(t.Context(), src), half.Put(t.Context(), base)); err != nil {
					return nil, err
				}
			}
			roots, err := classified(t.Context(), src, contents.Entries)
			if err != nil {
				return nil, err
			}
			file := filepath.Join(t.TempDir(), "cache.tar")
			bases.Store(file, base)
			_, err = archive.Pack(t.Context(), roots, archive.Target{File: file}, archive.PackOptions{Have: []archive.Holder{archive.HeldList(held)}})
			if err != nil {
				return nil, err
			}
			return open(t, file), nil
		},
		Again: func(t *testing.T, place layout.Source) layout.Source { return open(t, place.String()) },
		Lacks: []placetest.Ability{
			placetest.Writing, placetest.SharedTags, placetest.Dangling, placetest.Damaging, placetest.Locking, placetest.UnnamedRoots,
		},
	})
}

func openFileOf(t *testing.T, file string) *archive.Archive {
	t.Helper()
	a, err := archive.Open(t.Context(), []string{file}, archive.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// damageFile changes a blob in the tar of an archive.
func damageFile(t *testing.T, place layout.Source, blob digest.Digest) {
	t.Helper()
	data, err := layout.ReadUnverified(t.Context(), place, buildcache.Descriptor{Digest: blob}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	raw := readFile(t, place.String())
	at := bytes.Index(raw, data)
	if at < 0 {
		t.Fatalf("%s is not in the tar", blob)
	}
	raw[at+len(data)/2] ^= 1
	if err := os.WriteFile(place.String(), raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestStagingIsAPlace has a source that holds nothing.
func TestStagingIsAPlace(t *testing.T) {
	t.Parallel()
	placetest.Run(t, placetest.Subject{
		New: func(t *testing.T) layout.Place { return archive.NewStaging(layout.NewMemory("memory"), emptyDir(t)) },
		Lacks: []placetest.Ability{
			placetest.SharedTags, placetest.Damaging, placetest.Resolving, placetest.Locking, placetest.UnnamedRoots,
		},
	})
}
