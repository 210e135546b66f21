package buildcache_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

func TestCheckDigest(t *testing.T) {
	t.Parallel()
	hex := strings.Repeat("0a", 32)
	for _, good := range []digest.Digest{sum("x"), digest.SHA512.FromString("x"), digest.Digest("sha256:" + hex)} {
		if err := buildcache.CheckDigest(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "sha256", "sha256:", ":" + hex, hex, "sha256:" + hex[1:], "sha256:" + hex + "0", "sha256:" + strings.ToUpper(hex),
		"SHA256:" + hex, "sha256:" + hex[:62] + "..", "sha256:../../../../etc/passwd", "sha256:" + hex + "/../x", "../sha256:" + hex,
		"sha512:" + hex, "sha384:" + strings.Repeat("0a", 48), "md5:" + strings.Repeat("0", 32), "sha256:" + hex + "\x00", "sha256:" + hex + "\n",
		"random:" + hex,
	} {
		if err := buildcache.CheckDigest(digest.Digest(bad)); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}

func TestDescriptorCreatedAt(t *testing.T) {
	t.Parallel()
	created := func(text string) buildcache.Descriptor {
		return buildcache.Descriptor{Annotations: map[string]string{buildcache.AnnotationCreatedAt: text}}
	}
	if at, err := (buildcache.Descriptor{}).CreatedAt(); err != nil || !at.IsZero() {
		t.Errorf("none: %v, %v", at, err)
	}
	want := time.Date(2026, 11, 23, 5, 35, 46, 384819028, time.UTC)
	if at, err := created("2026-11-23T05:35:46.384819028Z").CreatedAt(); err != nil || !at.Equal(want) {
		t.Errorf("got %v, %v", at, err)
	}
	for _, bad := range []string{"", "yesterday", "2026-11-23", "1795412146", `"2026-11-23T05:35:46Z"`} {
		if at, err := created(bad).CreatedAt(); err == nil {
			t.Errorf("%q was read as %v", bad, at)
		}
	}
}

func TestSuccessors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, raw, want string
	}{
		{"manifest", `{"config":{"digest":"c"},"layers":[{"digest":"a"},{"digest":"b"}],"subject":{"digest":"s"}}`, "a b c s"},
		{"list", `{"manifests":[{"digest":"a"},{"digest":"a"}],"subject":{"digest":"s"}}`, "a a s"},
		{"empty list", `{"manifests":[]}`, ""},
		{"null members", `{"config":null,"layers":null}`, ""},
		{"ambiguous", `{"config":{"digest":"c"},"manifests":[]}`, ""},
		{"no manifest", `{"layers":"x"}`, ""},
		{"no JSON", "\x1f\x8b", ""},
	}
	for _, tt := range tests {
		var got []string
		for _, d := range buildcache.Successors([]byte(tt.raw)) {
			got = append(got, d.Digest.String())
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, export := range corpusExports(t) {
		root := parseRoot(t, export.Root)
		if got := buildcache.Successors(export.Root); len(got) != len(root.Layers)+1 {
			t.Errorf("%s: %d successors of %d layers and a config", export.Name, len(got), len(root.Layers))
		}
	}
}

// TestParseSuccessors fails where one value hides what is named beside it, instead of naming nothing.
func TestParseSuccessors(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		`{"layers":"x"}`, `{"layers":[{"digest":"a","size":1.5}]}`, `{"layers":[{"digest":"a","size":"1"}]}`, `{"layers":[{"digest":5}]}`,
		`{"manifests":[{"digest":"a","annotations":{"a":1}}]}`, `{"manifests":[{"digest":"a","urls":"x"}]}`, `{"manifests":[`, "x",
	} {
		if got, err := buildcache.ParseSuccessors([]byte(bad)); err == nil {
			t.Errorf("%s: %v", bad, got)
		}
	}
}

// TestMentions finds digests wherever they stand.
func TestMentions(t *testing.T) {
	t.Parallel()
	a, b, c := digest.FromString("a"), digest.SHA512.FromString("b"), digest.FromString("c")
	text := fmt.Sprintf(`{"x":[{"blobSum":%q}],%q:1,"again":%q,"escaped":"\u0073ha256\u003A%s","in":"repo@%s,","md5":"md5:%032x","short":"sha256:12"`,
		a, b, a, c.Encoded(), digest.FromString("d"), 1)
	text += fmt.Sprintf(`,"annotations":{"containerd.io/uncompressed":%q},"rootfs":{"diff_ids":[%q,%q]}}`,
		digest.FromString("e"), digest.FromString("e"), digest.FromString("f"))
	want := []digest.Digest{a, b, c, digest.FromString("d")}
	if got := buildcache.Mentions([]byte(text)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestIsManifestType(t *testing.T) {
	t.Parallel()
	for _, form := range everyForm() {
		if !buildcache.IsManifestType(form.MediaType()) {
			t.Errorf("%s is none", form.MediaType())
		}
	}
	for _, leaf := range []string{"", buildcache.MediaTypeConfig, "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar"} {
		if buildcache.IsManifestType(leaf) {
			t.Errorf("%q is one", leaf)
		}
	}
}
