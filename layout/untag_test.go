package layout_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// TestUntag takes exactly one tag away, without what it hides, and no blob.
func TestUntag(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	a, b := h.cache("a"), h.cache("b")
	h.index(tagged(a, "one"), tagged(a, "two"), tagged(b, "one"), b)
	dir := h.open()
	before := layouttest.Tree(t, h.path)
	var moved *layout.TagMovedError
	if err := dir.Untag(t.Context(), "one", b.Digest, nil); !errors.As(err, &moved) || moved.Now != a.Digest {
		t.Errorf("of another digest: %v", err)
	}
	layouttest.WantTree(t, h.path, before, ".ocicache")
	for _, step := range []struct {
		tag  string
		was  digest.Digest
		want int // entries
	}{
		{"none", a.Digest, 4},
		{"one", a.Digest, 3},
		{"one", b.Digest, 2},
		{"one", a.Digest, 2},
		{"", a.Digest, 2},
		{"", b.Digest, 1},
		{"two", a.Digest, 0},
	} {
		if err := dir.Untag(t.Context(), step.tag, step.was, nil); err != nil {
			t.Fatalf("%q: %v", step.tag, err)
		}
		entries, err := dir.Entries(t.Context())
		if err != nil || len(entries) != step.want {
			t.Errorf("after %q: %v (%v), want %d", step.tag, entries, err, step.want)
		}
	}
	layouttest.WantTree(t, h.path, before, ".ocicache", "index.json")
}

// TestUntagOneOfTwo leaves an entry its other tag, and one that has the tag for a part of its name nothing.
func TestUntagOneOfTwo(t *testing.T) {
	t.Parallel()
	named := func(d buildcache.Descriptor, tag, name string) buildcache.Descriptor {
		d = tagged(d, tag)
		d.Annotations["io.containerd.image.name"] = name
		return d
	}
	for _, tt := range []struct {
		name, take, want string // the tags that are left
	}{{"b", "a", "b"}, {"b", "b", "a"}, {"a", "a", ""}, {"docker.io/library/x:a", "a", ""}, {"", "a", ""}} {
		h := byHand(t)
		a := h.cache("a")
		h.index(named(a, "a", tt.name), tagged(h.cache("b"), "other"))
		if err := h.open().Untag(t.Context(), tt.take, a.Digest, nil); err != nil {
			t.Fatal(err)
		}
		entries, err := h.open().Entries(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(layout.TagsOf(entries, func(layout.Kind) bool { return true }), " ")
		if want := strings.TrimSpace(tt.want + " other"); got != want {
			t.Errorf("%s of a and %s: %q is left, want %q", tt.take, tt.name, got, want)
		}
	}
}

// TestUntagMemory does the same in memory.
func TestUntagMemory(t *testing.T) {
	t.Parallel()
	m := layout.NewMemory("memory")
	root, open := bytesOf("root")
	if err := errors.Join(m.Put(t.Context(), root, open), m.Tag(t.Context(), "one", root, ""), m.Tag(t.Context(), "two", root, "")); err != nil {
		t.Fatal(err)
	}
	var moved *layout.TagMovedError
	if err := m.Untag(t.Context(), "one", digest.FromString("x"), nil); !errors.As(err, &moved) {
		t.Errorf("of another digest: %v", err)
	}
	for range 2 {
		if err := m.Untag(t.Context(), "one", root.Digest, nil); err != nil {
			t.Fatal(err)
		}
		entries, err := m.Entries(t.Context())
		if err != nil || len(entries) != 1 || entries[0].Tag != "two" {
			t.Errorf("%v (%v)", entries, err)
		}
	}
}
