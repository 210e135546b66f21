package placetest

import (
	"errors"
	"slices"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// readTests are for all places.
var readTests = []test{
	{"names itself", false, testString},
	{"powers", false, testPowers},
	{"entries", false, testEntries},
	{"untagged entries", false, testUntagged},
	{"entries with one tag", false, testSharedTags},
	{"entries without root", false, testDangling},
	{"has", false, testHas},
	{"open", false, testOpen},
	{"open at", false, testOpenAt},
	{"blobs before roots", true, testLoneBlobs},
	{"root by digest", false, testFindDigest},
	{"damaged", false, testDamaged},
	{"walk", false, testWalk},
}

// some returns contents with an entry of every kind, whose tags aren't sorted.
func some() (contents Contents, kinds map[string]layout.Kind) {
	contents = Contents{}.
		With("v2", Cache(buildcache.Artifact, buildcache.Gzip, []byte("base"), []byte("middle"), []byte("top"))).
		With("v1", Cache(buildcache.OCIIndex, buildcache.Zstd, []byte("other"))).
		With("latest", Cache(buildcache.DockerList, buildcache.Uncompressed, []byte("third"), []byte("fourth"))).
		With("image", Image("app")).
		With("all-images", Index(Image("app on amd64"), Image("app on arm64")))
	return contents, map[string]layout.Kind{
		"v2": layout.KindCache, "v1": layout.KindCache, "latest": layout.KindCache,
		"image": layout.KindImage, "all-images": layout.KindIndex,
	}
}

func testString(t *testing.T, s Subject) {
	contents, _ := some()
	place := s.holding(t, contents)
	name := place.String()
	entriesOf(t.Context(), t, place)
	if name == "" || place.String() != name {
		t.Errorf("it is called %q, and later %q", name, place.String())
	}
}

// testPowers compares what the place is said to lack with the interfaces it has.
func testPowers(t *testing.T, s Subject) {
	place := s.holding(t, Contents{}.With("latest", small("a")))
	_, writes := place.(layout.Place)
	_, randomAccess := place.(layout.RandomAccess)
	_, resolves := place.(layout.Resolver)
	_, locks := place.(layout.Locker)
	_, unnamed := place.(layout.Unnamer)
	for ability, has := range map[Ability]bool{
		Writing: writes, RandomAccess: randomAccess, Resolving: resolves, Locking: locks, UnnamedRoots: unnamed,
	} {
		if has == s.lacks(ability) {
			t.Errorf("%s: it has it: %v, the table says that it lacks it: %v", ability, has, s.lacks(ability))
		}
	}
}

// testEntries wants a place to list exactly what it holds, and lookups to find it.
func testEntries(t *testing.T, s Subject) {
	contents, kinds := some()
	place := s.holding(t, contents)
	entries := entriesOf(t.Context(), t, place)
	if again := entriesOf(t.Context(), t, place); !slices.EqualFunc(entries, again, sameEntry) {
		t.Errorf("another order: %v, then %v", entries, again)
	}
	if len(entries) != len(contents.Entries) {
		t.Errorf("%d entries, want %d: %v", len(entries), len(contents.Entries), entries)
	}
	for _, want := range contents.Entries {
		if !slices.ContainsFunc(entries, func(e layout.Entry) bool { return sameEntry(e, want) }) {
			t.Errorf("%v is not in %v", want, entries)
		}
		found, err := layout.Find(t.Context(), place, want.Tag)
		if err != nil || found == nil || !sameEntry(*found, want) || found.Kind != kinds[want.Tag] || found.Err != nil {
			t.Errorf("the look-up of %s finds %v (%v), want %v, of kind %s", want.Tag, found, err, want, kinds[want.Tag])
		}
	}
	for _, tag := range []string{"nobody", ""} {
		if found, err := layout.Find(t.Context(), place, tag); err != nil || found != nil {
			t.Errorf("the look-up of %q finds %v (%v)", tag, found, err)
		}
	}
	cache, err := layout.OneCache(t.Context(), place, "")
	if err != nil || cache.Tag != layout.DefaultTag {
		t.Errorf("without a tag it is %v (%v)", cache, err)
	}
}

func sameEntry(a, b layout.Entry) bool {
	return a.Tag == b.Tag && a.Descriptor.Digest == b.Descriptor.Digest && a.Descriptor.Size == b.Descriptor.Size && a.Descriptor.MediaType == b.Descriptor.MediaType
}

// hold returns a place with contents that need an ability. If the place lacks it, hold returns nil, and wants an error or
// entries other than those in contents.
func hold(t *testing.T, s Subject, ability Ability, contents Contents) layout.Source {
	t.Helper()
	place, err := s.tryHolding(t, contents)
	if err != nil && !s.lacks(ability) {
		t.Fatal(err)
	}
	if err != nil {
		return nil
	}
	entries := entriesOf(t.Context(), t, place)
	holds := len(entries) == len(contents.Entries)
	for _, want := range contents.Entries {
		holds = holds && slices.ContainsFunc(entries, func(e layout.Entry) bool { return sameEntry(e, want) })
	}
	if holds == s.lacks(ability) {
		t.Errorf("%s: the table says that it lacks it: %v; it holds %v", ability, s.lacks(ability), entries)
	}
	if s.lacks(ability) {
		return nil
	}
	return place
}

func testUntagged(t *testing.T, s Subject) {
	a, b, c := small("a"), small("b"), small("c")
	src := hold(t, s, Untagged, Contents{}.With("tagged", a).With("", b))
	if src == nil {
		return
	}
	if found, err := layout.Find(t.Context(), src, ""); err != nil || found != nil {
		t.Errorf("a look-up without a tag finds %v (%v)", found, err)
	}
	place, ok := src.(layout.Place)
	if !ok {
		return
	}
	if err := c.Put(t.Context(), place); err != nil {
		t.Fatal(err)
	}
	wantMoved(t, place, "", c.Root(), a.Root().Digest, "")
	if err := place.Tag(t.Context(), "", c.Root(), b.Root().Digest); err != nil {
		t.Error(err)
	}
	wantEntries(t, place, Contents{}.With("tagged", a).With("", c).Entries...)
}

func testSharedTags(t *testing.T, s Subject) {
	a, b := small("a"), small("b")
	place := hold(t, s, SharedTags, Contents{}.With("same", a).With("same", b))
	if place == nil {
		return
	}
	found, err := layout.Find(t.Context(), place, "same")
	if err != nil || found == nil || found.Descriptor.Digest != a.Root().Digest {
		t.Errorf("the look-up finds %v (%v), want the first one", found, err)
	}
	entries := entriesOf(t.Context(), t, place)
	if entries[0].Descriptor.Digest != a.Root().Digest {
		t.Errorf("the second one is listed first: %v", entries)
	}
}

func testDangling(t *testing.T, s Subject) {
	a, gone := small("a"), missing()[1]
	contents := Contents{}.With("there", a)
	contents.Entries = append(contents.Entries, layout.Entry{Tag: "gone", Descriptor: gone})
	place := hold(t, s, Dangling, contents)
	if place == nil {
		return
	}
	found, err := layout.Find(t.Context(), place, "gone")
	if err != nil || found == nil || found.Kind != layout.KindDangling || !errors.Is(found.Err, layout.ErrBlobMissing) {
		t.Errorf("the look-up finds %v (%v)", found, err)
	}
	var dangling *layout.DanglingError
	if _, err := layout.OneCache(t.Context(), place, "gone"); !errors.As(err, &dangling) || dangling.Root != gone.Digest {
		t.Errorf("got %v, want a *DanglingError", err)
	}
}
