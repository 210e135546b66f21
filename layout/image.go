package layout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/umoci/oci/cas"
	"github.com/opencontainers/umoci/oci/casext"

	"github.com/ocicache/ocicache/buildcache"
)

// maxDepth bounds how deep Docker's lists may be nested. Nobody nests them at all.
const maxDepth = 16

// graph is what roots reach, each digest once.
type graph struct {
	src   Source
	seen  map[digest.Digest]bool
	found []buildcache.Descriptor // parents before children
}

// add says whether a blob is new.
func (g *graph) add(d buildcache.Descriptor) bool {
	if g.seen[d.Digest] {
		return false
	}
	g.seen[d.Digest] = true
	g.found = append(g.found, buildcache.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size})
	return true
}

// walkCache adds a cache.
func (g *graph) walkCache(root buildcache.Descriptor, manifest *buildcache.Root) {
	g.add(root)
	g.add(manifest.Config)
	for _, config := range manifest.Ignored {
		g.add(config)
	}
	for _, layer := range manifest.Layers {
		g.add(layer)
	}
}

// walkImage adds an image or an index of images. umoci knows OCI's media types and follows them; Docker's are leaves to
// it, so what those reach is added here.
func (g *graph) walkImage(ctx context.Context, root buildcache.Descriptor, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("image %s: nested more than %d deep", root.Digest, maxDepth)
	}
	named := map[digest.Digest]buildcache.Descriptor{}
	engine := casext.NewEngine(blobReader{src: g.src, named: named})
	var docker []buildcache.Descriptor
	start := ocispec.Descriptor{MediaType: root.MediaType, Digest: root.Digest, Size: root.Size}
	err := engine.Walk(ctx, start, func(path casext.DescriptorPath) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		d := path.Descriptor()
		if !g.add(buildcache.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}) {
			return casext.ErrSkipDescriptor
		}
		if d.MediaType == buildcache.MediaTypeDockerList || d.MediaType == buildcache.MediaTypeDockerManifest {
			docker = append(docker, buildcache.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size})
			return casext.ErrSkipDescriptor
		}
		if !buildcache.IsManifestType(d.MediaType) {
			return casext.ErrSkipDescriptor // umoci would log that it passes over it
		}
		if d.Size > buildcache.MaxRoot { // umoci reads it as a whole
			return &buildcache.SizeError{What: "manifest " + d.Digest.String(), Size: d.Size, Limit: buildcache.MaxRoot}
		}
		named[d.Digest] = buildcache.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
		return nil
	})
	if err != nil {
		return fmt.Errorf("walk image %s: %w", root.Digest, err)
	}
	for _, d := range docker {
		raw, err := ReadBlob(ctx, g.src, d, buildcache.MaxRoot)
		if err != nil {
			return err
		}
		for _, child := range buildcache.Successors(raw) {
			if !buildcache.IsManifestType(child.MediaType) {
				g.add(child)
				continue
			}
			if err := g.walkImage(ctx, child, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// blobReader shows a Source to umoci's walk, which asks an engine for nothing but blobs.
type blobReader struct {
	cas.Engine
	src Source
	// named are the descriptors of what the walk reads. A registry looks for a manifest elsewhere than for another blob.
	named map[digest.Digest]buildcache.Descriptor
}

// GetBlob returns an unverified blob; umoci verifies what it walks.
func (r blobReader) GetBlob(ctx context.Context, blob digest.Digest) (io.ReadCloser, error) {
	return r.src.Open(ctx, r.named[blob])
}

// Reach returns the blobs that the entries of index.json reach, of caches and of images. What is missing on the way
// is no error for caches; it is for images, whose further blobs can't be known then.
func (d *Dir) Reach(ctx context.Context) (map[digest.Digest]bool, error) {
	entries, err := d.Entries(ctx)
	if err != nil {
		return nil, err
	}
	g := &graph{src: d, seen: map[digest.Digest]bool{}}
	for _, entry := range entries {
		raw, err := ReadUnverified(ctx, d, entry.Root, buildcache.MaxRoot)
		if errors.Is(err, ErrBlobMissing) {
			continue
		}
		root, parseErr := buildcache.ParseRoot(raw)
		if err != nil || parseErr != nil {
			if err := g.walkImage(ctx, entry.Root, 0); err != nil {
				return nil, err
			}
			continue
		}
		g.walkCache(entry.Root, root)
	}
	return g.seen, nil
}

// Graph returns every blob that the root of a cache or an image reaches, itself included, each digest once: manifests
// before what they name, and layers last. It reads and verifies manifests, and nothing else.
func Graph(ctx context.Context, src Source, root buildcache.Descriptor) ([]buildcache.Descriptor, error) {
	raw, err := ReadBlob(ctx, src, root, buildcache.MaxRoot)
	if err != nil {
		return nil, fmt.Errorf("read root: %w", err)
	}
	g := &graph{src: src, seen: map[digest.Digest]bool{}}
	if manifest, err := buildcache.ParseRoot(raw); err == nil {
		g.walkCache(root, manifest)
	} else if err := g.walkImage(ctx, root, 0); err != nil {
		return nil, err
	}
	slices.SortStableFunc(g.found, func(a, b buildcache.Descriptor) int { return cmp.Compare(rank(a), rank(b)) })
	return g.found, nil
}

// rank puts manifests before configs before layers.
func rank(d buildcache.Descriptor) int {
	if buildcache.IsManifestType(d.MediaType) {
		return 0
	}
	if _, ok := buildcache.LayerCompression(d.MediaType); ok {
		return 2
	}
	return 1
}
