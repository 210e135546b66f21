package provenance_test

import (
	"context"
	"io"
	"path/filepath"
	"testing"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain/explaintest"
	"github.com/ocicache/ocicache/explain/provenance"
	"github.com/ocicache/ocicache/internal/registrytest"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// TestRegistry reads an attestation where its image was pushed.
func TestRegistry(t *testing.T) {
	t.Parallel()
	dir := explaintest.Unpack(t, "forms/image-layout")
	from, err := layout.Open(filepath.Join(dir, "forms/image-layout"), layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	plain := false
	server := registrytest.New(t, registrytest.Options{})
	to, err := registry.Open(server.Host+"/app", registry.Options{TLSVerify: &plain})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := to.Close(); err != nil {
			t.Error(err)
		}
	})
	image, err := layout.OneImage(t.Context(), from, "")
	if err != nil {
		t.Fatal(err)
	}
	attestation := attestationOf(t, from, image.Descriptor)
	put(t, from, to, attestation)
	if err := to.Tag(t.Context(), "1", attestation, ""); err != nil {
		t.Fatal(err)
	}
	builds, err := provenance.FromImage(t.Context(), to, attestation)
	if err != nil || len(builds) != 1 || len(builds[0].Steps) != 13 {
		t.Errorf("%d builds, %v, want one of 13 steps", len(builds), err)
	}
}

// attestationOf returns the manifest of an image whose layers are attestations.
func attestationOf(t *testing.T, src layout.Source, root buildcache.Descriptor) buildcache.Descriptor {
	t.Helper()
	var found buildcache.Descriptor
	err := layout.Walk(t.Context(), src, root, func(n layout.Node) error {
		for _, below := range buildcache.Successors(n.Raw) {
			if below.MediaType == "application/vnd.in-toto+json" {
				found = n.Descriptor
			}
		}
		return nil
	})
	if err != nil || found.Digest == "" {
		t.Fatal(found, err)
	}
	return found
}

// put copies a manifest and what it names. The subject is not there, as nothing needs it.
func put(t *testing.T, from layout.Source, to layout.Sink, manifest buildcache.Descriptor) {
	t.Helper()
	raw, err := layout.ReadBlob(t.Context(), from, manifest, buildcache.MaxRoot)
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range append(buildcache.Successors(raw), manifest) {
		if blob.Digest != manifest.Digest && buildcache.IsManifestType(blob.MediaType) {
			continue
		}
		open := func() (io.ReadCloser, error) { return from.Open(context.WithoutCancel(t.Context()), blob) }
		if err := to.Put(t.Context(), blob, open); err != nil {
			t.Fatal(err)
		}
	}
}
