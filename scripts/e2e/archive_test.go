//go:build e2e

package e2e

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestAirGap carries the caches of three builds over: the first whole, the others as what the far side lacks. BuildKit
// finds all steps of each build in what arrived.
func TestAirGap(t *testing.T) {
	needOcicache(t)
	near, far := newNearSide(t), filepath.Join(t.TempDir(), "far")
	err := withDaemon(t.Context(), func(d *daemon) error {
		for _, change := range []string{"", "src/a.txt", "src/dir/two"} {
			if err := near.build(t, d, change); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	first, second, third := near.path("first.tar"), near.path("second.tar"), near.path("third.tar")
	receipt := near.path("receipt.json")

	ocicache(t, "pack", near.caches[0], first)
	ocicache(t, "unpack", first, far, "--receipt", receipt)
	ocicache(t, "verify", far, "--deep")
	near.requireHits(t, 0, far)
	// The control: what the second build changed is not there yet.
	if r := importCache(t, far, defaultTag, near.contexts[1], contexts["small"]); countCached(r.Steps) == len(r.Steps) {
		t.Error("the second build hits before anything of it has arrived")
	}

	ocicache(t, "pack", near.caches[1], second, "--have", receipt)
	requireNothingOf(t, second, far)
	ocicache(t, "pack", near.caches[2], third, "--have", receipt, "--have", second)
	requireNothingOf(t, third, far)

	// The second is lost on the way: the third says what is missing, and touches nothing.
	before := files(t, far)
	c := runOcicache(t, "unpack", third, far)
	if c.Status != 4 || !strings.Contains(c.Stderr, "sha256:") {
		t.Errorf("unpack of the third without the second: exit status %d\n%s", c.Status, c.Stderr)
	}
	if after := files(t, far); !slices.Equal(before, after) {
		t.Errorf("it wrote:\n%s\nwhere there was\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
	near.requireHits(t, 0, far)

	for n, name := range []string{second, third} {
		ocicache(t, "unpack", name, far)
		near.requireHits(t, n+1, far)
	}
}

// TestVolumes carries a cache over in volumes, of which one is lost and one damaged.
func TestVolumes(t *testing.T) {
	needOcicache(t)
	f := findFixture(t, "oci-index-gzip")
	dir := t.TempDir()
	name := filepath.Join(dir, "cache.tar")
	ocicache(t, "pack", f.copy(t), name, "--volume-size", "20KiB", "--parity", "2")
	if err := os.Remove(name + ".001"); err != nil {
		t.Fatal(err)
	}
	damaged, err := os.ReadFile(name + ".003")
	if err != nil {
		t.Fatal(err)
	}
	damaged[len(damaged)/2] ^= 1
	if err := os.WriteFile(name+".003", damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	far := filepath.Join(t.TempDir(), "far")
	ocicache(t, "unpack", name, far)
	got := f.importFrom(t, far)
	requireSteps(t, got, f.untouched(t).Steps)
	requireImages(t, got.Images, f.reference(t))
}

// TestArchiveToRegistry pushes a cache from an archive, converted on the way; BuildKit imports it from the registry.
func TestArchiveToRegistry(t *testing.T) {
	needRegistry(t)
	host := startRegistry(t)
	f := findFixture(t, "docker-list-gzip")
	name := filepath.Join(t.TempDir(), "cache.tar")
	ocicache(t, "pack", f.copy(t), name)
	ocicache(t, "sync", name, "docker://"+host+"/from/archive", "--to", "artifact", "--compression", "zstd", plain)
	got := f.importRef(t, host+"/from/archive:"+f.tagName())
	requireSteps(t, got, f.untouched(t).Steps)
	requireImages(t, got.Images, f.reference(t))
}

// nearSide is where caches are built: a context that changes, and a copy of context and cache after each build.
type nearSide struct {
	dir      string
	contexts []string
	caches   []string
	images   []images
}

func newNearSide(t *testing.T) *nearSide {
	t.Helper()
	return &nearSide{dir: t.TempDir()}
}

func (n *nearSide) path(name string) string { return filepath.Join(n.dir, name) }

// build changes a file of the context, if it is given, and exports the cache next to what was exported before.
func (n *nearSide) build(t *testing.T, d *daemon, change string) error {
	t.Helper()
	context := contextDir(t, "small")
	if last := len(n.contexts) - 1; last >= 0 {
		context = n.contexts[last]
	}
	context = copyDir(t, context)
	if change != "" {
		file := filepath.Join(context, change)
		if err := os.WriteFile(file, []byte("changed for build "+fmt.Sprint(len(n.contexts))+"\n"), 0o644); err != nil {
			return err
		}
	}
	cache := n.path("cache")
	r, err := d.export(t.Context(), build{
		Context: context, Exports: []string{localExport(cache, exportOptions{target: target{ociIndex, gzip}})},
	})
	if err != nil {
		return err
	}
	n.contexts = append(n.contexts, context)
	n.caches = append(n.caches, copyDir(t, cache))
	n.images = append(n.images, r.Images)
	return nil
}

// requireHits requires that the far side's cache has every step of a build.
func (n *nearSide) requireHits(t *testing.T, build int, far string) {
	t.Helper()
	r := importCache(t, far, defaultTag, n.contexts[build], contexts["small"])
	requireAllCached(t, r)
	requireImages(t, r.Images, n.images[build])
}

// requireNothingOf requires that an archive has blobs, and none that a layout has.
func requireNothingOf(t *testing.T, name, layout string) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	blobs := 0
	for r := tar.NewReader(file); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(header.Name, "blobs/") {
			continue
		}
		blobs++
		if _, err := os.Stat(filepath.Join(layout, header.Name)); err == nil {
			t.Errorf("%s has %s, which the far side has", filepath.Base(name), header.Name)
		}
	}
	if blobs == 0 {
		t.Errorf("%s has no blobs", filepath.Base(name))
	}
}

// files lists the files below a directory with size and time.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		found = append(found, fmt.Sprint(path, " ", info.Size(), " ", info.ModTime()))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
