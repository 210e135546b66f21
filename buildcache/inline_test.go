package buildcache_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// The images with inline caches, as BuildKit wrote them, and the manifests in them.
var inlineImages = map[string][]digest.Digest{
	"../testdata/caches/inline-image": {"sha256:abd69b3058504bbcbc011da4a46957482a0e3efbaf530e5ac525f5b7255badd0"},
	"../testdata/images/multi-inline": {
		"sha256:698cbe5dee644c39e25a1f3083393c887566336bb5a048109f1feaa3a4e49e28",
		"sha256:d385d64a7976f0c385bb9c7c85019b9c707f837d384dca12514a04886c7b9f8d",
	},
}

func readInlineBlob(tb testing.TB, dir string, d digest.Digest) []byte {
	tb.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", d.Encoded()))
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

// inlineOf reads the inline cache of an image as whoever uses the package does.
func inlineOf(manifest, config []byte) (*buildcache.Inline, error) {
	image, err := buildcache.ParseImage(manifest)
	if err != nil {
		return nil, err
	}
	if err := image.ReadConfig(config); err != nil {
		return nil, err
	}
	return image.Inline()
}

func storedInlines(t *testing.T, dir string) []*buildcache.Inline {
	t.Helper()
	var inlines []*buildcache.Inline
	for _, d := range inlineImages[dir] {
		manifest := readInlineBlob(t, dir, d)
		image, err := buildcache.ParseImage(manifest)
		if err != nil {
			t.Fatal(err)
		}
		inline, err := inlineOf(manifest, readInlineBlob(t, dir, image.Config.Digest))
		if err != nil {
			t.Fatal(err)
		}
		inlines = append(inlines, inline)
	}
	return inlines
}

func unite(t *testing.T, inlines ...*buildcache.Inline) (*buildcache.Root, *buildcache.Config) {
	t.Helper()
	root, config, err := buildcache.Unite(inlines)
	if err != nil {
		t.Fatal(err)
	}
	raw := marshal(t, config)
	if root.Config.Digest != digest.FromString(raw) || root.Config.Size != int64(len(raw)) {
		t.Errorf("the root names another config than %s: %+v", raw, root.Config)
	}
	// What is said of it must hold of what is read from its bytes.
	root, config = parseRoot(t, []byte(marshal(t, root))), parseConfig(t, []byte(raw))
	for _, p := range buildcache.Validate(root, int64(len(marshal(t, root))), config) {
		t.Errorf("problem: %+v", p)
	}
	if !root.IsCanonical() || root.Form != buildcache.Artifact || len(root.Layers) != len(config.Layers) {
		t.Errorf("not as BuildKit writes a cache: %s", marshal(t, root))
	}
	return root, config
}

// TestInlineOfOneImage holds what becomes of a real image against what its JSON says.
func TestInlineOfOneImage(t *testing.T) {
	t.Parallel()
	const dir = "../testdata/caches/inline-image"
	inlines := storedInlines(t, dir)
	root, config := unite(t, inlines...)
	var manifest struct {
		Config struct{ Digest digest.Digest }
		Layers []struct {
			MediaType string
			Digest    digest.Digest
			Size      int64
		}
	}
	decode(t, readInlineBlob(t, dir, inlineImages[dir][0]), &manifest)
	var image struct {
		Inline  []byte `json:"moby.buildkit.cache.v0"`
		RootFS  struct{ Diff_IDs []string }
		History []struct {
			Created     string
			Empty_Layer bool
		}
	}
	decode(t, readInlineBlob(t, dir, manifest.Config.Digest), &image)
	var created []string
	for _, entry := range image.History {
		if !entry.Empty_Layer {
			created = append(created, entry.Created)
		}
	}
	if len(root.Layers) != len(manifest.Layers) {
		t.Fatalf("%d layers, want %d", len(root.Layers), len(manifest.Layers))
	}
	for i, want := range manifest.Layers {
		got := root.Layers[i]
		annotations := map[string]string{"containerd.io/uncompressed": image.RootFS.Diff_IDs[i], "buildkit/createdat": created[i]}
		if got.MediaType != want.MediaType || got.Digest != want.Digest || got.Size != want.Size ||
			marshal(t, got.Annotations) != marshal(t, annotations) || len(got.Extra) > 0 {
			t.Errorf("layer %d: %+v, want %+v with %v", i, got, want, annotations)
		}
		if config.Layers[i].Blob != want.Digest || config.Layers[i].Parent != i-1 {
			t.Errorf("layer %d of the config: %+v", i, config.Layers[i])
		}
	}
	if got := marshal(t, config.Records); got != string(image.Inline) {
		t.Errorf("the records are %s, want %s", got, image.Inline)
	}
	if n := inlines[0]; n.Image.Platform != "linux/amd64" || n.Records() != 23 || n.Results != 7 || n.Layers() != 6 {
		t.Errorf("%s: %d records, %d results, %d layers", n.Image.Platform, n.Records(), n.Results, n.Layers())
	}
}

// meanings says what each record of a cache stands for without any index: key, blobs of the results, and the meanings of
// the inputs.
func meanings(root *buildcache.Root, config *buildcache.Config) []string {
	var of func(i int) string
	of = func(i int) string {
		record := config.Records[i]
		text := record.Digest.String()
		blob := func(layer int) string {
			d := root.LayersByDigest()[config.Layers[layer].Blob]
			return fmt.Sprintf(" %s(%s)", d.Digest, d.DiffID())
		}
		for _, result := range record.Results {
			text += " result"
			for layer := result.Layer; layer != buildcache.NoParent; layer = config.Layers[layer].Parent {
				text += blob(layer)
			}
		}
		for _, chain := range record.Chains {
			text += " chain"
			for _, layer := range chain.Layers {
				text += blob(layer)
			}
		}
		for _, alternatives := range record.Inputs {
			text += " input"
			for _, input := range alternatives {
				text += fmt.Sprintf(" %s<%s>", input.Selector, digest.FromString(of(input.Link)))
			}
		}
		return text
	}
	all := make([]string, len(config.Records))
	for i := range all {
		all[i] = of(i)
	}
	return all
}

// TestInlineOfPlatforms unites the inline caches of two platforms: every record means what it meant, and layers that
// both begin with are there once.
func TestInlineOfPlatforms(t *testing.T) {
	t.Parallel()
	inlines := storedInlines(t, "../testdata/images/multi-inline")
	var want []string
	for _, inline := range inlines {
		want = append(want, meanings(unite(t, inline))...)
	}
	root, config := unite(t, inlines...)
	if got := meanings(root, config); !slices.Equal(got, want) {
		t.Errorf("the records mean\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// Each has four: the first is the same, the second not, and two more are the same on another parent.
	var parents []int
	for _, layer := range config.Layers {
		parents = append(parents, layer.Parent)
	}
	if want := []int{-1, 0, 1, 2, 0, 4, 5}; !slices.Equal(parents, want) || len(root.LayersByDigest()) != 5 {
		t.Errorf("parents %v, want %v; %d blobs, want 5", parents, want, len(root.LayersByDigest()))
	}
	// Chains of two images that share nothing.
	a, b := newInlineDraft(), newInlineDraft()
	for i, layer := range b.Layers {
		layer["digest"] = digest.FromString(fmt.Sprint("other", i))
	}
	b.Records = fmt.Sprintf(`[{"digest":%q,"layers":[{"layer":2}],"chains":[{"layers":[2,0]}]}]`, digest.FromString("k"))
	_, both := unite(t, mustInline(t, a), mustInline(t, b))
	if got := both.Records[2].Chains[0].Layers; !slices.Equal(got, []int{5, 3}) {
		t.Errorf("the chain has the layers %v, want [5 3]", got)
	}

	again, _ := unite(t, storedInlines(t, "../testdata/images/multi-inline")...)
	if marshal(t, again) != marshal(t, root) {
		t.Error("the same images give other bytes")
	}
	// The same image twice is no other cache but for its records.
	twice, _ := unite(t, inlines[0], inlines[0])
	if len(twice.Layers) != inlines[0].Layers() {
		t.Errorf("%d layers of an image taken twice", len(twice.Layers))
	}
}

// inlineDraft is an image to be made wrong in some way.
type inlineDraft struct {
	Layers  []map[string]any
	DiffIDs []any
	History []any
	Records any // raw JSON where it is a string
	Inline  any // instead of the records
}

func newInlineDraft() *inlineDraft {
	d := &inlineDraft{}
	for i := range 3 {
		d.Layers = append(d.Layers, map[string]any{
			"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": digest.FromString(fmt.Sprint("blob", i)), "size": 10 + i,
		})
		d.DiffIDs = append(d.DiffIDs, digest.FromString(fmt.Sprint("tar", i)))
		d.History = append(d.History, map[string]any{"created": fmt.Sprintf("2026-01-02T03:04:0%dZ", i)}, map[string]any{"empty_layer": true})
	}
	d.Records = []any{
		map[string]any{"digest": digest.FromString("k0")},
		map[string]any{
			"digest": digest.FromString("k1"), "inputs": []any{[]any{map[string]any{"link": 0, "selector": "s"}}},
			"layers": []any{map[string]any{"layer": 2, "createdAt": "2026-01-02T03:04:05Z"}},
		},
	}
	return d
}

func (d *inlineDraft) seal(t testing.TB) (manifest, config []byte) {
	t.Helper()
	records := []byte(nil)
	if text, ok := d.Records.(string); ok {
		records = []byte(text)
	} else {
		records = []byte(marshal(t, d.Records))
	}
	image := map[string]any{
		"os": "linux", "architecture": "arm64", "variant": "v8", "history": d.History,
		"rootfs": map[string]any{"diff_ids": d.DiffIDs}, "moby.buildkit.cache.v0": records,
	}
	if d.Inline != nil {
		image["moby.buildkit.cache.v0"] = d.Inline
	}
	config = []byte(marshal(t, image))
	manifest = []byte(marshal(t, map[string]any{
		"schemaVersion": 2, "mediaType": buildcache.MediaTypeDockerManifest, "layers": d.Layers,
		"config": map[string]any{"mediaType": "application/vnd.docker.container.image.v1+json", "digest": digest.FromBytes(config), "size": len(config)},
	}))
	return manifest, config
}

func mustInline(t *testing.T, d *inlineDraft) *buildcache.Inline {
	t.Helper()
	inline, err := inlineOf(d.seal(t))
	if err != nil {
		t.Fatal(err)
	}
	return inline
}

// TestInlineOddities are images that are unusual, and fine.
func TestInlineOddities(t *testing.T) {
	t.Parallel()
	record := func(results, chains string) string {
		return fmt.Sprintf(`[{"digest":%q,"layers":%s,"chains":%s}]`, digest.FromString("k"), results, chains)
	}
	age := func(d buildcache.Descriptor) string { return d.Annotations[buildcache.AnnotationCreatedAt] }
	for _, test := range []struct {
		name  string
		edit  func(d *inlineDraft)
		check func(root *buildcache.Root, config *buildcache.Config) bool
	}{
		{"as it is", func(*inlineDraft) {}, func(root *buildcache.Root, _ *buildcache.Config) bool {
			return root.Layers[2].MediaType == ociLayerGzip && age(root.Layers[2]) == "2026-01-02T03:04:02Z"
		}},
		{"no history", func(d *inlineDraft) { d.History = nil }, func(root *buildcache.Root, _ *buildcache.Config) bool {
			return age(root.Layers[0]) == "" && age(root.Layers[2]) == ""
		}},
		{"history of another length", func(d *inlineDraft) { d.History = d.History[2:] }, func(root *buildcache.Root, _ *buildcache.Config) bool {
			return age(root.Layers[0]) == "" && age(root.Layers[2]) == ""
		}},
		{"history without a time", func(d *inlineDraft) { d.History[0] = map[string]any{"created_by": "me"} }, func(root *buildcache.Root, _ *buildcache.Config) bool {
			return age(root.Layers[0]) == "" && age(root.Layers[1]) != ""
		}},
		{"annotations of the image", func(d *inlineDraft) {
			d.History, d.Layers[1]["annotations"], d.Layers[1]["data"] = nil, map[string]any{
				"containerd.io/uncompressed": "lies", "buildkit/createdat": "yesterday", "x": "y",
			}, "AAAA"
		}, func(root *buildcache.Root, _ *buildcache.Config) bool {
			l := root.Layers[1]
			return l.DiffID() == digest.FromString("tar1") && age(l) == "" && l.Annotations["x"] == "y" && len(l.Extra) == 0
		}},
		{"top layers without results", func(d *inlineDraft) { d.Records = record(`[{"layer":0}]`, `[{"layers":[1]}]`) }, func(root *buildcache.Root, config *buildcache.Config) bool {
			return len(root.Layers) == 2 && len(config.Layers) == 2
		}},
		{"one blob twice", func(d *inlineDraft) { d.Layers[1], d.DiffIDs[1] = d.Layers[0], d.DiffIDs[0] }, func(root *buildcache.Root, config *buildcache.Config) bool {
			return len(root.Layers) == 3 && config.Layers[1].Blob == config.Layers[0].Blob && config.Layers[1].Parent == 0 && config.Layers[2].Parent == 1
		}},
		{"a bad layer that nothing needs", func(d *inlineDraft) {
			d.Layers[2]["mediaType"], d.Records = "text/plain", record(`[{"layer":1}]`, `[]`)
		}, func(root *buildcache.Root, _ *buildcache.Config) bool { return len(root.Layers) == 2 }},
		{"members that nobody knows", func(d *inlineDraft) {
			d.Records = fmt.Sprintf(`[{"new":1,"digest":%q,"layers":[{"layer":2,"newer":[2]}]}]`, digest.FromString("k"))
		}, func(_ *buildcache.Root, config *buildcache.Config) bool {
			return len(config.Records[0].Extra) == 1 && len(config.Records[0].Results[0].Extra) == 1
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newInlineDraft()
			test.edit(d)
			if root, config := unite(t, mustInline(t, d)); !test.check(root, config) {
				t.Errorf("got %s\nand %s", marshal(t, root), marshal(t, config))
			}
		})
	}
}

const ociLayerGzip = "application/vnd.oci.image.layer.v1.tar+gzip"

// TestInlineDamage are images whose inline cache can't be used, with the type of the error that says so.
func TestInlineDamage(t *testing.T) {
	t.Parallel()
	key := digest.FromString("k")
	records := func(format string, args ...any) func(d *inlineDraft) {
		return func(d *inlineDraft) { d.Records = fmt.Sprintf(format, args...) }
	}
	damaged := func(kinds ...buildcache.Kind) func(error) bool {
		return func(err error) bool {
			var e *buildcache.InlineError
			if !errors.As(err, &e) || e.Image == "" || !strings.Contains(err.Error(), e.Image.String()) {
				return false
			}
			for _, kind := range kinds {
				if kindsOf(e.Problems)[kind] == 0 {
					return false
				}
			}
			return (len(kinds) == 0) == (len(e.Problems) == 0)
		}
	}
	none := func(err error) bool { return errors.Is(err, buildcache.ErrNoInline) }
	miscounted := func(layers, diffIDs int) func(error) bool {
		return func(err error) bool {
			var e *buildcache.LayerCountError
			return errors.As(err, &e) && *e == buildcache.LayerCountError{Layers: layers, DiffIDs: diffIDs}
		}
	}
	for _, test := range []struct {
		name string
		edit func(d *inlineDraft)
		want func(error) bool
	}{
		{"none", func(d *inlineDraft) { d.Inline = json.RawMessage("null") }, none},
		{"no records", records(`[]`), none},
		{"records that are null", records(`null`), none},
		{"no results", records(`[{"digest":%q}]`, key), none},
		{"results of a random record only", records(`[{"digest":"random:1","layers":[{"layer":0}]}]`), none},
		{"no layers", func(d *inlineDraft) { d.Layers, d.DiffIDs = nil, nil }, none},
		{"a diffID too few", func(d *inlineDraft) { d.DiffIDs = d.DiffIDs[1:] }, miscounted(3, 2)},
		{"no diffIDs", func(d *inlineDraft) { d.DiffIDs = nil }, miscounted(3, 0)},
		{"a layer too few", func(d *inlineDraft) { d.Layers = d.Layers[1:] }, miscounted(2, 3)},
		{"empty", func(d *inlineDraft) { d.Inline = "" }, damaged()},
		{"not base64", func(d *inlineDraft) { d.Inline = "***" }, damaged()},
		{"a number", func(d *inlineDraft) { d.Inline = 7 }, damaged()},
		{"not JSON", records("\x1f\x8b"), damaged()},
		{"cut short", records(`[{"digest":`), damaged()},
		{"an object", records(`{"records":[]}`), damaged()},
		{"a record of another kind", records(`[7]`), damaged()},
		{"a time that is none", records(`[{"digest":%q,"layers":[{"layer":0,"createdAt":"noon"}]}]`, key), damaged()},
		{"history that is none", func(d *inlineDraft) { d.History = []any{map[string]any{"created": "noon"}} }, damaged()},
		{"a layer beyond the image", records(`[{"digest":%q,"layers":[{"layer":3}]}]`, key), damaged(buildcache.LayerIndexRange)},
		{"a layer below the image", records(`[{"digest":%q,"layers":[{"layer":-1}]}]`, key), damaged(buildcache.LayerIndexRange)},
		{"a layer far beyond", records(`[{"digest":%q,"layers":[{"layer":9223372036854775807}]}]`, key), damaged(buildcache.LayerIndexRange)},
		{"a chain beyond the image", records(`[{"digest":%q,"chains":[{"layers":[0,3]}]}]`, key), damaged(buildcache.LayerIndexRange)},
		{"a link to nowhere", records(`[{"digest":%q,"layers":[{"layer":0}],"inputs":[[{"link":1}]]}]`, key), damaged(buildcache.RecordLinkRange)},
		{"a link below", records(`[{"digest":%q,"layers":[{"layer":0}],"inputs":[[{"link":-1}]]}]`, key), damaged(buildcache.RecordLinkRange)},
		{"a loop", records(`[{"digest":%q,"layers":[{"layer":0}],"inputs":[[{"link":0}]]}]`, key), damaged(buildcache.RecordLoop)},
		{"an input without alternatives", records(`[{"digest":%q,"layers":[{"layer":0}],"inputs":[[]]}]`, key), damaged(buildcache.RecordEmptyInput)},
		{"a link to a random record", records(`[{"digest":%q,"layers":[{"layer":0}],"inputs":[[{"link":1}]]},{"digest":"random:1"}]`, key), damaged(buildcache.RecordRandomLink)},
		{"a diffID that is none", func(d *inlineDraft) { d.DiffIDs[1] = "../../etc" }, damaged(buildcache.LayerNoDiffID)},
		{"a digest that is none", func(d *inlineDraft) { d.Layers[1]["digest"] = "sha256:../x" }, damaged(buildcache.DigestInvalid)},
		{"a layer without a size", func(d *inlineDraft) { d.Layers[0]["size"] = 0 }, damaged(buildcache.BlobSize)},
		{"a layer of an unknown type", func(d *inlineDraft) { d.Layers[0]["mediaType"] = "text/plain" }, damaged(buildcache.LayerMediaTypeBad)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newInlineDraft()
			test.edit(d)
			if inline, err := inlineOf(d.seal(t)); err == nil || inline != nil || !test.want(err) {
				t.Errorf("got %v, %v", inline, err)
			}
		})
	}
}

// TestInlineConflict refuses images that describe one layer differently: a cache has one description for each.
func TestInlineConflict(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(d *inlineDraft){
		"diffID":     func(d *inlineDraft) { d.DiffIDs[0] = digest.FromString("another") },
		"size":       func(d *inlineDraft) { d.Layers[0]["size"] = 99 },
		"media type": func(d *inlineDraft) { d.Layers[0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar" },
		"in one image": func(d *inlineDraft) {
			d.Layers[2] = d.Layers[0]
			d.Layers = slices.Clone(d.Layers)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := newInlineDraft(), newInlineDraft()
			edit(second)
			var inlines []*buildcache.Inline
			for _, d := range []*inlineDraft{first, second} {
				inlines = append(inlines, mustInline(t, d))
			}
			_, _, err := buildcache.Unite(inlines)
			var e *buildcache.InlineError
			if !errors.As(err, &e) || e.Image != inlines[1].Image.Digest || !strings.Contains(err.Error(), digest.FromString("blob0").String()) {
				t.Errorf("got %v", err)
			}
		})
	}
	// Docker's and OCI's names of one media type are no conflict, and ages may differ.
	first, second := newInlineDraft(), newInlineDraft()
	second.Layers[0]["mediaType"], second.History = ociLayerGzip, nil
	if root, _ := unite(t, mustInline(t, first), mustInline(t, second)); len(root.Layers) != 3 {
		t.Errorf("%d layers, want 3", len(root.Layers))
	}
}

// TestParseImage tells images from what is none.
func TestParseImage(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{`{"manifests":[]}`, `{"config":{"digest":""},"layers":[{}]}`, `{"config":{"digest":"sha256:0"}}`, `{}`} {
		if _, err := buildcache.ParseImage([]byte(raw)); !errors.Is(err, buildcache.ErrNoInline) {
			t.Errorf("%s: %v", raw, err)
		}
	}
	for _, raw := range []string{``, `[]`, `{"config":{},"manifests":[]}`, `{"config":7,"layers":[]}`, `{"layers":[7]}`} {
		if _, err := buildcache.ParseImage([]byte(raw)); err == nil || errors.Is(err, buildcache.ErrNoInline) {
			t.Errorf("%s: %v", raw, err)
		}
	}
	var size *buildcache.SizeError
	if _, err := buildcache.ParseImage(make([]byte, buildcache.MaxRoot+1)); !errors.As(err, &size) {
		t.Errorf("a manifest too large: %v", err)
	}
	if err := new(buildcache.Image).ReadConfig(make([]byte, buildcache.MaxConfig+1)); !errors.As(err, &size) {
		t.Errorf("a config too large: %v", err)
	}
}

// FuzzInline says that whatever an inline cache holds, what becomes of it has no errors, alone and beside another image.
func FuzzInline(f *testing.F) {
	f.Add([]byte(marshal(f, newInlineDraft().Records)))
	f.Add([]byte(`[{"digest":"sha256:00","layers":[{"layer":0}],"chains":[{"layers":[2]}],"inputs":[[{"link":1}],[{"link":1}]]},{}]`))
	const dir = "../testdata/images/multi-inline"
	other := readInlineBlob(f, dir, inlineImages[dir][0])
	otherImage, err := buildcache.ParseImage(other)
	if err != nil {
		f.Fatal(err)
	}
	neighbour, err := inlineOf(other, readInlineBlob(f, dir, otherImage.Config.Digest))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, records []byte) {
		if len(records) > maxInput {
			return
		}
		d := newInlineDraft()
		d.Records = string(records)
		inline, err := inlineOf(d.seal(t))
		if err != nil {
			return
		}
		for _, inlines := range [][]*buildcache.Inline{{inline}, {neighbour, inline}, {inline, neighbour}} {
			root, config, err := buildcache.Unite(inlines)
			if err != nil {
				continue
			}
			raw := []byte(marshal(t, root))
			again := parseConfig(t, []byte(marshal(t, config)))
			for _, p := range buildcache.Validate(parseRoot(t, raw), int64(len(raw)), again) {
				if p.Severity == buildcache.SeverityError && p.Kind != buildcache.RootTooLarge && p.Kind != buildcache.ConfigTooLarge {
					t.Errorf("problem: %+v", p)
				}
			}
		}
	})
}
