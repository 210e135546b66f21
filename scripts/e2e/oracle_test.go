//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// options say what of a context is built.
type options struct {
	Targets   []string // stages to build besides the last one
	Platforms []string
}

// result is what BuildKit made of a cache.
type result struct {
	Steps    []step   // of the last stage, and what the targets add
	Images   images   // of the last stage
	Err      error    // why the build failed, if it did
	Warnings []string // BuildKit's own, among them why a cache was not imported
}

// importCache builds the context on a daemon that knows nothing but the cache.
//
// The image is written twice: as an OCI archive, so that the blobs of its
// layers are read, and as a tar of its files, so that each layer is unpacked
// and its diff id checked by BuildKit. The targets do the second for the
// layers of the stages between.
func importCache(t *testing.T, cacheDir, tag, contextDir string, opts options) result {
	t.Helper()
	r, err := runImport(t.Context(), t.Name(), cacheDir, tag, contextDir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// runImport is importCache outside of a test; name is for the list of timings.
func runImport(ctx context.Context, name, cacheDir, tag, contextDir string, opts options) (result, error) {
	return runImportOf(ctx, name, localCache(cacheDir, tag), contextDir, opts)
}

// runImportOf imports a cache that is named as --import-cache takes it.
func runImportOf(ctx context.Context, name, cache, contextDir string, opts options) (r result, err error) {
	err = withDaemon(ctx, func(d *daemon) error {
		start := time.Now()
		r, err = d.importAll(ctx, build{
			Context:   contextDir,
			Platforms: opts.Platforms,
			Imports:   []string{cache},
		}, opts.Targets)
		timings.add("import", name, r.Steps, time.Since(start))
		return err
	})
	return r, err
}

func (d *daemon) importAll(ctx context.Context, b build, targets []string) (result, error) {
	out, err := d.newOutput()
	if err != nil {
		return result{}, err
	}
	b.Outputs = append(out.files(), out.image(b.Image))
	p, err := d.build(ctx, b)
	r := result{Steps: p.Steps, Warnings: p.Warnings}
	if errors.Is(err, errBuild) {
		r.Err = err
		return r, nil
	}
	if err != nil {
		return result{}, err
	}
	if r.Images, err = readImages(out.oci); err != nil {
		return result{}, err
	}
	return d.importTargets(ctx, b, targets, r)
}

// importTargets builds the stages between and adds what they show to r.
func (d *daemon) importTargets(ctx context.Context, b build, targets []string, r result) (result, error) {
	out, err := d.newOutput()
	if err != nil {
		return result{}, err
	}
	b.Outputs = out.files()
	for _, b.Target = range targets {
		p, err := d.build(ctx, b)
		r.Steps = addNew(r.Steps, p.Steps)
		if errors.Is(err, errBuild) {
			r.Err = fmt.Errorf("target %s: %w", b.Target, err)
			return r, nil
		}
		if err != nil {
			return result{}, err
		}
	}
	return r, nil
}

// exported is a cache that BuildKit wrote in a test.
type exported struct {
	Dir    string
	Images images // of the build that wrote the cache
}

// exportOptions say how a cache is exported.
type exportOptions struct {
	options
	target
}

// exportCache builds the context on a fresh daemon and exports its cache to a
// new directory.
func exportCache(t *testing.T, contextDir string, opts exportOptions) exported {
	t.Helper()
	e := exported{Dir: filepath.Join(t.TempDir(), "cache")}
	err := withDaemon(t.Context(), func(d *daemon) error {
		start := time.Now()
		r, err := d.export(t.Context(), build{
			Context:   contextDir,
			Platforms: opts.Platforms,
			Exports:   []string{localExport(e.Dir, opts)},
			// Else the image has the diff ids of gzip where the cache is estargz.
			Image: opts.compression(),
		})
		e.Images = r.Images
		timings.add("export", t.Name(), r.Steps, time.Since(start))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// export runs a build that exports caches, and does not take a failed build
// for a result.
func (d *daemon) export(ctx context.Context, b build) (result, error) {
	r, err := d.importAll(ctx, b, nil)
	if err != nil {
		return result{}, err
	}
	return r, r.Err
}

// localExport spells the options for --export-cache.
func localExport(dir string, opts exportOptions) string {
	return fmt.Sprintf("type=local,dest=%s,mode=max,oci-mediatypes=%t,image-manifest=%t,%s",
		dir, opts.Form != dockerList, opts.Form == artifact, opts.compression())
}

// compression forces it also on layers that exist in another one.
func (o exportOptions) compression() string {
	return fmt.Sprintf("compression=%s,force-compression=true", o.Compression)
}

// output is where a build writes its image.
type output struct{ oci, tar string }

// newOutput names files that live as long as the daemon.
func (d *daemon) newOutput() (output, error) {
	dir, err := os.MkdirTemp(d.dir, "out")
	if err != nil {
		return output{}, fmt.Errorf("make a directory for the image: %w", err)
	}
	return output{oci: filepath.Join(dir, "image.tar"), tar: filepath.Join(dir, "files.tar")}, nil
}

func (o output) files() []string { return []string{"type=tar,dest=" + o.tar} }

func (o output) image(attributes string) string {
	return strings.TrimSuffix("type=oci,dest="+o.oci+","+attributes, ",")
}
