//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// inlineTag is the tag of the images that carry inline caches.
const inlineTag = "1"

// TestExtract builds images with an inline cache, makes caches of their own of those, and imports each with a daemon
// that knows nothing: what the image covers comes back cached, with the same diff ids.
func TestExtract(t *testing.T) {
	needOcicache(t)
	both := options{Platforms: []string{"linux/amd64", "linux/arm64"}}
	for _, tt := range []struct {
		context string
		opts    options
		form    form
	}{
		{"small", options{}, artifact},
		{"small", options{}, dockerList},
		{"multi-inline", both, artifact},
		{"multi-inline", both, ociIndex},
		{"multi", both, artifact},
	} {
		t.Run(tt.context+"/"+string(tt.form), func(t *testing.T) {
			t.Parallel()
			context := contextDir(t, tt.context)
			image := exportInline(t, context, tt.opts)
			cache := extract(t, "oci:"+image.Dir, tt.form)
			got := importCache(t, cache, defaultTag, context, tt.opts)
			requireAllCached(t, got)
			requireImages(t, got.Images, image.Images)
			if got := importCache(t, image.Dir, inlineTag, context, tt.opts); countCached(got.Steps) != len(got.Steps) {
				t.Errorf("the image itself gives %d of %d steps: the test proves less than it says", countCached(got.Steps), len(got.Steps))
			}
		})
	}
}

// TestExtractStored does the same with stored images: one of them for two platforms with an attestation for each.
func TestExtractStored(t *testing.T) {
	needOcicache(t)
	both := options{Platforms: []string{"linux/amd64", "linux/arm64"}}
	for _, tt := range []struct {
		dir, context string
		opts         options
	}{
		{"caches/inline-image", "small", options{}},
		{"images/multi-inline", "multi-inline", both},
	} {
		t.Run(tt.context, func(t *testing.T) {
			t.Parallel()
			image, context := copyDir(t, filepath.Join(testdata, tt.dir)), contextDir(t, tt.context)
			want := importCache(t, image, inlineTag, context, tt.opts)
			requireAllCached(t, want)
			got := importCache(t, extract(t, "oci:"+image, artifact), defaultTag, context, tt.opts)
			requireSteps(t, got, want.Steps)
			requireImages(t, got.Images, want.Images)
		})
	}
}

// TestExtractControls shows that it is the extracted cache that hits: not without it, nor without its records, nor
// with those of one platform for the other.
func TestExtractControls(t *testing.T) {
	needOcicache(t)
	small := contextDir(t, "small")
	cache := extract(t, "oci:"+exportInline(t, small, options{}).Dir, artifact)
	for _, tt := range []struct {
		name string
		edit func(t *testing.T, config jsonObject) jsonObject
	}{
		{"without records", func(_ *testing.T, config jsonObject) jsonObject {
			delete(config, "records")
			return config
		}},
		{"with other keys", alterRecords},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := copyDir(t, cache)
			replaceConfig(t, dir, defaultTag, tt.edit(t, configOf(t, dir, defaultTag)))
			requireNothingCached(t, importCache(t, dir, defaultTag, small, options{}))
		})
	}
	t.Run("without a cache", func(t *testing.T) {
		t.Parallel()
		requireNothingCached(t, importCache(t, t.TempDir(), defaultTag, small, options{}))
	})
	t.Run("of one platform", func(t *testing.T) {
		t.Parallel()
		both := options{Platforms: []string{"linux/amd64", "linux/arm64"}}
		context := contextDir(t, "multi-inline")
		amd64 := exportInline(t, context, options{Platforms: both.Platforms[:1]})
		got := importCache(t, extract(t, "oci:"+amd64.Dir, artifact), defaultTag, context, both)
		for _, s := range got.Steps {
			if hit := s.Outcome == cached; hit && strings.Contains(s.Name, "flavour-arm64 ") {
				t.Errorf("%s came from nowhere", s.Name)
			} else if !hit && strings.Contains(s.Name, "flavour-amd64 ") {
				t.Errorf("%s is not cached", s.Name)
			}
		}
	})
}

// TestExtractFromRegistry makes a cache of an image that BuildKit pushed, in the registry and in a layout.
func TestExtractFromRegistry(t *testing.T) {
	needRegistry(t)
	host, context := startRegistry(t), contextDir(t, "multi-inline")
	both := options{Platforms: []string{"linux/amd64", "linux/arm64"}}
	image := host + "/app/image:main"
	err := withDaemon(t.Context(), func(d *daemon) error {
		_, err := d.build(t.Context(), build{
			Context: context, Platforms: both.Platforms,
			Exports: []string{"type=inline"},
			Outputs: []string{"type=image,push=true,name=" + image},
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ocicache(t, "extract", "docker://"+image, "docker://"+host+"/app/cache:main",
		"--src-tls-verify=false", "--dest-tls-verify=false")
	dir := filepath.Join(t.TempDir(), "cache")
	ocicache(t, "extract", "docker://"+image, dir, plain)
	for _, from := range []string{registryCache(host + "/app/cache:main"), localCache(dir, "main")} {
		got, err := runImportOf(t.Context(), t.Name(), from, context, both)
		if err != nil {
			t.Fatal(err)
		}
		requireAllCached(t, got)
	}
}

// exportInline builds the context on a fresh daemon, and writes the image with its inline cache to a new layout.
func exportInline(t *testing.T, contextDir string, opts options) exported {
	t.Helper()
	e := exported{Dir: filepath.Join(t.TempDir(), "image")}
	err := withDaemon(t.Context(), func(d *daemon) error {
		out, err := d.newOutput()
		if err != nil {
			return err
		}
		p, err := d.build(t.Context(), build{
			Context: contextDir, Platforms: opts.Platforms,
			Exports: []string{"type=inline"},
			Outputs: []string{"type=oci,tar=false,name=example.com/app:" + inlineTag + ",dest=" + e.Dir, out.image("")},
		})
		if err != nil {
			return err
		}
		if ran := len(stepsThatRan(p.Steps)); ran == 0 {
			t.Error("the fresh daemon had it all")
		}
		e.Images, err = readImages(out.oci)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// extract makes a cache of its own of the image in a layout or an archive, in a new layout, and has it verified.
func extract(t *testing.T, image string, to form) string {
	t.Helper()
	cache := filepath.Join(t.TempDir(), "extracted")
	ocicache(t, "extract", image+":"+inlineTag, "oci:"+cache+":"+defaultTag, "--to", string(to))
	ocicache(t, "verify", cache, "--deep")
	c := mustReadCache(t, cache, defaultTag)
	if got := c.root.MediaType; got != rootTypes[to] {
		t.Errorf("the root has media type %s, want %s", got, rootTypes[to])
	}
	return cache
}

// TestUnpackImage brings an image that BuildKit wrote as a tar, with its inline cache, into a layout, and makes a cache of
// its own of it there.
func TestUnpackImage(t *testing.T) {
	needOcicache(t)
	context, dir := contextDir(t, "small"), t.TempDir()
	image := filepath.Join(dir, "image.tar")
	var built images
	err := withDaemon(t.Context(), func(d *daemon) error {
		_, err := d.build(t.Context(), build{
			Context: context, Exports: []string{"type=inline"},
			Outputs: []string{"type=oci,name=example.com/app:" + inlineTag + ",dest=" + image},
		})
		if err == nil {
			built, err = readImages(image)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(dir, "layout")
	ocicache(t, "unpack", image, layout)
	for _, from := range []string{"oci:" + layout, "oci-archive:" + image} {
		cache := extract(t, from, artifact)
		got := importCache(t, cache, defaultTag, context, options{})
		requireAllCached(t, got)
		requireImages(t, got.Images, built)
	}
}
