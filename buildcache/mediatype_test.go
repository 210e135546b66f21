package buildcache_test

import (
	"testing"

	"github.com/ocicache/ocicache/buildcache"
)

func TestLayerCompression(t *testing.T) {
	t.Parallel()
	tests := []struct {
		mediaType string
		want      buildcache.Compression // "" for a type that can't be unpacked
	}{
		{"application/vnd.oci.image.layer.v1.tar", buildcache.Uncompressed},
		{"application/vnd.oci.image.layer.v1.tar+gzip", buildcache.Gzip},
		{"application/vnd.oci.image.layer.v1.tar+zstd", buildcache.Zstd},
		{"application/vnd.oci.image.layer.nondistributable.v1.tar", buildcache.Uncompressed},
		{"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", buildcache.Gzip},
		{"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", buildcache.Zstd},
		{"application/vnd.docker.image.rootfs.diff.tar", buildcache.Uncompressed},
		{"application/vnd.docker.image.rootfs.diff.tar.gzip", buildcache.Gzip},
		{"application/vnd.docker.image.rootfs.diff.tar.zstd", buildcache.Zstd},
		{"application/vnd.docker.image.rootfs.foreign.diff.tar", buildcache.Uncompressed},
		{"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", buildcache.Gzip},
		{"application/vnd.docker.image.rootfs.foreign.diff.tar.zstd", ""}, // nobody has it
		{"", ""},
		{"application/vnd.oci.image.layer.v1.tar.gzip", ""},
		{"application/vnd.docker.image.rootfs.diff.tar+gzip", ""},
		{"application/vnd.oci.image.layer.v1.tar+bzip2", ""},
		{"application/vnd.oci.image.layer.v1.tar+gzip ", ""},
		{"application/vnd.oci.image.layer.v1.tarball", ""},
		{"application/vnd.buildkit.cacheconfig.v0", ""},
		{"application/octet-stream", ""},
	}
	for _, tt := range tests {
		got, ok := buildcache.LayerCompression(tt.mediaType)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%q: got %q, %v; want %q", tt.mediaType, got, ok, tt.want)
		}
	}
}

// TestIsSniffed has what the module scripts/oracle finds containerd to do.
func TestIsSniffed(t *testing.T) {
	t.Parallel()
	for mediaType, want := range map[string]bool{
		"application/vnd.oci.image.layer.v1.tar":                       false,
		"application/vnd.oci.image.layer.nondistributable.v1.tar":      false,
		"application/vnd.oci.image.layer.v1.tar+gzip":                  true,
		"application/vnd.oci.image.layer.v1.tar+zstd":                  true,
		"application/vnd.docker.image.rootfs.diff.tar":                 true,
		"application/vnd.docker.image.rootfs.foreign.diff.tar":         true,
		"application/vnd.docker.image.rootfs.diff.tar.gzip":            true,
		"application/octet-stream":                                     false,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": true,
	} {
		if got := buildcache.IsSniffed(mediaType); got != want {
			t.Errorf("%s: got %v", mediaType, got)
		}
	}
}

func TestLayerMediaType(t *testing.T) {
	t.Parallel()
	for _, form := range everyForm() {
		for _, compression := range buildcache.Compressions() {
			want := compression
			if want == buildcache.Estargz {
				want = buildcache.Gzip // it has no media type of its own
			}
			mediaType := buildcache.LayerMediaType(form, compression)
			if got, ok := buildcache.LayerCompression(mediaType); !ok || got != want {
				t.Errorf("%s in a %s has the media type %s, which says %q", compression, form, mediaType, got)
			}
			root := &buildcache.Root{Layers: []buildcache.Descriptor{{MediaType: mediaType}}}
			if got := root.WithForm(form).Layers[0].MediaType; got != mediaType {
				t.Errorf("%s is not at home in a %s, which wants %s", mediaType, form, got)
			}
		}
	}
}

// TestUnknownNames has what a program that imports the package may pass.
func TestUnknownNames(t *testing.T) {
	t.Parallel()
	for _, c := range []buildcache.Compression{"", "Zstd", "gz", "none"} {
		if err := buildcache.CheckCompression(c); err == nil {
			t.Errorf("compression %q is taken", c)
		}
		if got := buildcache.LayerMediaType(buildcache.Artifact, c); got != "" {
			t.Errorf("compression %q has the media type %s", c, got)
		}
	}
	want := `unknown compression "Zstd" (want uncompressed, gzip, zstd or estargz)`
	if err := buildcache.CheckCompression("Zstd"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	for _, form := range []buildcache.Form{"", "Artifact", buildcache.DockerManifest} {
		if err := buildcache.CheckForm(form); err == nil {
			t.Errorf("form %q is taken", form)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, form := range buildcache.Forms() {
		if got, err := buildcache.ParseForm(string(form)); got != form || err != nil {
			t.Errorf("ParseForm(%q) = %q, %v", form, got, err)
		}
	}
	for _, name := range []string{"", "docker-manifest", "Artifact", "oci"} {
		if got, err := buildcache.ParseForm(name); err == nil {
			t.Errorf("ParseForm(%q) = %q", name, got)
		}
	}
	for _, compression := range buildcache.Compressions() {
		if got, err := buildcache.ParseCompression(string(compression)); got != compression || err != nil {
			t.Errorf("ParseCompression(%q) = %q, %v", compression, got, err)
		}
	}
	for _, name := range []string{"", "gz", "none", "Zstd"} {
		if got, err := buildcache.ParseCompression(name); err == nil {
			t.Errorf("ParseCompression(%q) = %q", name, got)
		}
	}
}
