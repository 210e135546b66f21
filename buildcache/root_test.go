package buildcache_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

const (
	dockerList     = buildcache.MediaTypeDockerList
	dockerManifest = buildcache.MediaTypeDockerManifest
	ociIndex       = buildcache.MediaTypeOCIIndex
	ociManifest    = buildcache.MediaTypeOCIManifest
)

// TestDetectMediaType has every way in which content and mediaType can go together. The module scripts/oracle puts
// the same questions to BuildKit.
func TestDetectMediaType(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		raw  string
		want string
		err  error
	}{
		{"artifact", `{"mediaType":"` + ociManifest + `","config":{},"layers":[]}`, ociManifest, nil},
		{"docker manifest", `{"mediaType":"` + dockerManifest + `","config":{},"layers":[]}`, dockerManifest, nil},
		{"oci index", `{"mediaType":"` + ociIndex + `","manifests":[]}`, ociIndex, nil},
		{"docker list", `{"mediaType":"` + dockerList + `","manifests":[]}`, dockerList, nil},

		{"manifest without mediaType", `{"config":{},"layers":[]}`, dockerManifest, nil},
		{"list without mediaType", `{"manifests":[]}`, dockerList, nil},
		{"null mediaType", `{"mediaType":null,"config":{}}`, dockerManifest, nil},
		{"empty mediaType", `{"mediaType":"","layers":[]}`, dockerManifest, nil},
		{"config alone", `{"config":{}}`, dockerManifest, nil},
		{"layers alone", `{"layers":[]}`, dockerManifest, nil},
		{"null config counts", `{"config":null}`, dockerManifest, nil},
		{"null layers count", `{"layers":null}`, dockerManifest, nil},
		{"nothing at all", `{}`, dockerList, nil},
		{"null", `null`, dockerList, nil},

		{"unknown mediaType, manifest", `{"mediaType":"text/plain","config":{}}`, dockerManifest, nil},
		{"unknown mediaType, list", `{"mediaType":"text/plain","manifests":[]}`, dockerList, nil},
		{"unknown mediaType, nothing", `{"mediaType":"text/plain"}`, dockerList, nil},
		{"schema 1 is unknown", `{"mediaType":"application/vnd.docker.distribution.manifest.v1+json","layers":[]}`, dockerManifest, nil},
		{"known mediaType, no members", `{"mediaType":"` + ociIndex + `"}`, ociIndex, nil},

		{"any case of members", `{"MEDIATYPE":"` + ociManifest + `","Config":{}}`, ociManifest, nil},
		{"any case of members, ambiguous", `{"CONFIG":{},"Manifests":[]}`, "", buildcache.ErrAmbiguousRoot},

		{"config and manifests", `{"config":{},"manifests":[]}`, "", buildcache.ErrAmbiguousRoot},
		{"layers and manifests", `{"layers":[],"manifests":[]}`, "", buildcache.ErrAmbiguousRoot},
		{"null manifests count", `{"config":{},"layers":[],"manifests":null}`, "", buildcache.ErrAmbiguousRoot},
		{"null config counts against a list", `{"config":null,"manifests":[]}`, "", buildcache.ErrAmbiguousRoot},
		{
			"ambiguous although the mediaType decides", `{"mediaType":"` + ociManifest + `","config":{},"manifests":[]}`, "",
			buildcache.ErrAmbiguousRoot,
		},

		{"oci index with layers", `{"mediaType":"` + ociIndex + `","layers":[]}`, "", buildcache.ErrMediaType},
		{"docker list with config", `{"mediaType":"` + dockerList + `","config":{}}`, "", buildcache.ErrMediaType},
		{"oci manifest with manifests", `{"mediaType":"` + ociManifest + `","manifests":[]}`, "", buildcache.ErrMediaType},
		{"docker manifest with nothing", `{"mediaType":"` + dockerManifest + `"}`, "", buildcache.ErrMediaType},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := buildcache.DetectMediaType([]byte(tt.raw))
			if !errors.Is(err, tt.err) || got != tt.want {
				t.Errorf("got %q, %v; want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
	for _, raw := range []string{``, `{`, `[]`, `"list"`, `{"mediaType":3}`, `{"manifests":[]} x`, "\x1f\x8b\x08"} {
		if got, err := buildcache.DetectMediaType([]byte(raw)); err == nil {
			t.Errorf("%q was taken for a %s", raw, got)
		}
	}
}

// someRoot returns the JSON of a small root in each form.
func someRoot(form buildcache.Form) string {
	config := `{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"` + sum("config").String() + `","size":5}`
	layer := `{"mediaType":"` + buildcache.LayerMediaType(form, buildcache.Gzip) + `","digest":"` + sum("a").String() + `","size":3}`
	if form.IsList() {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s,%s]}`, form.MediaType(), layer, config)
	}
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, form.MediaType(), config, layer)
}

func everyForm() []buildcache.Form {
	return append(buildcache.Forms(), buildcache.DockerManifest)
}

func TestParseRootForms(t *testing.T) {
	t.Parallel()
	for _, form := range everyForm() {
		t.Run(string(form), func(t *testing.T) {
			t.Parallel()
			root := parseRoot(t, []byte(someRoot(form)))
			want := &buildcache.Root{
				Form: form, MediaType: form.MediaType(),
				Config: buildcache.Descriptor{MediaType: buildcache.MediaTypeConfig, Digest: sum("config"), Size: 5},
				Layers: []buildcache.Descriptor{{
					MediaType: buildcache.LayerMediaType(form, buildcache.Gzip), Digest: sum("a"), Size: 3,
				}},
			}
			if root.Form != want.Form || root.MediaType != want.MediaType || !reflect.DeepEqual(root.Config, want.Config) ||
				!reflect.DeepEqual(root.Layers, want.Layers) || root.Ignored != nil || root.Extra != nil {
				t.Errorf("got  %+v\nwant %+v", root, want)
			}
			if got := marshal(t, root); got != someRoot(form) {
				t.Errorf("written as %s\nwant       %s", got, someRoot(form))
			}
		})
	}
}

func TestParseRootConfig(t *testing.T) {
	t.Parallel()
	config := func(name string) string {
		return `{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"` + sum(name).String() + `","size":5}`
	}
	layer := `{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"` + sum("layer").String() + `","size":3}`
	nameless := `{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"","size":5}`
	tests := []struct {
		name    string
		raw     string
		config  digest.Digest // "" for no cache
		ignored []digest.Digest
		layers  int
	}{
		{"first in a list", `{"manifests":[` + config("c") + `,` + layer + `]}`, sum("c"), nil, 1},
		{"last of several wins", `{"manifests":[` + config("a") + `,` + layer + `,` + config("b") + `,` + config("c") + `]}`, sum("c"), []digest.Digest{sum("a"), sum("b")}, 1},
		{"a last one without a digest hides those before", `{"manifests":[` + config("c") + `,` + nameless + `]}`, "", nil, 0},
		{"among layers it is a layer", `{"config":` + config("c") + `,"layers":[` + layer + `,` + config("x") + `]}`, sum("c"), nil, 2},
		{"only among layers", `{"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + sum("i").String() + `","size":1},"layers":[` + config("c") + `]}`, "", nil, 0},
		{"without a mediaType", `{"config":{"digest":"` + sum("c").String() + `","size":5},"layers":[]}`, "", nil, 0},
		{"without a digest", `{"config":` + nameless + `,"layers":[]}`, "", nil, 0},
		{"no layers", `{"config":` + config("c") + `}`, sum("c"), nil, 0},
		{"null layers", `{"config":` + config("c") + `,"layers":null}`, sum("c"), nil, 0},
		{"null among layers", `{"config":` + config("c") + `,"layers":[null]}`, sum("c"), nil, 1},
		{"an image index", `{"manifests":[` + layer + `]}`, "", nil, 0},
		{"nothing", `{}`, "", nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root, err := buildcache.ParseRoot([]byte(tt.raw))
			if tt.config == "" {
				if !errors.Is(err, buildcache.ErrNotCache) {
					t.Errorf("got %+v, %v; want ErrNotCache", root, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var ignored []digest.Digest
			for _, d := range root.Ignored {
				ignored = append(ignored, d.Digest)
			}
			if root.Config.Digest != tt.config || len(root.Layers) != tt.layers || !reflect.DeepEqual(ignored, tt.ignored) {
				t.Errorf("got config %s, %d layers, ignored %v", root.Config.Digest, len(root.Layers), ignored)
			}
		})
	}
}

// TestParseRootRefuses has JSON that is well-formed but does not fit the types into which BuildKit reads it.
func TestParseRootRefuses(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		`{"manifests":{}}`,
		`{"manifests":[3]}`,
		`{"manifests":[{"size":"5"}]}`,
		`{"manifests":[{"size":1.5}]}`,
		`{"manifests":[{"annotations":{"a":1}}]}`,
		`{"manifests":[{"platform":"linux/amd64"}]}`,
		`{"manifests":[{"data":"not base64"}]}`,
		`{"manifests":[],"schemaVersion":"2"}`,
		`{"manifests":[],"annotations":[]}`,
		`{"config":[]}`,
		`{"config":{"digest":5}}`,
		`{"layers":{}}`,
		`{"layers":[{"urls":"https://example.com"}]}`,
		`{"layers":[],"subject":7}`,
	} {
		_, err := buildcache.ParseRoot([]byte(raw))
		if err == nil || errors.Is(err, buildcache.ErrNotCache) {
			t.Errorf("%s: got %v, want an error of the JSON", raw, err)
		}
	}
}

func TestParseRootSize(t *testing.T) {
	t.Parallel()
	root := someRoot(buildcache.Artifact)
	fits := root + strings.Repeat(" ", buildcache.MaxRoot-len(root))
	if _, err := buildcache.ParseRoot([]byte(fits)); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	_, err := buildcache.ParseRoot([]byte(fits + " "))
	var size *buildcache.SizeError
	if !errors.As(err, &size) || size.Size != buildcache.MaxRoot+1 || size.Limit != buildcache.MaxRoot {
		t.Errorf("above the limit: %v", err)
	}
}

// TestRootBytes holds what we write against what BuildKit wrote.
func TestRootBytes(t *testing.T) {
	t.Parallel()
	for _, export := range corpusExports(t) {
		root := parseRoot(t, export.Root)
		if got := marshal(t, root); got != string(export.Root) {
			t.Errorf("%s: written as\n%s\nBuildKit wrote\n%s", export.Name, got, export.Root)
		}
		if !root.IsCanonical() {
			t.Errorf("%s: BuildKit's own root counts as not canonical", export.Name)
		}
	}
}

// TestWithFormGivesBuildKitsBytes converts BuildKit's exports of one build into each other.
func TestWithFormGivesBuildKitsBytes(t *testing.T) {
	t.Parallel()
	pairs := 0
	for _, compression := range []string{"gzip", "zstd"} {
		for _, from := range buildcache.Forms() {
			for _, to := range buildcache.Forms() {
				pairs++
				root := parseRoot(t, corpusRoot(t, string(from)+"-"+compression))
				want := corpusRoot(t, string(to)+"-"+compression)
				if got := marshal(t, root.WithForm(to)); got != string(want) {
					t.Errorf("%s, %s to %s: got\n%s\nBuildKit wrote\n%s", compression, from, to, got, want)
				}
			}
		}
	}
	if pairs != 18 {
		t.Errorf("%d pairs, want 18", pairs)
	}
}

// TestWithFormThereAndBack covers the exports that BuildKit made in one form only.
func TestWithFormThereAndBack(t *testing.T) {
	t.Parallel()
	for _, export := range corpusExports(t) {
		root := parseRoot(t, export.Root)
		for _, form := range everyForm() {
			there := marshal(t, root.WithForm(form))
			if form != root.Form && there == string(export.Root) {
				t.Errorf("%s: to %s changed nothing", export.Name, form)
			}
			back := parseRoot(t, []byte(there)).WithForm(root.Form)
			if got := marshal(t, back); got != string(export.Root) {
				t.Errorf("%s: to %s and back gives\n%s\nBuildKit wrote\n%s", export.Name, form, got, export.Root)
			}
		}
	}
}

func TestWithFormMediaTypes(t *testing.T) {
	t.Parallel()
	const (
		oci, docker         = "application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"
		ociForeign          = "application/vnd.oci.image.layer.nondistributable.v1.tar"
		dockerForeign       = "application/vnd.docker.image.rootfs.foreign.diff.tar"
		unknown, misspelled = "application/octet-stream", "application/vnd.oci.image.layer.v1.tar.gzip"
	)
	tests := []struct{ from, list, manifest string }{
		{oci, docker, oci},
		{oci + "+gzip", docker + ".gzip", oci + "+gzip"},
		{oci + "+zstd", docker + ".zstd", oci + "+zstd"},
		{docker, docker, oci},
		{docker + ".gzip", docker + ".gzip", oci + "+gzip"},
		{docker + ".zstd", docker + ".zstd", oci + "+zstd"},
		{ociForeign, dockerForeign, ociForeign},
		{ociForeign + "+gzip", dockerForeign + ".gzip", ociForeign + "+gzip"},
		{ociForeign + "+zstd", ociForeign + "+zstd", ociForeign + "+zstd"}, // Docker has none
		{dockerForeign + ".gzip", dockerForeign + ".gzip", ociForeign + "+gzip"},
		{unknown, unknown, unknown},
		{misspelled, misspelled, misspelled},
		{"", "", ""},
	}
	for _, tt := range tests {
		root := &buildcache.Root{Layers: []buildcache.Descriptor{{MediaType: tt.from}}}
		for form, want := range map[buildcache.Form]string{
			buildcache.DockerList: tt.list, buildcache.DockerManifest: tt.list,
			buildcache.OCIIndex: tt.manifest, buildcache.Artifact: tt.manifest,
		} {
			if got := root.WithForm(form).Layers[0].MediaType; got != want {
				t.Errorf("%s in a %s: got %s, want %s", tt.from, form, got, want)
			}
		}
		if root.Layers[0].MediaType != tt.from {
			t.Errorf("WithForm changed its receiver: %s became %s", tt.from, root.Layers[0].MediaType)
		}
	}
}

// strangeRoot is a root with members that mean nothing here, on every level.
const strangeRoot = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
	`"config":{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"sha256:%[1]s","size":5,` +
	`"annotations":{"a":"\u003cb\u003e"},"x-config":{"deep":[1,2.50,1e9,null]}},` +
	`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%[1]s","size":3,` +
	`"urls":["https://example.com/?a=1\u0026b=2"],"platform":{"architecture":"amd64","os":"linux"},"x-layer":12345678901234567890}],` +
	`"artifactType":"application/vnd.example","subject":{"mediaType":"m","digest":"sha256:%[1]s","size":1},` +
	`"annotations":{"k":"v"},"x-root":"\u003ckept\u003e"}`

func TestRootKeepsUnknownMembers(t *testing.T) {
	t.Parallel()
	raw := fmt.Sprintf(strangeRoot, sum("x").Encoded())
	root := parseRoot(t, []byte(raw))
	if got := marshal(t, root); got != raw {
		t.Fatalf("got  %s\nwant %s", got, raw)
	}
	for _, form := range everyForm() {
		there := marshal(t, root.WithForm(form))
		for _, member := range []string{
			`"x-config":{"deep":[1,2.50,1e9,null]}`, `"x-layer":12345678901234567890`, `"x-root":"\u003ckept\u003e"`,
			`"artifactType"`, `"subject"`, `"platform"`, `"annotations":{"k":"v"}`, `"urls":["https://example.com/?a=1\u0026b=2"]`,
		} {
			if !strings.Contains(there, member) {
				t.Errorf("%s lost %s: %s", form, member, there)
			}
		}
		if got := marshal(t, parseRoot(t, []byte(there)).WithForm(buildcache.Artifact)); got != raw {
			t.Errorf("to %s and back\ngot  %s\nwant %s", form, got, raw)
		}
	}
}

// TestRootNames checks that names match in any case, as they do for BuildKit, and are written in theirs.
func TestRootNames(t *testing.T) {
	t.Parallel()
	raw := `{"SCHEMAVERSION":2,"MediaType":"` + ociManifest + `","Layers":[{"MEDIATYPE":"m","Digest":"sha256:1","SIZE":3,"URLs":["u"],"Annotations":{"A":"b"}}],` +
		`"Config":{"mediatype":"application/vnd.buildkit.cacheconfig.v0","DIGEST":"sha256:2","Size":1}}`
	want := `{"schemaVersion":2,"mediaType":"` + ociManifest + `","config":{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"sha256:2","size":1},` +
		`"layers":[{"mediaType":"m","digest":"sha256:1","size":3,"urls":["u"],"annotations":{"A":"b"}}]}`
	if got := marshal(t, parseRoot(t, []byte(raw))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestRootWithoutLayers makes sure that no null is written, which BuildKit and registries trip over.
func TestRootWithoutLayers(t *testing.T) {
	t.Parallel()
	config := buildcache.Descriptor{MediaType: buildcache.MediaTypeConfig, Digest: sum("c"), Size: 5}
	for _, form := range everyForm() {
		raw := marshal(t, &buildcache.Root{Form: form, Config: config})
		if strings.Contains(raw, "null") {
			t.Errorf("%s: %s", form, raw)
		}
		if root := parseRoot(t, []byte(raw)); len(root.Layers) != 0 || root.Config.Digest != config.Digest || root.Form != form {
			t.Errorf("%s: read again as %+v", form, root)
		}
	}
}

func TestIsCanonical(t *testing.T) {
	t.Parallel()
	list, artifact := someRoot(buildcache.DockerList), someRoot(buildcache.Artifact)
	tests := []struct {
		name string
		raw  string
		want bool
	}{
		{"as BuildKit writes it", artifact, true},
		{"list as BuildKit writes it", list, true},
		{"with further members", strings.Replace(artifact, `{"schemaVersion"`, `{"x":1,"schemaVersion"`, 1), true},
		{"no mediaType", strings.Replace(list, `"mediaType":"`+dockerList+`",`, "", 1), false},
		{"another mediaType", strings.Replace(list, dockerList, "text/plain", 1), false},
		{"no schemaVersion", strings.Replace(list, `"schemaVersion":2,`, "", 1), false},
		{"schemaVersion 1", strings.Replace(list, `"schemaVersion":2,`, `"schemaVersion":1,`, 1), false},
		{"layer type of the other family", strings.Replace(list, "application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.oci.image.layer.v1.tar+gzip", 1), false},
		{"unknown layer type", strings.Replace(list, "application/vnd.docker.image.rootfs.diff.tar.gzip", "text/plain", 1), true},
		{"a config among the layers", strings.Replace(artifact, `"layers":[`, `"layers":[{"mediaType":"`+buildcache.MediaTypeConfig+`","digest":"x","size":1},`, 1), false},
		{"two configs", strings.Replace(list, `"manifests":[`, `"manifests":[{"mediaType":"`+buildcache.MediaTypeConfig+`","digest":"x","size":1},`, 1), false},
	}
	for _, tt := range tests {
		root := parseRoot(t, []byte(tt.raw))
		if got := root.IsCanonical(); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
		if !root.WithForm(root.Form).IsCanonical() {
			t.Errorf("%s: still not canonical after WithForm", tt.name)
		}
		if again := parseRoot(t, []byte(marshal(t, root.WithForm(root.Form)))); !again.IsCanonical() {
			t.Errorf("%s: not canonical when read again", tt.name)
		}
	}
}

func TestSetConfig(t *testing.T) {
	t.Parallel()
	raw := strings.Replace(someRoot(buildcache.OCIIndex), `"size":5}`, `"size":5,"annotations":{"k":"v"},"data":"aGVsbG8=","x":1}`, 1)
	root := parseRoot(t, []byte(raw))
	other := root.WithForm(buildcache.Artifact) // shares what it can with root
	config := []byte(`{"layers":[]}`)
	root.SetConfig(config)
	want := fmt.Sprintf(`{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":%q,"size":%d,"annotations":{"k":"v"},"x":1}`, digest.FromBytes(config), len(config))
	if got := marshal(t, root.Config); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := marshal(t, other.Config); !bytes.Contains([]byte(raw), []byte(got)) {
		t.Errorf("another root changed as well: %s", got)
	}
}

func TestLayersByDigest(t *testing.T) {
	t.Parallel()
	a, b := sum("a"), sum("b")
	root := &buildcache.Root{Layers: []buildcache.Descriptor{{Digest: a, Size: 1}, {Digest: b, Size: 2}, {Digest: a, Size: 3}}}
	got := root.LayersByDigest()
	if len(got) != 2 || got[a].Size != 3 || got[b].Size != 2 {
		t.Errorf("got %v", got)
	}
}
