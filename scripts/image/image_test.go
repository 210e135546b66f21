package main

import (
	"archive/tar"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// makeLayout makes a layout of two binaries that are none.
func makeLayout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	var args []string
	for _, arch := range []string{"amd64", "arm64"} {
		file := filepath.Join(dir, arch)
		if err := os.WriteFile(file, []byte("for "+arch), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "linux/"+arch+"="+file)
	}
	out := filepath.Join(dir, "image")
	if err := run(out, "v1.2.3", time.Unix(1796000000, 0).UTC(), args); err != nil {
		t.Fatal(err)
	}
	return out
}

// index reads the one index of a layout.
func index(t *testing.T, dir string) (v1.ImageIndex, v1.Descriptor) {
	t.Helper()
	path, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	all, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := all.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("%v, %+v", err, manifest)
	}
	one, err := all.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return one, manifest.Manifests[0]
}

// TestImage says what is in the images.
func TestImage(t *testing.T) {
	t.Parallel()
	idx, descriptor := index(t, makeLayout(t))
	if err := validate.Index(idx); err != nil {
		t.Error(err)
	}
	if tag := descriptor.Annotations["org.opencontainers.image.ref.name"]; tag != "v1.2.3" {
		t.Errorf("the tag is %q", tag)
	}
	manifest, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var platforms []string
	for _, m := range manifest.Manifests {
		platforms = append(platforms, m.Platform.String())
		image, err := idx.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		checkConfig(t, image, m.Platform)
		checkFiles(t, image, "for "+m.Platform.Architecture)
	}
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("it is for %v", platforms)
	}
}

func checkConfig(t *testing.T, image v1.Image, platform *v1.Platform) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Platform().String() != platform.String() || config.Config.User != "65532:65532" || !slices.Equal(config.Config.Entrypoint, []string{"/ocicache"}) {
		t.Errorf("%+v", config)
	}
}

func checkFiles(t *testing.T, image v1.Image, binary string) {
	t.Helper()
	files := map[string]string{}
	modes := map[string]os.FileMode{}
	for r := tar.NewReader(mutate.Extract(image)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.Trim(header.Name, "/")
		files[name], modes[name] = string(content), header.FileInfo().Mode()
	}
	if files["ocicache"] != binary || modes["ocicache"] != 0o755 {
		t.Errorf("the binary is %q, %v", files["ocicache"], modes["ocicache"])
	}
	if want := os.ModeDir | os.ModeSticky | 0o777; modes["tmp"] != want {
		t.Errorf("/tmp is %v, want %v", modes["tmp"], want)
	}
	certificates := files["etc/ssl/certs/ca-certificates.crt"]
	if n := strings.Count(certificates, "BEGIN CERTIFICATE"); n < 100 || !x509.NewCertPool().AppendCertsFromPEM([]byte(certificates)) {
		t.Errorf("%d certificates", n)
	}
}

// TestReproducible says that the same binaries make the same image.
func TestReproducible(t *testing.T) {
	t.Parallel()
	_, one := index(t, makeLayout(t))
	_, two := index(t, makeLayout(t))
	if one.Digest != two.Digest {
		t.Errorf("%s, then %s", one.Digest, two.Digest)
	}
}

// TestRefuses says what is refused.
func TestRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for want, args := range map[string][]string{
		"is there already": {dir, "linux/amd64=x"},
		"want OS/ARCH":     {filepath.Join(dir, "a"), "linux/amd64"},
		"read the binary":  {filepath.Join(dir, "b"), "linux/amd64=" + filepath.Join(dir, "none")},
	} {
		if err := run(args[0], "x", time.Time{}, args[1:]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
}
