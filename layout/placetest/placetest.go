package placetest

import (
	"context"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// Ability is something that some places can do and others can't.
type Ability string

// The abilities.
const (
	Writing        Ability = "writing"          // it is also a layout.Sink
	Untagged       Ability = "untagged"         // it holds entries without a tag, and Tag replaces them
	SharedTags     Ability = "shared tags"      // it holds several entries with the same tag
	Dangling       Ability = "dangling"         // it holds entries whose roots are missing
	CompareAndSwap Ability = "compare and swap" // of several callers that move a tag at the same moment, one succeeds
	Damaging       Ability = "damaging"         // Subject.Damage

	// These are interfaces of layout. A place has one if and only if it doesn't lack it.
	RandomAccess Ability = "random access" // layout.RandomAccess
	Resolving    Ability = "resolving"     // layout.Resolver
	Locking      Ability = "locking"       // layout.Locker
	UnnamedRoots Ability = "unnamed roots" // layout.Unnamer
)

// Subject is a kind of place to be tested. Whatever its functions make ends with the test they are given.
type Subject struct {
	// New makes an empty place. It is nil for a place that lacks Writing.
	New func(t *testing.T) layout.Place
	// Holding makes a place with contents, or says why there can't be one. If it is nil, the contents are put into
	// a new place, which then can't have untagged entries or several with the same tag.
	Holding func(t *testing.T, contents Contents) (layout.Source, error)
	// Again returns another handle on a place, one that has read nothing yet. If it is nil, the same handle is used again.
	Again func(t *testing.T, place layout.Source) layout.Source
	// Damage changes the bytes that the place has for a blob, behind its back, but not their number. It is nil for a place that
	// lacks Damaging.
	Damage func(t *testing.T, place layout.Source, blob digest.Digest)
	// Lacks is what the place can't do.
	Lacks []Ability
}

// test is one test of the suite.
type test struct {
	name   string
	writes bool // needs Writing
	run    func(t *testing.T, s Subject)
}

// Run tests that a kind of place is what layout says places are.
func Run(t *testing.T, subject Subject) {
	t.Helper()
	if subject.lacks(Writing) != (subject.New == nil) || subject.lacks(Damaging) != (subject.Damage == nil) {
		t.Fatal("New and Damage are there for what has Writing and Damaging, and for no other")
	}
	for _, c := range slices.Concat(readTests, putTests, tagTests, contextTests) {
		if c.writes && subject.lacks(Writing) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, subject)
		})
	}
}

func (s Subject) lacks(a Ability) bool { return slices.Contains(s.Lacks, a) }

// holding returns a place that holds contents.
func (s Subject) holding(t *testing.T, contents Contents) layout.Source {
	t.Helper()
	place, err := s.tryHolding(t, contents)
	if err != nil {
		t.Fatal(err)
	}
	return place
}

// tryHolding is holding, but returns an error if the place can't hold the contents.
func (s Subject) tryHolding(t *testing.T, contents Contents) (layout.Source, error) {
	t.Helper()
	if s.Holding != nil {
		return s.Holding(t, contents)
	}
	place := s.New(t)
	return place, contents.Put(t.Context(), place)
}

// again returns another handle on a place, if there is a way to get one.
func (s Subject) again(t *testing.T, place layout.Source) layout.Source {
	t.Helper()
	if s.Again == nil {
		return place
	}
	return s.Again(t, place)
}

// writer returns another handle for writing.
func (s Subject) writer(t *testing.T, place layout.Place) layout.Place {
	t.Helper()
	other, ok := s.again(t, place).(layout.Place)
	if !ok {
		t.Fatal("what Again returns can't be written to")
	}
	return other
}

// entriesOf lists the entries of a place, with only those fields that all places agree on.
func entriesOf(ctx context.Context, t *testing.T, src layout.Source) []layout.Entry {
	t.Helper()
	entries, err := src.Entries(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		entries[i].Descriptor = buildcache.Descriptor{MediaType: e.Descriptor.MediaType, Digest: e.Descriptor.Digest, Size: e.Descriptor.Size}
	}
	return entries
}
