package layout_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

const imageName = "io.containerd.image.name"

func TestTag(t *testing.T) {
	t.Parallel()
	a, b, c := digest.FromString("a"), digest.FromString("b"), digest.FromString("c")
	entry := func(d digest.Digest, annotations string) string {
		return fmt.Sprintf(`{"mediaType":"text/plain","digest":"%s","size":1%s}`, d, annotations)
	}
	named := func(d digest.Digest, tag string) string {
		return entry(d, fmt.Sprintf(`,"annotations":{"org.opencontainers.image.ref.name":%q}`, tag))
	}
	for _, test := range []struct {
		name    string
		entries []string
		tag     string
		root    digest.Digest
		was     digest.Digest
		want    []string
		moved   *layout.TagMovedError // but for Place and Tag
	}{
		{name: "first", tag: "v1", root: a, want: []string{named(a, "v1")}},
		{name: "new beside others", entries: []string{named(b, "v2"), entry(c, "")}, tag: "v1", root: a, want: []string{named(b, "v2"), entry(c, ""), named(a, "v1")}},
		{name: "moves in its place", entries: []string{named(a, "v1"), named(b, "v2")}, tag: "v1", root: c, was: a, want: []string{named(c, "v1"), named(b, "v2")}},
		{
			name:    "keeps annotations and what is unknown, but for the old bytes",
			entries: []string{entry(a, `,"annotations":{"org.opencontainers.image.ref.name":"v1","x":"y"},"platform":{"os":"linux"},"data":"YQ==","unknown":[1]`)},
			tag:     "v1", root: c, was: a,
			want: []string{entry(c, `,"annotations":{"org.opencontainers.image.ref.name":"v1","x":"y"},"platform":{"os":"linux"},"unknown":[1]`)},
		},
		{
			name: "finds a name of containerd first, as BuildKit does", tag: "app:1", root: c, was: b,
			entries: []string{named(a, "app:1"), entry(b, `,"annotations":{"`+imageName+`":"app:1","org.opencontainers.image.ref.name":"1"}`)},
			want:    []string{named(a, "app:1"), entry(c, `,"annotations":{"`+imageName+`":"app:1","org.opencontainers.image.ref.name":"1"}`)},
		},
		{name: "drops nothing, be it not found", entries: []string{named(a, "v1"), named(b, "v1")}, tag: "v1", root: c, was: a, want: []string{named(c, "v1"), named(b, "v1")}},
		{name: "untagged", entries: []string{named(a, "v1"), entry(b, ""), entry(a, "")}, root: c, was: a, want: []string{named(a, "v1"), entry(b, ""), entry(c, "")}},
		{name: "moved", entries: []string{named(b, "v1")}, tag: "v1", root: c, was: a, moved: &layout.TagMovedError{Was: a, Now: b}},
		{name: "removed", entries: []string{named(b, "v2")}, tag: "v1", root: c, was: a, moved: &layout.TagMovedError{Was: a}},
		{name: "made", entries: []string{named(b, "v1")}, tag: "v1", root: c, moved: &layout.TagMovedError{Now: b}},
		{name: "untagged removed", entries: []string{named(a, "v1")}, root: c, was: a, moved: &layout.TagMovedError{Was: a}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := byHand(t)
			index := func(entries []string) string {
				return `{"schemaVersion":2,"manifests":[` + strings.Join(entries, ",") + `],"annotations":{"kept":"too"}}`
			}
			h.write("index.json", index(test.entries))
			before := layouttest.Tree(t, h.path)
			root := buildcache.Descriptor{MediaType: "text/plain", Digest: test.root, Size: 1}
			err := h.open().Tag(t.Context(), test.tag, root, test.was)
			wantNoTemporary(t, h.path)
			if test.moved != nil {
				want := *test.moved
				want.Place, want.Tag = h.path, test.tag
				var got *layout.TagMovedError
				if !errors.As(err, &got) || *got != want {
					t.Errorf("got %v, want %v", err, &want)
				}
				layouttest.WantTree(t, h.path, before, ".ocicache")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(filepath.Join(h.path, "index.json"))
			if want := index(test.want); err != nil || string(raw) != want {
				t.Errorf("index.json (%v)\n%s\nwant\n%s", err, raw, want)
			}
			info, err := os.Stat(filepath.Join(h.path, "index.json"))
			if err != nil || info.Mode() != 0o644 {
				t.Errorf("mode %v (%v)", info.Mode(), err)
			}
		})
	}
}

// A new entry without a tag nobody could find, so there is no way to make one.
func TestTagNeedsATag(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	before := layouttest.Tree(t, h.path)
	root, _ := bytesOf("root")
	if err := h.open().Tag(t.Context(), "", root, ""); !errors.Is(err, layout.ErrReference) {
		t.Errorf("got %v", err)
	}
	layouttest.WantTree(t, h.path, before, ".ocicache")
}

func TestTagMovedErrorSaysHow(t *testing.T) {
	t.Parallel()
	a, b := digest.FromString("a"), digest.FromString("b")
	for _, test := range []struct {
		was, now digest.Digest
		want     string
	}{
		{a, b, "was moved meanwhile by another process, from " + a.String() + " to " + b.String()},
		{a, "", "was removed meanwhile (it pointed to " + a.String()},
		{"", b, "was created meanwhile by another process (" + b.String()},
	} {
		err := &layout.TagMovedError{Place: "./cache", Tag: "v1", Was: test.was, Now: test.now}
		if got := err.Error(); !strings.HasPrefix(got, `./cache: the tag "v1" `) || !strings.Contains(got, test.want) {
			t.Errorf("%q does not say %q", got, test.want)
		}
	}
}

// index.json is the old one or the new one, whatever fails.
func TestTagFaults(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		h := byHand(t)
		old, root := h.cache("old"), h.cache("new")
		h.index(tagged(old, "latest"))
		before := layouttest.Tree(t, h.path)
		broken, fired := failNth(n)
		err := h.open().Tag(durable.WithFault(t.Context(), broken), "latest", root, old.Digest)
		if !fired() {
			if err != nil || n < 5 {
				t.Errorf("ends after %d operations with %v", n, err)
			}
			return
		}
		if !errors.Is(err, errFault) {
			t.Fatalf("operation %d: %v, want the fault", n, err)
		}
		wantNoTemporary(t, h.path)
		now := entryOf(t, h.open(), "latest").Descriptor.Digest
		if now != root.Digest {
			layouttest.WantTree(t, h.path, before, ".ocicache")
		}
		if err := h.open().Tag(t.Context(), "latest", root, now); err != nil {
			t.Errorf("after a fault of operation %d: %v", n, err)
		}
	}
}

func TestTagEndsWithItsContext(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	holder := start(t, "hold", filepath.Join(h.path, "index.json.lock"), "exclusive")
	before := layouttest.Tree(t, h.path)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	root, _ := bytesOf("root")
	if err := h.open().Tag(ctx, "latest", root, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	layouttest.WantTree(t, h.path, before, ".ocicache")
	holder.finish(t)
}
