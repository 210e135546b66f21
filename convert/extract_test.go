package convert_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/layouttest"
	"github.com/ocicache/ocicache/layout"
)

// inlineLayouts are images that BuildKit wrote, with the records, layers of the root and layer blobs of their caches.
var inlineLayouts = []struct {
	path                  string
	records, layers, blob int
}{
	{corpus + "/inline-image", 23, 6, 6},
	{"../testdata/images/multi-inline", 15, 7, 5},
}

func readInline(tb testing.TB, src layout.Source, tag string) (*convert.Inlined, error) {
	tb.Helper()
	image, err := layout.OneImage(tb.Context(), src, tag)
	if err != nil {
		tb.Fatal(err)
	}
	return convert.ReadInline(tb.Context(), src, image)
}

func mustReadInline(tb testing.TB, src layout.Source) *convert.Inlined {
	tb.Helper()
	inlined, err := readInline(tb, src, "")
	if err != nil {
		tb.Fatal(err)
	}
	return inlined
}

func TestExtract(t *testing.T) {
	t.Parallel()
	for _, image := range inlineLayouts {
		for _, form := range append(buildcache.Forms(), "") {
			t.Run(filepath.Base(image.path)+" to "+string(form), func(t *testing.T) {
				t.Parallel()
				src, dst, log := watch(open(t, image.path)), layouttest.Create(t), &events{}
				o := convert.Options{Form: form, OnEvent: log.handle}
				result, err := mustReadInline(t, src).Extract(t.Context(), dst, "cache", o)
				if err != nil {
					t.Fatal(err)
				}
				wantClean(t, dst, "cache")
				wantNoTemporary(t, dst.String())
				cache := load(t, dst, "cache")
				if form == "" {
					form = buildcache.Artifact
				}
				wantEqual(t, "form", cache.Root.Form, form)
				wantEqual(t, "canonical", cache.Root.IsCanonical(), true)
				wantEqual(t, "records", len(cache.Config.Records), image.records)
				wantEqual(t, "layers", []int{len(cache.Root.Layers), len(cache.Config.Layers)}, []int{image.layers, image.layers})
				blobs := cache.Root.LayersByDigest()
				wantEqual(t, "blobs", len(blobs), image.blob)
				var bytes int64
				for d, layer := range blobs {
					bytes += layer.Size
					wantEqual(t, "times that the layer was copied", []int{src.opened[d], log.begun["copy"][d]}, []int{1, 1})
				}
				wantEqual(t, "moved", []int64{result.Moved, result.To.LayersBytes}, []int64{bytes, bytes})
				wantEqual(t, "root", []digest.Digest{result.To.Digest, result.To.Config}, []digest.Digest{cache.Descriptor.Digest, cache.Root.Config.Digest})
				for _, note := range result.Notes {
					if strings.Contains(note, "digest=") {
						t.Errorf("nobody imports by an old digest: %s", note)
					}
				}

				// Again, it is there already.
				again, err := mustReadInline(t, src).Extract(t.Context(), dst, "cache", o)
				if err != nil || again.Moved != 0 || again.To != result.To {
					t.Errorf("again: %+v, %v", again, err)
				}
			})
		}
	}
}

// TestExtractReport says what became of each image, attestations among them.
func TestExtractReport(t *testing.T) {
	t.Parallel()
	result, err := mustReadInline(t, open(t, inlineLayouts[1].path)).Extract(t.Context(), layouttest.Create(t), "t", convert.Options{})
	if err != nil {
		t.Fatal(err)
	}
	type part struct {
		platform                 string
		records, results, layers int
		passedOver               bool
	}
	var got []part
	for _, i := range result.Images {
		got = append(got, part{i.Platform, i.Records, i.Results, i.Layers, i.PassedOver != ""})
	}
	wantEqual(t, "images", got, []part{{"linux/amd64", 7, 5, 4, false}, {"linux/arm64", 8, 5, 4, false}, {"", 0, 0, 0, true}, {"", 0, 0, 0, true}})
	wantEqual(t, "tag and image", []any{result.Tag, result.Image}, []any{"t", digest.Digest("sha256:16d7b67462dfcf3a85eb8f090984c59be745298657e3b159ffc09185ebecd784")})
}

// TestExtractInPlace gives the cache a tag beside the image, which stays, and never the image's own.
func TestExtractInPlace(t *testing.T) {
	t.Parallel()
	path := layouttest.CopyCorpus(t, "inline-image")
	addLock(t, path)
	before := layouttest.Tree(t, path)
	place := open(t, path)
	_, err := mustReadInline(t, place).Extract(t.Context(), place, "1", convert.Options{})
	var taken *layout.TakenError
	if !errors.As(err, &taken) || taken.Tag != "1" {
		t.Errorf("got %v", err)
	}
	layouttest.WantTree(t, path, before)
	result, err := mustReadInline(t, place).Extract(t.Context(), place, "cache", convert.Options{})
	if err != nil || result.Moved != 0 {
		t.Fatalf("%+v, %v", result, err)
	}
	wantClean(t, place, "cache")
	if _, err := readInline(t, place, "1"); err != nil {
		t.Errorf("the image is not what it was: %v", err)
	}
	delete(before, "index.json")
	wantKept(t, path, before)
}

// TestExtractDryRun says what would come of it, and writes nothing.
func TestExtractDryRun(t *testing.T) {
	t.Parallel()
	src, dst := openCorpus(t, "inline-image"), layouttest.Create(t)
	before := layouttest.Tree(t, dst.String())
	for _, place := range []layout.Place{dst, nil} {
		result, err := mustReadInline(t, src).Extract(t.Context(), place, "cache", convert.Options{DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		layouttest.WantTree(t, dst.String(), before)
		real, err := mustReadInline(t, src).Extract(t.Context(), layouttest.Create(t), "cache", convert.Options{})
		if err != nil || result.To != real.To || !result.DryRun || result.Moved != real.Moved || len(result.Layers) != len(real.Layers) {
			t.Errorf("%v: would do %+v, did %+v", err, result, real)
		}
	}
}

// TestExtractDamagedLayer finds what is wrong with a layer before the tag is there.
func TestExtractDamagedLayer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		damage func(t *testing.T, path string, layer buildcache.Descriptor)
		want   func(error, buildcache.Descriptor) bool
	}{
		"altered":   {flip(middle), isBlobError(layout.ErrBlobDamaged)},
		"missing":   {remove, isProofError(buildcache.BlobMissing)},
		"truncated": {truncate, isProofError(buildcache.BlobDamaged)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, dst := layouttest.CopyCorpus(t, "inline-image"), layouttest.Create(t)
			layer := buildcache.Descriptor{Digest: "sha256:05565a4e44171b6d0f7694c970d490227e57d0a7b84027f4387b246164f5002d", Size: 1415}
			test.damage(t, path, layer)
			inlined := mustReadInline(t, open(t, path))
			if _, err := inlined.Extract(t.Context(), dst, "cache", convert.Options{}); err == nil || !test.want(err, layer) {
				t.Errorf("got %v", err)
			}
			if found, err := layout.Find(t.Context(), dst, "cache"); err != nil || found != nil {
				t.Errorf("the tag is there: %v, %v", found, err)
			}
			wantIntact(t, dst.String())
			wantNoTemporary(t, dst.String())
		})
	}
}

// imageLayout is a layout with images made for a test.
type imageLayout struct {
	t   *testing.T
	dir *layout.Dir
}

// image stores an image of some layers, whose records are given as JSON, and returns its manifest. What edit changes is
// the config.
func (l imageLayout) image(platform, records string, layers int, edit func(config, manifest map[string]any)) buildcache.Descriptor {
	l.t.Helper()
	var blobs []buildcache.Descriptor
	var diffIDs []digest.Digest
	for i := range layers {
		blob := putBlob(l.t, l.dir, fmt.Appendf(nil, "layer %d of %s", i, platform))
		blob.MediaType = "application/vnd.docker.image.rootfs.diff.tar"
		blobs, diffIDs = append(blobs, blob), append(diffIDs, blob.Digest)
	}
	config := map[string]any{
		"os": "linux", "architecture": platform, "rootfs": map[string]any{"diff_ids": diffIDs},
		"moby.buildkit.cache.v0": base64.StdEncoding.EncodeToString([]byte(records)),
	}
	manifest := map[string]any{"schemaVersion": 2, "mediaType": buildcache.MediaTypeDockerManifest, "layers": blobs}
	if edit != nil {
		edit(config, manifest)
	}
	manifest["config"] = putBlob(l.t, l.dir, marshal(l.t, config))
	d := putBlob(l.t, l.dir, marshal(l.t, manifest))
	d.MediaType = buildcache.MediaTypeDockerManifest
	return d
}

// tag stores an index of manifests and tags it; it returns the image as an entry.
func (l imageLayout) tag(manifests ...buildcache.Descriptor) layout.Entry {
	l.t.Helper()
	root := putBlob(l.t, l.dir, marshal(l.t, map[string]any{
		"schemaVersion": 2, "mediaType": buildcache.MediaTypeOCIIndex, "manifests": manifests,
	}))
	root.MediaType = buildcache.MediaTypeOCIIndex
	return layout.Entry{Tag: "image", Descriptor: root}
}

func oneRecord(key string, layer int) string {
	return fmt.Sprintf(`[{"digest":%q,"layers":[{"layer":%d,"createdAt":"2026-01-02T03:04:05Z"}]}]`, digest.FromString(key), layer)
}

func newImageLayout(t *testing.T) imageLayout {
	t.Helper()
	return imageLayout{t, layouttest.Create(t)}
}

// miscount takes a diffID away.
func miscount(config, _ map[string]any) {
	config["rootfs"] = map[string]any{"diff_ids": []digest.Digest{}}
}

// TestExtractPassesOver says of what is not in the result that it is not, and why.
func TestExtractPassesOver(t *testing.T) {
	t.Parallel()
	l := newImageLayout(t)
	gone := buildcache.Descriptor{MediaType: buildcache.MediaTypeOCIManifest, Digest: digest.FromString("gone"), Size: 3}
	foreign := func(_, manifest map[string]any) {
		layers, _ := manifest["layers"].([]buildcache.Descriptor)
		layers[0].MediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar"
		layers[0].URLs = []string{"https://example.com/layer"}
	}
	image := l.tag(
		gone, l.image("ok", oneRecord("a", 0), 2, foreign), l.image("bad", oneRecord("b", 0), 1, miscount),
		l.image("none", "[]", 1, nil), l.image("ok", oneRecord("a", 0), 2, foreign),
	)
	inlined, err := convert.ReadInline(t.Context(), l.dir, image)
	if err != nil {
		t.Fatal(err)
	}
	dst := layouttest.Create(t)
	result, err := inlined.Extract(t.Context(), dst, "latest", convert.Options{Form: buildcache.DockerList})
	if err != nil {
		t.Fatal(err)
	}
	var passed []string
	for _, i := range result.Images {
		passed = append(passed, i.Platform+": "+i.PassedOver)
	}
	slices.Sort(passed)
	wantEqual(t, "images", passed, []string{
		": its manifest is missing",
		"linux/bad: its manifest and its config differ in the number of layers (1 and 0); BuildKit passes over the inline cache of such an image",
		"linux/none: it carries no inline cache", "linux/ok: ",
	})
	notes := strings.Join(result.Notes, "\n")
	for _, want := range []string{
		gone.Digest.String() + ", which is missing", "the inline cache of linux/bad is not in the result",
		"history of linux/ok", "in linux/ok, the top 1 of 2 layers", "is marked as not distributable",
	} {
		if strings.Count(notes, want) != 1 {
			t.Errorf("%d notes with %q, want 1:\n%s", strings.Count(notes, want), want, notes)
		}
	}
	cache := load(t, dst, "latest")
	if len(cache.Root.Layers) != 1 || cache.Root.Layers[0].MediaType != "application/vnd.docker.image.rootfs.foreign.diff.tar" {
		t.Errorf("the layers are %+v", cache.Root.Layers)
	}
}

// TestExtractRefuses says with a type why there is nothing to extract, and makes nothing.
func TestExtractRefuses(t *testing.T) {
	t.Parallel()
	noInline := func(reason bool) func(error) bool {
		return func(err error) bool {
			var e *convert.NoInlineError
			var count *buildcache.LayerCountError
			return errors.As(err, &e) && e.Tag == "image" && e.Image != "" && errors.As(err, &count) == reason &&
				strings.Contains(err.Error(), e.Place)
		}
	}
	damaged := func(err error) bool {
		var e *buildcache.InlineError
		return errors.As(err, &e)
	}
	for name, test := range map[string]struct {
		make func(l imageLayout) layout.Entry
		want func(error) bool
	}{
		"no image has one": {func(l imageLayout) layout.Entry {
			return l.tag(l.image("a", "[]", 1, nil), l.image("b", "[]", 1, func(config, _ map[string]any) { delete(config, "moby.buildkit.cache.v0") }))
		}, noInline(false)},
		"BuildKit would pass over it": {func(l imageLayout) layout.Entry {
			return l.tag(l.image("a", oneRecord("a", 0), 1, miscount))
		}, noInline(true)},
		"empty index": {func(l imageLayout) layout.Entry { return l.tag() }, noInline(false)},
		"one of two damaged": {func(l imageLayout) layout.Entry {
			return l.tag(l.image("a", oneRecord("a", 0), 1, nil), l.image("b", oneRecord("b", 1), 1, nil))
		}, damaged},
		"config that is no JSON": {func(l imageLayout) layout.Entry {
			config := putBlob(l.t, l.dir, []byte("\x00"))
			d := putBlob(l.t, l.dir, marshal(l.t, map[string]any{"schemaVersion": 2, "config": config, "layers": []any{config}}))
			d.MediaType = buildcache.MediaTypeOCIManifest
			return l.tag(d)
		}, damaged},
		"config that is not there": {func(l imageLayout) layout.Entry {
			d := l.image("a", oneRecord("a", 0), 1, nil)
			raw := readFile(l.t, blobPath(l.dir.String(), d.Digest))
			var manifest struct{ Config buildcache.Descriptor }
			if err := json.Unmarshal(raw, &manifest); err != nil {
				l.t.Fatal(err)
			}
			remove(l.t, l.dir.String(), manifest.Config)
			return l.tag(d)
		}, func(err error) bool { return errors.Is(err, layout.ErrBlobMissing) }},
		"root that is not there": {func(l imageLayout) layout.Entry {
			image := l.tag(l.image("a", oneRecord("a", 0), 1, nil))
			remove(l.t, l.dir.String(), image.Descriptor)
			return image
		}, func(err error) bool { return errors.Is(err, layout.ErrBlobMissing) }},
		"altered manifest": {func(l imageLayout) layout.Entry {
			d := l.image("a", oneRecord("a", 0), 1, nil)
			flip(middle)(l.t, l.dir.String(), d)
			return l.tag(d)
		}, func(err error) bool { return errors.Is(err, layout.ErrBlobDamaged) }},
		"too much of it": {func(l imageLayout) layout.Entry {
			var images []buildcache.Descriptor
			for i := range 4 {
				images = append(images, l.image(fmt.Sprint("p", i), oneRecord("a", 0), 1, func(config, _ map[string]any) {
					config["author"] = strings.Repeat("x", 5<<20)
				}))
			}
			return l.tag(images...)
		}, func(err error) bool {
			var size *buildcache.SizeError
			return errors.As(err, &size)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newImageLayout(t)
			if inlined, err := convert.ReadInline(t.Context(), l.dir, test.make(l)); inlined != nil || err == nil || !test.want(err) {
				t.Errorf("got %v, %v", inlined, err)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		l := newImageLayout(t)
		image := l.tag(l.image("a", oneRecord("a", 0), 1, nil))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := convert.ReadInline(ctx, l.dir, image); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// TestExtractTooLarge refuses what BuildKit imports from an image and not as a cache, before anything is copied.
func TestExtractTooLarge(t *testing.T) {
	t.Parallel()
	l, dst := newImageLayout(t), layouttest.Create(t)
	records := make([]string, 10000)
	for i := range records {
		records[i] = strings.Trim(oneRecord(fmt.Sprint(i), 0), "[]")
	}
	image := l.tag(l.image("a", "["+strings.Join(records, ",")+"]", 1, nil))
	before := layouttest.Tree(t, dst.String())
	inlined, err := convert.ReadInline(t.Context(), l.dir, image)
	if err != nil {
		t.Fatal(err)
	}
	_, err = inlined.Extract(t.Context(), dst, "latest", convert.Options{})
	var proof *convert.ProofError
	if !errors.As(err, &proof) || proof.Problems[0].Kind != buildcache.ConfigTooLarge {
		t.Errorf("got %v", err)
	}
	got := layouttest.Tree(t, dst.String())
	maps.DeleteFunc(got, func(path, _ string) bool { return path == "cache.lock" })
	maps.DeleteFunc(before, func(path, _ string) bool { return path == "cache.lock" })
	if !maps.Equal(got, before) {
		t.Errorf("something was written: %v", got)
	}
}
