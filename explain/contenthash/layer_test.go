package contenthash_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain/contenthash"
	"github.com/ocicache/ocicache/explain/llb"
)

func treeOf(t *testing.T, under *contenthash.Tree, members ...member) *contenthash.Tree {
	t.Helper()
	layer, err := contenthash.ReadLayer(bytes.NewReader(layerOf(t, members...)))
	if err != nil {
		t.Fatal(err)
	}
	return under.With(layer)
}

func sum(t *testing.T, tree *contenthash.Tree, p string) digest.Digest {
	t.Helper()
	d, err := tree.Checksum(llb.Selection{Path: p, FollowLinks: true})
	if err != nil {
		t.Fatalf("%s: %v", p, err)
	}
	return d
}

// TestLayers says that a tree is the same however many layers it came in, and that a tree stays what it was.
func TestLayers(t *testing.T) {
	t.Parallel()
	scratch := contenthash.Scratch()
	want := treeOf(t, scratch, dir("d", 0o700), file("d/new", "new"), file("kept", "kept"), file("other", "kept"))

	lower := treeOf(t, scratch, dir("d", 0o755), file("d/old", "old"), file("d/older", "old"), file("kept", "kept"), dir("was", 0o755), file("was/in", "x"))
	before := sum(t, lower, "/")
	for name, members := range map[string][]member{
		"whiteouts": {dir("d", 0o700), file("d/.wh.old", ""), file("d/.wh.older", ""), file("d/new", "new"), file(".wh.was", ""), link("other", "kept")},
		"opaque":    {dir("d", 0o700), file("d/.wh..wh..opq", ""), file("d/new", "new"), file(".wh.was", ""), file("other", "kept")},
		"late":      {dir("d", 0o700), file("d/new", "new"), file("d/.wh..wh..opq", ""), link("other", "kept"), file(".wh.was", "")},
		"replaced":  {file("d", "no directory"), dir("d", 0o700), file("d/new", "new"), file("was", ""), file(".wh.was", ""), link("other", "kept")},
	} {
		if got := sum(t, treeOf(t, lower, members...), "/"); got != sum(t, want, "/") {
			t.Errorf("%s: %s, want %s", name, got, sum(t, want, "/"))
		}
		if after := sum(t, lower, "/"); after != before {
			t.Fatalf("%s: the lower tree changed", name)
		}
	}
}

// TestLinks says where links lead, and that none leads out of the tree or around for ever.
func TestLinks(t *testing.T) {
	t.Parallel()
	tree := treeOf(t, contenthash.Scratch(), file("a/f", "x"), symlink("l", "a"), symlink("a/up", "../../../a"), symlink("loop", "loop"), symlink("abs", "/l/f"))
	for _, p := range []string{"/l/f", "/a/up/f", "/abs", "/l/up/up/f", "/a/../a/f"} {
		if got := sum(t, tree, p); got != sum(t, tree, "/a/f") {
			t.Errorf("%s is %s, want that of /a/f", p, got)
		}
	}
	if _, err := tree.Checksum(llb.Selection{Path: "/loop", FollowLinks: true}); err == nil || errors.Is(err, contenthash.ErrNotFound) {
		t.Errorf("/loop: %v, want an error of too many links", err)
	}
	if _, err := tree.Checksum(llb.Selection{Path: "/nothing"}); !errors.Is(err, contenthash.ErrNotFound) {
		t.Errorf("/nothing: %v, want ErrNotFound", err)
	}
}

// TestEmptySelection is what BuildKit makes of a pattern without a match.
func TestEmptySelection(t *testing.T) {
	t.Parallel()
	tree := treeOf(t, contenthash.Scratch(), file("a/f", "x"))
	for _, s := range []llb.Selection{{Path: "/a/*.go", Wildcard: true}, {Path: "/b/*", Wildcard: true}, {Path: "/b", Exclude: []string{"y"}}} {
		if got, err := tree.Checksum(s); err != nil || got != digest.FromString("") {
			t.Errorf("%+v: %s, %v, want the digest of nothing", s, got, err)
		}
	}
}
