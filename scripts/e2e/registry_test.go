//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
)

// plain allows ocicache the plain HTTP of the registry in these tests.
const plain = "--tls-verify=false"

// TestPushToRegistry pushes one cache in every form and compression; BuildKit imports each from the registry.
func TestPushToRegistry(t *testing.T) {
	needRegistry(t)
	host := startRegistry(t)
	f := findFixture(t, "artifact-mixed-gzip-zstd")
	for _, to := range allTargets() {
		t.Run(to.String(), func(t *testing.T) {
			t.Parallel()
			src := f.copy(t)
			ref := fmt.Sprintf("%s/pushed/%s:%s", host, to.Form, to.Compression)
			ocicache(t, append([]string{"convert", src, "docker://" + ref, plain}, to.flags()...)...)
			ocicache(t, "verify", "docker://"+ref, "--deep", plain)

			pulled := filepath.Join(t.TempDir(), "pulled")
			ocicache(t, "copy", "docker://"+ref, "oci:"+pulled+":"+f.tagName(), plain)
			converted := mustReadCache(t, pulled, f.tagName())
			if err := converted.check(to); err != nil {
				t.Fatalf("pushed as %s: %v", to, err)
			}
			got := f.importRef(t, ref)
			requireSteps(t, got, f.untouched(t).Steps)
			requireImages(t, got.Images, expectImages(t, f.reference(t), mustReadCache(t, src, f.tagName()), converted))
		})
	}
}

// TestRegistryThereAndBack takes what BuildKit pushed, converts it in a layout and from repository to repository, and
// lets BuildKit import both.
func TestRegistryThereAndBack(t *testing.T) {
	needRegistry(t)
	host := startRegistry(t)
	context := contextDir(t, "small")
	opts := contexts["small"]
	exported := host + "/buildkit/cache:main"
	err := withDaemon(t.Context(), func(d *daemon) error {
		_, err := d.export(t.Context(), build{
			Context: context,
			Exports: []string{registryCache(exported) + ",mode=max,oci-mediatypes=true,image-manifest=false,compression=gzip"},
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(t.TempDir(), "pulled")
	ocicache(t, "sync", "docker://"+host+"/buildkit/cache", layout, plain)
	ocicache(t, "convert", layout, "--to", "artifact", "--compression", "zstd")
	ocicache(t, "sync", layout, "docker://"+host+"/back/cache", plain)
	ocicache(t, "convert", "docker://"+exported, "docker://"+host+"/direct/cache:main", "--to", "docker-list",
		"--compression", "uncompressed", "--src-tls-verify=false", "--dest-tls-verify=false")

	for _, repository := range []string{"back", "direct"} {
		r, err := runImportOf(t.Context(), t.Name(), registryCache(host+"/"+repository+"/cache:main"), context, opts)
		if err != nil {
			t.Fatal(err)
		}
		requireAllCached(t, r)
	}
	// The control: from a repository that holds nothing, nothing is cached.
	r, err := runImportOf(t.Context(), t.Name(), registryCache(host+"/empty/cache:main"), context, opts)
	if err != nil {
		t.Fatal(err)
	}
	requireNothingCached(t, r)
}

// importRef builds the fixture's context with a cache in a registry.
func (f *fixture) importRef(t *testing.T, ref string) result {
	t.Helper()
	r, err := runImportOf(t.Context(), t.Name(), registryCache(ref), contextDir(t, f.context), contexts[f.context])
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// requireNothingCached requires that every step ran.
func requireNothingCached(t *testing.T, r result) {
	t.Helper()
	if len(r.Steps) == 0 {
		t.Fatal("the build has no step: nothing is proved")
	}
	for _, s := range r.Steps {
		if s.Outcome == cached {
			t.Errorf("%s came from nowhere", s.Name)
		}
	}
}
