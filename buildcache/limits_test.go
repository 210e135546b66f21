package buildcache_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
)

func TestLimits(t *testing.T) {
	t.Parallel()
	const (
		ociGzip, ociZstd       = "application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd"
		dockerGzip, dockerZstd = "application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.docker.image.rootfs.diff.tar.zstd"
	)
	tests := []struct {
		name   string
		form   buildcache.Form
		layers []string
		chains bool
		want   []string // version and effect
	}{
		{"docker list of gzip", buildcache.DockerList, []string{dockerGzip}, false, nil},
		{"oci index of gzip", buildcache.OCIIndex, []string{ociGzip}, false, nil},
		{"docker list of zstd", buildcache.DockerList, []string{dockerGzip, dockerZstd}, false, []string{"v0.12 build-fails"}},
		{"oci index of zstd", buildcache.OCIIndex, []string{ociZstd, ociGzip}, false, []string{"v0.11 build-fails"}},
		{"both kinds of zstd", buildcache.OCIIndex, []string{ociZstd, dockerZstd, ociZstd}, false, []string{"v0.12 build-fails"}},
		{"artifact", buildcache.Artifact, []string{ociGzip}, false, []string{"v0.12 hits-lost"}},
		{"docker manifest", buildcache.DockerManifest, []string{dockerGzip}, false, []string{"v0.12 hits-lost"}},
		{"chains", buildcache.DockerList, nil, true, []string{"v0.10 hits-lost"}},
		{"everything", buildcache.Artifact, []string{ociZstd, "unknown"}, true, []string{"v0.12 hits-lost", "v0.11 build-fails", "v0.10 hits-lost"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root, config := &buildcache.Root{Form: tt.form}, &buildcache.Config{Records: []buildcache.Record{{}}}
			for _, mediaType := range tt.layers {
				root.Layers = append(root.Layers, buildcache.Descriptor{MediaType: mediaType})
			}
			if tt.chains {
				config.Records = append(config.Records, buildcache.Record{Chains: []buildcache.Chain{{}}}, buildcache.Record{Chains: []buildcache.Chain{{}}})
			}
			var got []string
			for _, limit := range buildcache.Limits(root, config) {
				got = append(got, limit.Before+" "+string(limit.Effect))
				if text := limit.String(); !strings.Contains(text, "before "+limit.Before) || !strings.Contains(text, limit.Reason) {
					t.Errorf("as a sentence: %s", text)
				}
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
