package placetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// tagTests are about setting tags.
var tagTests = []test{
	{"tag", true, testTag},
	{"tag that moved", true, testTagMoved},
	{"bad tags", true, testBadTags},
	{"two writers", true, testTwoWriters},
	{"two writers of one tag", true, testOneTag},
	{"tag that goes", true, testUntag},
}

// wantEntries wants a place to have exactly those entries, in any order.
func wantEntries(t *testing.T, place layout.Source, want ...layout.Entry) {
	t.Helper()
	got := entriesOf(t.Context(), t, place)
	missing := func(e layout.Entry) bool {
		return !slices.ContainsFunc(got, func(g layout.Entry) bool { return sameEntry(e, g) })
	}
	if len(got) != len(want) || slices.ContainsFunc(want, missing) {
		t.Errorf("there are %v, want %v", got, want)
	}
}

// wantMoved wants a tag not to be set, because it no longer points to was.
func wantMoved(t *testing.T, place layout.Place, tag string, root buildcache.Descriptor, was, now digest.Digest) {
	t.Helper()
	before := entriesOf(t.Context(), t, place)
	err := place.Tag(t.Context(), tag, root, was)
	var moved *layout.TagMovedError
	want := layout.TagMovedError{Place: place.String(), Tag: tag, Was: was, Now: now}
	if !errors.As(err, &moved) || *moved != want {
		t.Errorf("got %v, want %+v", err, want)
	}
	wantEntries(t, place, before...)
}

func testTag(t *testing.T, s Subject) {
	a, b, image := small("a"), small("b"), Image("app")
	place := s.New(t)
	for _, tree := range []Tree{a, b, image} {
		if err := tree.Put(t.Context(), place); err != nil {
			t.Fatal(err)
		}
	}
	wantEntries(t, place)
	for _, step := range []struct {
		tag  string
		root Tree
		was  digest.Digest
		want Contents
	}{
		{"z", a, "", Contents{}.With("z", a)},
		{"b", b, "", Contents{}.With("z", a).With("b", b)},
		{"b", b, b.Root().Digest, Contents{}.With("z", a).With("b", b)}, // unchanged
		{"z", b, a.Root().Digest, Contents{}.With("z", b).With("b", b)}, // two tags of one root
		{"b", a, b.Root().Digest, Contents{}.With("z", b).With("b", a)},
		{"B", image, "", Contents{}.With("z", b).With("b", a).With("B", image)},
		{"v1.0_rc-2", a, "", Contents{}.With("z", b).With("b", a).With("B", image).With("v1.0_rc-2", a)},
	} {
		if err := place.Tag(t.Context(), step.tag, step.root.Root(), step.was); err != nil {
			t.Fatalf("%s: %v", step.tag, err)
		}
		wantEntries(t, place, step.want.Entries...)
	}
	wantEntries(t, s.again(t, place), entriesOf(t.Context(), t, place)...)
}

func testTagMoved(t *testing.T, s Subject) {
	a, b, c := small("a"), small("b"), small("c")
	place := s.New(t)
	if err := errors.Join(Contents{}.With("taken", a).Put(t.Context(), place), b.Put(t.Context(), place), c.Put(t.Context(), place)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		tag      string
		was, now digest.Digest
	}{
		{tag: "taken", was: "", now: a.Root().Digest},                  // created by somebody else
		{tag: "taken", was: b.Root().Digest, now: a.Root().Digest},     // moved
		{tag: "taken", was: c.Root().Digest, now: a.Root().Digest},     // already where it is to go
		{tag: "removed", was: a.Root().Digest, now: ""},                // removed
		{tag: "removed", was: missing()[1].Digest, now: ""},            // never existed
		{tag: "taken", was: missing()[1].Digest, now: a.Root().Digest}, // from a root that never existed
	} {
		wantMoved(t, place, test.tag, c.Root(), test.was, test.now)
	}
	// Another handle sees the same, and moves the tag behind the first one's back.
	other := s.writer(t, place)
	if err := other.Tag(t.Context(), "taken", b.Root(), a.Root().Digest); err != nil {
		t.Fatal(err)
	}
	wantMoved(t, place, "taken", c.Root(), a.Root().Digest, b.Root().Digest)
}

func testBadTags(t *testing.T, s Subject) {
	a := small("a")
	place := s.New(t)
	if err := a.Put(t.Context(), place); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"bad tag!", "", "-x", ".x", "a\nb", "../x", strings.Repeat("x", 300)} {
		if err := place.Tag(t.Context(), tag, a.Root(), ""); err == nil && (tag != "" || s.lacks(Untagged)) {
			t.Errorf("%q was taken", tag)
		} else if tag != "" && !errors.Is(err, layout.ErrReference) {
			t.Errorf("%q: %v, want ErrReference", tag, err)
		}
	}
	for _, bad := range malformed {
		root := a.Root()
		root.Digest = bad
		if err := place.Tag(t.Context(), "latest", root, ""); err == nil {
			t.Errorf("a root %q was taken", bad)
		}
	}
	for _, e := range entriesOf(t.Context(), t, place) {
		if e.Tag != "" {
			t.Errorf("there is %v", e)
		}
	}
}

// testTwoWriters sets different tags through two handles at once. None may be lost.
func testTwoWriters(t *testing.T, s Subject) {
	place := s.New(t)
	places := []layout.Place{place, s.writer(t, place)}
	var want Contents
	for i := range 8 {
		want = want.With(fmt.Sprint("tag", i), small(fmt.Sprint("cache ", i)))
	}
	var group sync.WaitGroup
	for i, tree := range want.Trees {
		group.Go(func() {
			if err := tree.Put(t.Context(), places[i%2]); err != nil {
				t.Error(err)
				return
			}
			if err := places[i%2].Tag(t.Context(), want.Entries[i].Tag, tree.Root(), ""); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, place := range places {
		wantEntries(t, place, want.Entries...)
		for _, tree := range want.Trees {
			if _, err := layout.Graph(t.Context(), place, tree.Root()); err != nil {
				t.Error(err)
			}
		}
	}
}

// testOneTag moves one tag several times at once. One attempt succeeds, the others learn that the tag moved.
func testOneTag(t *testing.T, s Subject) {
	place := s.New(t)
	places := []layout.Place{place, s.writer(t, place)}
	was := small("was")
	if err := (Contents{}.With("one", was)).Put(t.Context(), place); err != nil {
		t.Fatal(err)
	}
	trees, errs := make([]Tree, 6), make([]error, 6)
	for i := range trees {
		trees[i] = small(fmt.Sprint("cache ", i))
		if err := trees[i].Put(t.Context(), places[i%2]); err != nil {
			t.Fatal(err)
		}
	}
	var group sync.WaitGroup
	for i, tree := range trees {
		group.Go(func() { errs[i] = places[i%2].Tag(t.Context(), "one", tree.Root(), was.Root().Digest) })
	}
	group.Wait()
	var won []digest.Digest
	for i, err := range errs {
		var moved *layout.TagMovedError
		if err == nil {
			won = append(won, trees[i].Root().Digest)
		} else if !errors.As(err, &moved) {
			t.Errorf("got %v, want a *TagMovedError", err)
		}
	}
	if len(won) != 1 && (len(won) == 0 || !s.lacks(CompareAndSwap)) {
		t.Errorf("%d of %d succeeded", len(won), len(errs))
	}
	found, err := layout.Find(t.Context(), place, "one")
	if err != nil || found == nil || !slices.Contains(won, found.Descriptor.Digest) {
		t.Errorf("the tag names %v (%v), and those who succeeded say %v", found, err, won)
	}
}

// testUntag removes tags, if the place can do that.
func testUntag(t *testing.T, s Subject) {
	a, b := small("a"), small("b")
	place := s.New(t)
	untagger, ok := place.(layout.Untagger)
	if !ok {
		t.Skip("it takes no tags away")
	}
	for _, tree := range []Tree{a, b} {
		if err := tree.Put(t.Context(), place); err != nil {
			t.Fatal(err)
		}
	}
	for tag, tree := range map[string]Tree{"one": a, "two": a, "three": b} {
		if err := place.Tag(t.Context(), tag, tree.Root(), ""); err != nil {
			t.Fatal(err)
		}
	}
	two, three := layout.Entry{Tag: "two", Descriptor: a.Root()}, layout.Entry{Tag: "three", Descriptor: b.Root()}
	var moved *layout.TagMovedError
	if err := untagger.Untag(t.Context(), "one", b.Root().Digest, nil); !errors.As(err, &moved) || moved.Now != a.Root().Digest {
		t.Errorf("of another root: %v, want a *TagMovedError", err)
	}
	wantEntries(t, place, layout.Entry{Tag: "one", Descriptor: a.Root()}, two, three)
	for range 2 { // the second time it is gone
		if err := untagger.Untag(t.Context(), "one", a.Root().Digest, []string{"two"}); err != nil {
			t.Fatal(err)
		}
		wantEntries(t, place, two, three)
	}
	if err := untagger.Untag(t.Context(), "three", b.Root().Digest, nil); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, place, two)
	for _, blob := range a {
		if has, err := place.Has(t.Context(), blob.Descriptor); err != nil || !has {
			t.Errorf("the blob %s, which is still named, is not there (%v)", blob.Digest, err)
		}
	}
}
