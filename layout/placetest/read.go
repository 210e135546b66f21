package placetest

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// missing are blobs that no place holds: a cache config, and a root.
func missing() []buildcache.Descriptor {
	return []buildcache.Descriptor{
		NewBlob(buildcache.MediaTypeConfig, []byte("nobody has this")).Descriptor,
		NewBlob(buildcache.MediaTypeOCIManifest, []byte(`{"nobody has":"this"}`)).Descriptor,
	}
}

// malformed are digests that must not become paths.
var malformed = []digest.Digest{
	"", "sha256", "sha256:", "sha256:../../x", "../../x", "sha256:" + "0123456789abcdef/../0123456789abcdef0123456789abcdef0123456789ab",
	"md5:d41d8cd98f00b204e9800998ecf8427e",
}

func testHas(t *testing.T, s Subject) {
	contents, _ := some()
	place := s.holding(t, contents)
	for _, tree := range contents.Trees {
		for _, blob := range tree {
			for _, change := range []int64{0, 1, -1, -blob.Size} {
				d := blob.Descriptor
				d.Size += change
				if has, err := place.Has(t.Context(), d); err != nil || has != (change == 0) {
					t.Errorf("%s %s with %d bytes more: %v (%v)", d.MediaType, d.Digest, change, has, err)
				}
			}
		}
	}
	for _, d := range missing() {
		if has, err := place.Has(t.Context(), d); err != nil || has {
			t.Errorf("missing %s: %v (%v)", d.MediaType, has, err)
		}
	}
	for _, bad := range malformed {
		for _, d := range missing() {
			d.Digest = bad
			var blob *layout.BlobError
			if has, err := place.Has(t.Context(), d); has || err != nil && !errors.As(err, &blob) {
				t.Errorf("%s %q: %v (%v)", d.MediaType, bad, has, err)
			}
		}
	}
}

func testOpen(t *testing.T, s Subject) {
	contents, _ := some()
	place := s.holding(t, contents)
	for _, tree := range contents.Trees {
		for _, blob := range tree {
			wantBlob(t, place, blob)
		}
	}
	root := contents.Trees[0].Root()
	for _, d := range []buildcache.Descriptor{root, contents.Trees[0][0].Descriptor} {
		r, err := place.Open(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil { // nothing was read
			t.Errorf("close early: %v", err)
		}
	}
	for _, d := range missing() {
		_, err := place.Open(t.Context(), d)
		wantMissing(t, place, d, err)
	}
	for _, bad := range malformed {
		for _, d := range missing() {
			d.Digest = bad
			var blob *layout.BlobError
			if _, err := place.Open(t.Context(), d); !errors.As(err, &blob) || blob.Digest != bad {
				t.Errorf("%s %q: %v, want a *BlobError", d.MediaType, bad, err)
			}
		}
	}
}

// wantBlob reads a blob to its end, and compares its bytes.
func wantBlob(t *testing.T, src layout.Source, want Blob) {
	t.Helper()
	got, err := layout.ReadBlob(t.Context(), src, want.Descriptor, want.Size)
	if err != nil || !bytes.Equal(got, want.Data) {
		t.Errorf("%s %s: %d bytes, %v", want.MediaType, want.Digest, len(got), err)
	}
}

// wantMissing wants an error to say that a place doesn't have a blob.
func wantMissing(t *testing.T, place layout.Source, d buildcache.Descriptor, err error) {
	t.Helper()
	var blob *layout.BlobError
	if !errors.As(err, &blob) || !errors.Is(err, layout.ErrBlobMissing) || blob.Digest != d.Digest || blob.Place != place.String() {
		t.Errorf("missing %s: %v, want a *BlobError of %s for a missing blob", d.MediaType, err, place)
	}
}

func testOpenAt(t *testing.T, s Subject) {
	if s.lacks(RandomAccess) {
		return // testPowers has checked that
	}
	contents, _ := some()
	place := s.holding(t, contents)
	random, ok := place.(layout.RandomAccess)
	if !ok {
		t.Fatal("it is no layout.RandomAccess")
	}
	blob := contents.Trees[0][0]
	a, errA := random.OpenAt(t.Context(), blob.Descriptor)
	b, errB := random.OpenAt(t.Context(), blob.Descriptor)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	if a.Size() != blob.Size {
		t.Errorf("size %d, want %d", a.Size(), blob.Size)
	}
	part := make([]byte, 2)
	if n, err := a.ReadAt(part, 1); n != 2 || err != nil || !bytes.Equal(part, blob.Data[1:3]) {
		t.Errorf("in the middle: %q (%v)", part[:n], err)
	}
	if n, err := a.ReadAt(part, blob.Size-1); n != 1 || !errors.Is(err, io.EOF) || part[0] != blob.Data[blob.Size-1] {
		t.Errorf("at the end: %q (%v)", part[:n], err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	got, err := io.ReadAll(b) // whatever was done to the other one
	if err := errors.Join(err, b.Close()); err != nil || !bytes.Equal(got, blob.Data) {
		t.Errorf("as a whole: %q (%v)", got, err)
	}
	for _, d := range missing() {
		_, err := random.OpenAt(t.Context(), d)
		wantMissing(t, place, d, err)
	}
}

// testLoneBlobs reads a blob from a place that has nothing else.
func testLoneBlobs(t *testing.T, s Subject) {
	place := s.New(t)
	blob := NewBlob(buildcache.MediaTypeConfig, []byte("a blob alone"))
	if err := place.Put(t.Context(), blob.Descriptor, layout.OpenBytes(blob.Data)); err != nil {
		t.Fatal(err)
	}
	got, err := layout.ReadBlob(t.Context(), place, blob.Descriptor, blob.Size)
	if err != nil || !bytes.Equal(got, blob.Data) {
		t.Errorf("%q (%v)", got, err)
	}
}

func testFindDigest(t *testing.T, s Subject) {
	contents, kinds := some()
	place := s.holding(t, contents)
	for _, e := range contents.Entries {
		e.Kind = kinds[e.Tag]
		e.Tag = ""
		found, err := layout.FindDigest(t.Context(), place, e.Descriptor.Digest)
		if err != nil || !sameEntry(found, e) || found.Kind != e.Kind || found.Err != nil {
			t.Errorf("%v (%v), want %v", found, err, e)
		}
	}
	gone := missing()[1].Digest
	var none *layout.NotFoundError
	if _, err := layout.FindDigest(t.Context(), place, gone); !errors.As(err, &none) || none.Digest != gone || none.Place != place.String() {
		t.Errorf("got %v, want a *NotFoundError", err)
	}
	var blob *layout.BlobError
	if _, err := layout.FindDigest(t.Context(), place, "sha256:../../x"); !errors.As(err, &blob) {
		t.Errorf("got %v, want a *BlobError", err)
	}
}

// testDamaged damages blobs. A place may return other bytes, or none, but readers must notice.
func testDamaged(t *testing.T, s Subject) {
	if s.lacks(Damaging) {
		return // Run has checked that there is no Damage
	}
	tree, whole := Cache(buildcache.Artifact, buildcache.Gzip, []byte("the first layer"), []byte("the second layer")), small("whole")
	place := s.holding(t, Contents{}.With("damaged", tree).With("whole", whole))
	layer, root := tree[0], tree.Root()
	s.Damage(t, place, layer.Digest)
	s.Damage(t, place, root.Digest)
	place = s.again(t, place)
	_, findErr := layout.FindDigest(t.Context(), place, root.Digest)
	if _, err := layout.FindDigest(t.Context(), place, whole.Root().Digest); err != nil {
		t.Errorf("the root beside the damaged one: %v", err)
	}
	_, layerErr := layout.ReadBlob(t.Context(), place, layer.Descriptor, layer.Size)
	_, rootErr := layout.ReadBlob(t.Context(), place, root, root.Size)
	for what, err := range map[string]error{"root by digest": findErr, "layer": layerErr, "root": rootErr} {
		var blob *layout.BlobError
		if !errors.As(err, &blob) || !errors.Is(err, layout.ErrBlobDamaged) || blob.Place != place.String() {
			t.Errorf("%s: %v, want a *BlobError of %s for damage", what, err, place)
		}
	}
	wantBlob(t, place, tree[1])
}

// testWalk wants whatever reads whole caches and images to find all their blobs.
func testWalk(t *testing.T, s Subject) {
	contents, _ := some()
	place := s.holding(t, contents)
	entries := entriesOf(t.Context(), t, place)
	reached, err := layout.Reach(t.Context(), place)
	if err != nil {
		t.Fatal(err)
	}
	for _, tree := range contents.Trees {
		want := map[digest.Digest]Blob{}
		for _, blob := range tree {
			want[blob.Digest] = blob
			if !reached[blob.Digest] {
				t.Errorf("%s is not reached", blob.Digest)
			}
			delete(reached, blob.Digest)
		}
		wantWalk(t, place, tree.Root(), want)
		graph, err := layout.Graph(t.Context(), place, tree.Root())
		if err != nil || len(graph) != len(want) || !slices.IsSortedFunc(graph, layout.CompareForReading) {
			t.Errorf("%v (%v) of %d blobs", graph, err, len(want))
		}
	}
	if len(reached) > 0 {
		t.Errorf("reached are %v as well, by %v", reached, entries)
	}
}

// wantWalk wants a walk to visit each of those blobs once, and no others, and to read the manifests.
func wantWalk(t *testing.T, place layout.Source, root buildcache.Descriptor, want map[digest.Digest]Blob) {
	t.Helper()
	seen := 0
	err := layout.Walk(t.Context(), place, root, func(n layout.Node) error {
		seen++
		blob, ok := want[n.Digest]
		if !ok || n.Err != nil || n.Size != blob.Size || n.Manifest && !bytes.Equal(n.Raw, blob.Data) {
			t.Errorf("comes to %v (%v) with %d bytes", n.Descriptor, n.Err, len(n.Raw))
		}
		if seen == 1 && n.Digest != root.Digest {
			t.Errorf("it begins with %s", n.Digest)
		}
		return nil
	})
	if err != nil || seen != len(want) {
		t.Errorf("%d of %d blobs (%v)", seen, len(want), err)
	}
}
