package convert_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
)

// eachPair runs a test for every form that BuildKit exported one build's cache in, and every form to bring it to.
func eachPair(t *testing.T, test func(t *testing.T, from, to string, form buildcache.Form)) {
	t.Helper()
	for _, compression := range []string{"gzip", "zstd"} {
		for _, from := range buildcache.Forms() {
			for _, to := range buildcache.Forms() {
				source, target := string(from)+"-"+compression, string(to)+"-"+compression
				t.Run(source+" to "+string(to), func(t *testing.T) {
					t.Parallel()
					test(t, source, target, to)
				})
			}
		}
	}
}

// TestFormIsBuildKitsOwn wants BuildKit's own export of the other form, and nothing beside it.
func TestFormIsBuildKitsOwn(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, from, to string, form buildcache.Form) {
		src, dst := openCorpus(t, from), layouttest.Create(t)
		result := run(t, src, dst, convert.Options{Form: form})

		want := filepath.Join(corpus, to)
		wantFile(t, filepath.Join(dst.String(), "index.json"), filepath.Join(want, "index.json"))
		wantFile(t, filepath.Join(dst.String(), "oci-layout"), filepath.Join(want, "oci-layout"))
		wantEqual(t, "blobs", contents(t, filepath.Join(dst.String(), "blobs")), contents(t, filepath.Join(want, "blobs")))
		theirs := layouttest.Entry(t, openCorpus(t, to), "latest").Descriptor
		if result.To.Digest != theirs.Digest || result.To.MediaType != theirs.MediaType || result.To.Form != form {
			t.Errorf("the result names %+v, want %+v", result.To, theirs)
		}
		if result.Unchanged != (from == to) {
			t.Errorf("unchanged: %v", result.Unchanged)
		}
		wantClean(t, dst, "latest")
		wantNoTemporary(t, dst.String())
	})
}

// TestFormInPlace wants the same without a look at any layer, and the old blobs kept.
func TestFormInPlace(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, from, to string, form buildcache.Form) {
		path := layouttest.CopyCorpus(t, from)
		before := layouttest.Tree(t, filepath.Join(path, "blobs"))
		place := watch(open(t, path))
		cache := load(t, open(t, path), "latest")
		result := run(t, place, place, convert.Options{Form: form})

		for layer := range cache.Root.LayersByDigest() {
			if n := place.opened[layer]; n > 0 {
				t.Errorf("the layer %s was opened %d times", layer, n)
			}
		}
		if result.Moved != 0 {
			t.Errorf("%d bytes were moved", result.Moved)
		}
		wantFile(t, filepath.Join(path, "index.json"), filepath.Join(corpus, to, "index.json"))
		wantKept(t, filepath.Join(path, "blobs"), before)
		both := contents(t, filepath.Join(corpus, from, "blobs"))
		maps.Copy(both, contents(t, filepath.Join(corpus, to, "blobs")))
		wantEqual(t, "blobs", contents(t, filepath.Join(path, "blobs")), both)
		wantClean(t, place, "latest")
		wantNoTemporary(t, path)
	})
}

// TestFormThereAndBack wants every cache of the corpus back from every other form, old BuildKits' too.
func TestFormThereAndBack(t *testing.T) {
	t.Parallel()
	names, err := os.ReadDir(corpus)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, name := range names {
		if name.Name() == "inline-image" || name.Name() == "dangling-index" {
			continue
		}
		seen++
		t.Run(name.Name(), func(t *testing.T) {
			t.Parallel()
			path := layouttest.CopyCorpus(t, name.Name())
			place := open(t, path)
			entries, err := place.Entries(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			index, err := buildcache.ParseIndex(readFile(t, filepath.Join(path, "index.json")))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				own := load(t, place, e.Tag).Root.Form
				for _, form := range append(buildcache.Forms(), own) {
					at := layouttest.Entry(t, place, e.Tag)
					result, err := convert.Convert(t.Context(), place, at, place, e.Tag, convert.Options{Form: form})
					if err != nil {
						t.Fatal(err)
					}
					if result.From.Digest != at.Descriptor.Digest || load(t, place, e.Tag).Root.Form != form {
						t.Errorf("to %s: %+v", form, result)
					}
				}
				wantClean(t, place, e.Tag)
				if got := layouttest.Entry(t, place, e.Tag).Descriptor.Digest; got != e.Descriptor.Digest {
					t.Errorf("%s came back as %s", e.Descriptor.Digest, got)
				}
			}
			after, err := place.Index(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "entries", after.Entries, index.Entries)
		})
	}
	if seen < 17 {
		t.Fatalf("the corpus has %d caches, which can't be all", seen)
	}
}

// TestFormOfSparseLayers changes the form of a cache whose layers are holes of any size: it is the same few bytes.
func TestFormOfSparseLayers(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{1 << 20, 100 << 30} {
		place := sparse(t, 50, size)
		result := run(t, place, place, convert.Options{Form: buildcache.Artifact})
		if result.Unchanged || result.Moved != 0 || result.To.LayersBytes != 50*size {
			t.Errorf("layers of %d bytes: %+v", size, result)
		}
	}
}
