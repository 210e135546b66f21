package layout_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// inline stores an image that carries a cache.
func (h handmade) inline(name string) buildcache.Descriptor {
	h.t.Helper()
	layer := h.blob(buildcache.LayerMediaType(buildcache.Artifact, buildcache.Uncompressed), "inline layer of "+name)
	config := h.json(ocispec.MediaTypeImageConfig, map[string]any{
		"moby.buildkit.cache.v0": fmt.Appendf(nil, `[{"digest":%q,"layers":[{"layer":0}]}]`, digest.FromString("record")),
		"rootfs":                 map[string]any{"type": "layers", "diff_ids": []digest.Digest{layer.Digest}},
	})
	return h.json(buildcache.MediaTypeOCIManifest, map[string]any{"schemaVersion": 2, "config": config, "layers": []buildcache.Descriptor{layer}})
}

func TestChoosing(t *testing.T) {
	t.Parallel()
	type pick struct {
		tag   string
		root  string // the cache by its name, "" for an error
		check func(t *testing.T, err error)
	}
	notFound := func(want layout.NotFoundError) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			t.Helper()
			var got *layout.NotFoundError
			if !errors.As(err, &got) {
				t.Errorf("got %v, want a *NotFoundError", err)
				return
			}
			if got.Tag != want.Tag || !slices.Equal(got.Tags, want.Tags) || got.Images != want.Images || got.Inline != want.Inline ||
				!slices.Equal(got.Unnamed, want.Unnamed) {
				t.Errorf("got %+v, want %+v", *got, want)
			}
		}
	}
	ambiguous := func(tags ...string) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			t.Helper()
			var got *layout.AmbiguousError
			if !errors.As(err, &got) || !slices.Equal(got.Tags, tags) || !strings.Contains(err.Error(), tags[0]) {
				t.Errorf("got %v, want an *AmbiguousError of %q", err, tags)
			}
		}
	}
	untagged := "untagged " + byHand(t).cache("a").Digest.String()
	for _, test := range []struct {
		name string
		make func(h handmade) []buildcache.Descriptor
		all  []string // the caches that All returns
		err  func(t *testing.T, err error)
		one  []pick
	}{
		{
			name: "nothing", make: func(handmade) []buildcache.Descriptor { return nil },
			err: notFound(layout.NotFoundError{}),
			one: []pick{
				{tag: "", check: notFound(layout.NotFoundError{})},
				{tag: "v1", check: notFound(layout.NotFoundError{Tag: "v1"})},
			},
		},
		{
			name: "one", make: func(h handmade) []buildcache.Descriptor { return []buildcache.Descriptor{tagged(h.cache("a"), "v1")} },
			all: []string{"a"},
			one: []pick{
				{tag: "", root: "a"},
				{tag: "v1", root: "a"},
				{tag: "latest", check: notFound(layout.NotFoundError{Tag: "latest", Tags: []string{"v1"}})},
			},
		},
		{
			name: "several with latest",
			make: func(h handmade) []buildcache.Descriptor {
				return []buildcache.Descriptor{tagged(h.cache("a"), "v1"), tagged(h.cache("b"), "latest")}
			},
			all: []string{"a", "b"},
			one: []pick{{tag: "", root: "b"}, {tag: "v1", root: "a"}},
		},
		{
			name: "several without latest",
			make: func(h handmade) []buildcache.Descriptor {
				return []buildcache.Descriptor{tagged(h.cache("b"), "v1"), h.cache("a")}
			},
			all: []string{"b", "a"},
			one: []pick{{tag: "", check: ambiguous("v1", untagged)}, {tag: "v1", root: "b"}},
		},
		{
			name: "untagged", make: func(h handmade) []buildcache.Descriptor { return []buildcache.Descriptor{h.cache("a")} },
			all: []string{"a"}, one: []pick{{tag: "", root: "a"}},
		},
		{
			name: "beside images",
			make: func(h handmade) []buildcache.Descriptor {
				return []buildcache.Descriptor{
					tagged(h.image("i", false, nil), "latest"), tagged(h.cache("a"), "v1"), tagged(h.image("d", true, nil), "d"),
				}
			},
			all: []string{"a"},
			one: []pick{
				{tag: "latest", check: notFound(layout.NotFoundError{Tag: "latest", Tags: []string{"v1"}, Images: true})},
				{tag: "v1", root: "a"},
			},
		},
		{
			name: "only images",
			make: func(h handmade) []buildcache.Descriptor {
				return []buildcache.Descriptor{tagged(h.list(true, nil, h.image("d", true, nil)), "latest")}
			},
			err: notFound(layout.NotFoundError{Images: true}),
			one: []pick{{tag: "", check: notFound(layout.NotFoundError{Images: true})}},
		},
		{
			name: "inline cache",
			make: func(h handmade) []buildcache.Descriptor {
				return []buildcache.Descriptor{tagged(h.inline("i"), "latest")}
			},
			err: notFound(layout.NotFoundError{Images: true, Inline: true}),
			one: []pick{{tag: "", check: notFound(layout.NotFoundError{Images: true, Inline: true})}},
		},
		{
			name: "containerd's name goes first",
			make: func(h handmade) []buildcache.Descriptor {
				named := tagged(h.cache("b"), "1")
				named.Annotations[imageName] = "app"
				return []buildcache.Descriptor{tagged(h.cache("a"), "app"), named}
			},
			all: []string{"b", "b"}, // under both of its tags, and "a" under none
			one: []pick{{tag: "app", root: "b"}, {tag: "1", root: "b"}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := byHand(t)
			h.index(test.make(h)...)
			names := map[digest.Digest]string{h.cacheDigest("a"): "a", h.cacheDigest("b"): "b"}
			all, err := layout.Caches(t.Context(), h.open())
			var got []string
			for _, entry := range all {
				got = append(got, names[entry.Descriptor.Digest])
			}
			if !slices.Equal(got, test.all) {
				t.Errorf("All: %q, want %q", got, test.all)
			}
			if test.err != nil {
				test.err(t, err)
			} else if err != nil {
				t.Error(err)
			}
			for _, p := range test.one {
				entry, err := layout.OneCache(t.Context(), h.open(), p.tag)
				if p.check != nil {
					p.check(t, err)
				} else if err != nil || names[entry.Descriptor.Digest] != p.root {
					t.Errorf("One(%q): %q %v, want %q", p.tag, names[entry.Descriptor.Digest], err, p.root)
				}
			}
		})
	}
}

// cacheDigest returns the root of a cache without storing it.
func (h handmade) cacheDigest(name string) digest.Digest { return byHand(h.t).cache(name).Digest }

// A tag that names nothing is BuildKit's own accident; the root that is probably meant lies there without a name.
func TestDangling(t *testing.T) {
	t.Parallel()
	dir := open(t, filepath.Join(corpus, "dangling-index"))
	found, err := layout.Survey(t.Context(), dir)
	if err != nil || len(found) != 1 || found[0].Kind != layout.KindDangling {
		t.Fatalf("%v %v", found, err)
	}
	unnamed, err := dir.UnnamedRoots(t.Context())
	if err != nil || len(unnamed) != 1 {
		t.Fatalf("unnamed roots %v (%v), want one", unnamed, err)
	}
	raw, err := os.ReadFile(blobPath(dir.String(), unnamed[0]))
	if err != nil {
		t.Fatal(err)
	}
	if root, err := buildcache.ParseRoot(raw); err != nil || root.Form != buildcache.DockerList {
		t.Errorf("%v %v", root, err)
	}
	_, allErr := layout.Caches(t.Context(), dir)
	_, oneErr := layout.OneCache(t.Context(), dir, "")
	_, tagErr := layout.OneCache(t.Context(), dir, "latest")
	for _, err := range []error{allErr, oneErr, tagErr} {
		var e *layout.DanglingError
		if !errors.As(err, &e) || e.Tag != "latest" || e.Root != found[0].Descriptor.Digest || !slices.Equal(e.Unnamed, unnamed) ||
			!strings.Contains(err.Error(), unnamed[0].String()) {
			t.Errorf("got %v, want a *DanglingError", err)
		}
	}
}

func TestUnnamedRoots(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	named, older, newer := h.cache("named"), h.cache("older"), h.cache("newer")
	h.image("image", false, nil)
	h.blob("", "{ no JSON")
	h.blob("", "")
	renamed := digest.FromString("a root under a wrong name")
	if err := os.Link(h.blobPath(newer.Digest), h.blobPath(renamed)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(h.blobPath(digest.FromString("fifo")), 0o644); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := errors.Join(
		os.Chtimes(h.blobPath(older.Digest), now, now.Add(-time.Hour)),
		os.Chtimes(h.blobPath(newer.Digest), now, now),
	); err != nil {
		t.Fatal(err)
	}
	h.index(tagged(named, "latest"))
	got, err := h.open().UnnamedRoots(t.Context())
	if want := []digest.Digest{newer.Digest, older.Digest}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v (%v), want %v, newest first", got, err, want)
	}
	// One that lacks a layer comes last, however new it is, and is not offered.
	if err := os.Remove(h.blobPath(digest.FromString("layer of newer"))); err != nil {
		t.Fatal(err)
	}
	caches, err := h.open().UnnamedCaches(t.Context())
	if err != nil || len(caches) != 2 || caches[0].Digest != older.Digest || !caches[0].Whole || caches[1].Whole ||
		caches[0].Records != 1 || caches[0].Results != 1 || caches[0].Newest == nil {
		t.Errorf("%+v (%v)", caches, err)
	}
	// Without any tag, the error of who looks for a cache says them.
	h.index()
	var e *layout.NotFoundError
	if _, err := layout.Caches(t.Context(), h.open()); !errors.As(err, &e) || len(e.Unnamed) != 2 {
		t.Errorf("got %v, want a *NotFoundError with the two whole roots", err)
	}
}

func TestSurvey(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	tooLarge := h.blob(buildcache.MediaTypeOCIManifest, `{"config":{}`+strings.Repeat(" ", buildcache.MaxRoot))
	notJSON := h.blob(buildcache.MediaTypeOCIManifest, "no JSON")
	largeOther := h.blob("application/octet-stream", strings.Repeat("x", buildcache.MaxRoot+1))
	damaged := h.cache("damaged")
	if err := errors.Join(os.Chmod(h.blobPath(damaged.Digest), 0o600), os.WriteFile(h.blobPath(damaged.Digest), []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	ambiguous := h.blob(buildcache.MediaTypeOCIManifest, `{"config":{},"manifests":[]}`)
	h.index(
		tagged(h.cache("a"), "cache"), tagged(h.image("i", false, nil), "other"), tagged(h.list(false, nil), "index"),
		tagged(buildcache.Descriptor{Digest: digest.FromString("gone"), Size: 1}, "dangling"),
		tagged(notJSON, "invalid"), tagged(tooLarge, "invalid"), tagged(ambiguous, "invalid"),
		tagged(largeOther, "other"), tagged(damaged, "invalid"),
	)
	kinds := map[string]layout.Kind{
		"cache": layout.KindCache, "other": layout.KindImage, "index": layout.KindIndex, "dangling": layout.KindDangling, "invalid": layout.KindInvalid,
	}
	found, err := layout.Survey(t.Context(), h.open())
	if err != nil || len(found) != 9 {
		t.Fatalf("%v %v", found, err)
	}
	for _, f := range found {
		if f.Kind != kinds[f.Tag] || (f.Err != nil) != (f.Kind == layout.KindInvalid || f.Kind == layout.KindDangling) {
			t.Errorf("%s %s: kind %s (%v), want %s", f.Tag, f.Descriptor.Digest, f.Kind, f.Err, kinds[f.Tag])
		}
	}
	if _, err := layout.OneCache(t.Context(), h.open(), "invalid"); err == nil || !strings.Contains(err.Error(), notJSON.Digest.String()) {
		t.Errorf("got %v, want an error that names the root", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := layout.Survey(ctx, h.open()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	root := h.cache("a")
	h.index(tagged(root, "latest"))
	entry := entryOf(t, h.open(), "latest")
	cache, err := layout.Load(t.Context(), h.open(), entry)
	if err != nil {
		t.Fatal(err)
	}
	if cache.Tag != "latest" || digest.FromBytes(cache.RawRoot) != root.Digest || digest.FromBytes(cache.RawConfig) != cache.Root.Config.Digest ||
		len(cache.Config.Records) != 1 {
		t.Errorf("%+v", cache)
	}

	config := h.blobPath(cache.Root.Config.Digest)
	for _, test := range []struct {
		name   string
		path   string
		change func(path string) error
		want   error
	}{
		{"root damaged", h.blobPath(root.Digest), flipByte, layout.ErrBlobDamaged},
		{"config damaged", config, flipByte, layout.ErrBlobDamaged},
		{"config truncated", config, func(path string) error { return os.Truncate(path, 10) }, layout.ErrBlobDamaged},
		{"config missing", config, os.Remove, layout.ErrBlobMissing},
		{"root missing", h.blobPath(root.Digest), os.Remove, layout.ErrBlobMissing},
	} {
		raw, err := os.ReadFile(test.path)
		if err := errors.Join(err, os.Chmod(test.path, 0o600), test.change(test.path)); err != nil {
			t.Fatal(err)
		}
		var e *layout.BlobError
		if _, err := layout.Load(t.Context(), h.open(), entry); !errors.As(err, &e) || !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want a *BlobError for %v", test.name, err, test.want)
		}
		if err := os.WriteFile(test.path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func flipByte(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	raw[len(raw)/2] ^= 1
	return os.WriteFile(path, raw, 0o600)
}

func TestLeftovers(t *testing.T) {
	t.Parallel()
	h := byHand(t)
	if left, err := h.open().Leftovers(); err != nil || len(left) != 0 {
		t.Errorf("%q %v", left, err)
	}
	ingest, state := filepath.Join(h.path, "ingest"), filepath.Join(h.path, ".ocicache")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(ingest, "abc"), 0o755), os.WriteFile(filepath.Join(ingest, "abc", "data"), nil, 0o644),
		os.Mkdir(state, 0o755), os.WriteFile(filepath.Join(state, "tmp-1"), nil, 0o644), os.WriteFile(filepath.Join(state, "journal"), nil, 0o644),
	); err != nil {
		t.Fatal(err)
	}
	left, err := h.open().Leftovers()
	want := []string{filepath.Join(state, "tmp-1"), filepath.Join(ingest, "abc")}
	if err != nil || !slices.Equal(left, want) {
		t.Errorf("%q %v, want %q", left, err, want)
	}
}

// A place that is no directory is a Source all the same: whoever reads from it verifies.
type memory map[digest.Digest]string

func (memory) String() string { return "memory" }

func (m memory) Has(_ context.Context, d buildcache.Descriptor) (bool, error) {
	text, ok := m[d.Digest]
	return ok && int64(len(text)) == d.Size, nil
}

func (m memory) Entries(context.Context) ([]layout.Entry, error) { return nil, nil }

func (m memory) Open(_ context.Context, d buildcache.Descriptor) (io.ReadCloser, error) {
	text, ok := m[d.Digest]
	if !ok {
		return nil, &layout.BlobError{Digest: d.Digest, Place: "memory", Err: layout.ErrBlobMissing}
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

func TestOtherSources(t *testing.T) {
	t.Parallel()
	good, _ := bytesOf("good")
	src := memory{good.Digest: "good", digest.FromString("bad"): "something else"}
	if got, err := layout.ReadBlob(t.Context(), src, good, 10); err != nil || string(got) != "good" {
		t.Errorf("%q %v", got, err)
	}
	var e *layout.BlobError
	bad, _ := bytesOf("bad")
	if _, err := layout.ReadBlob(t.Context(), src, bad, 10); !errors.As(err, &e) || e.Place != "memory" {
		t.Errorf("got %v", err)
	}
	if _, err := layout.Caches(t.Context(), src); !isNotFound(err) {
		t.Errorf("got %v", err)
	}
}
