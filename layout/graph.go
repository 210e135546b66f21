package layout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// maxReached bounds how many blobs one root may reach: a hostile one could name millions in a few megabytes.
const maxReached = 1 << 20

// Node is a blob that Walk visits.
type Node struct {
	buildcache.Descriptor
	// Manifest says that the blob was read in order to follow it: it is the root, or is named as a manifest.
	Manifest bool
	Raw      []byte // of a manifest, as far as it could be read; nil for other blobs, which are not read
	// Err says what is wrong with a manifest. It wraps ErrBlobMissing, ErrBlobDamaged and the like, or says that it isn't a manifest.
	Err error
}

// ErrNotManifest says that a supposed manifest can't be read as one, so nobody knows what it names.
var ErrNotManifest = errors.New("not a readable manifest")

// ErrSkip is returned by Walk's visit function to keep Walk from following a manifest.
var ErrSkip = errors.New("do not follow this manifest")

// Walk calls visit for root and for every blob that it reaches, each digest once, manifests before what they name. It
// reads and verifies the manifests of caches, images and indexes, nested up to a bound, and nothing else. visit is also
// called for a manifest that is missing, damaged or unreadable, with the reason in Node.Err. An error from visit other than
// ErrSkip ends the walk; if visit returns nil, the walk goes on, even with what the bytes of a damaged manifest name.
func Walk(ctx context.Context, src Source, root buildcache.Descriptor, visit func(Node) error) error {
	seen := map[digest.Digest]bool{}
	stack, named := []step{{root, true}}, 0
	for len(stack) > 0 {
		next := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[next.blob.Digest] {
			continue
		}
		seen[next.blob.Digest] = true
		node := Node{Descriptor: next.blob, Manifest: next.manifest}
		var below []step
		if node.Manifest {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			node.Raw, node.Err = readManifest(ctx, src, next.blob)
			var err error
			if below, err = follow(node.Raw); err != nil && node.Err == nil {
				// A blob named with another media type need not be a manifest.
				if node.Manifest = next.blob.MediaType == "" || buildcache.IsManifestType(next.blob.MediaType); node.Manifest {
					node.Err = err
				}
			}
		}
		err := visit(node)
		if err != nil && !errors.Is(err, ErrSkip) {
			return err
		}
		if err != nil {
			continue
		}
		if named += len(below); named > maxReached {
			return fmt.Errorf("root %s reaches more than %d blobs", root.Digest, maxReached)
		}
		slices.Reverse(below)
		stack = append(stack, below...)
	}
	return nil
}

// step is a blob that a walk has yet to visit.
type step struct {
	blob     buildcache.Descriptor
	manifest bool // to be read and followed
}

// readManifest returns the bytes of a manifest, even if they don't match its digest or size.
func readManifest(ctx context.Context, src Source, d buildcache.Descriptor) ([]byte, error) {
	if err := buildcache.CheckDigest(d.Digest); err != nil {
		return nil, &BlobError{Digest: d.Digest, Place: src.String(), Err: err}
	}
	raw, err := ReadUnverified(ctx, src, d, buildcache.MaxRoot)
	switch {
	case err != nil:
		return nil, err
	case d.Digest.Algorithm().FromBytes(raw) != d.Digest:
		return raw, &BlobError{Digest: d.Digest, Place: src.String(), Err: ErrBlobDamaged}
	case int64(len(raw)) != d.Size:
		err := fmt.Errorf("%w: want %d bytes, got %d", ErrBlobSize, d.Size, len(raw))
		return raw, &BlobError{Digest: d.Digest, Place: src.String(), Err: err}
	}
	return raw, nil
}

// follow returns what a manifest names. Below the root of a cache there are no manifests, whatever the media types say.
func follow(raw []byte) ([]step, error) {
	var steps []step
	root, err := buildcache.ParseRoot(raw)
	var values *buildcache.ValuesError
	if errors.As(err, &values) {
		return nil, fmt.Errorf("%w: %w", ErrNotManifest, err)
	}
	if err == nil {
		for _, blob := range slices.Concat([]buildcache.Descriptor{root.Config}, root.Ignored, root.Layers) {
			steps = append(steps, step{blob, false})
		}
		return steps, nil
	}
	blobs, err := buildcache.ParseSuccessors(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotManifest, err)
	}
	for _, blob := range blobs {
		steps = append(steps, step{blob, buildcache.IsManifestType(blob.MediaType)})
	}
	return steps, nil
}

// Graph returns every blob that a root reaches, including the root, each digest once: manifests before configs before
// layers. It fails if a manifest is missing or can't be read.
func Graph(ctx context.Context, src Source, root buildcache.Descriptor) ([]buildcache.Descriptor, error) {
	var found []buildcache.Descriptor
	err := Walk(ctx, src, root, func(n Node) error {
		found = append(found, buildcache.Descriptor{MediaType: n.MediaType, Digest: n.Digest, Size: n.Size})
		return n.Err
	})
	if err != nil {
		return nil, fmt.Errorf("read blobs of root %s: %w", root.Digest, err)
	}
	slices.SortStableFunc(found, CompareForReading)
	return found, nil
}

// CompareForReading orders manifests before configs before layers, as readers need them.
func CompareForReading(a, b buildcache.Descriptor) int {
	rank := func(d buildcache.Descriptor) int {
		if buildcache.IsManifestType(d.MediaType) {
			return 0
		}
		if _, ok := buildcache.LayerCompression(d.MediaType); ok {
			return 2
		}
		return 1
	}
	return cmp.Compare(rank(a), rank(b))
}

// Reach returns the blobs that the entries of a place reach, both caches and images, and in a directory whatever else is mentioned,
// as in GC. A missing root reaches nothing, and a damaged one what its bytes name, as in BuildKit, which doesn't verify them. It
// fails if a manifest can't be read, or one below a root is missing, since nobody can know what that would reach.
func Reach(ctx context.Context, src Source) (map[digest.Digest]bool, error) {
	entries, err := src.Entries(ctx)
	if err != nil {
		return nil, err
	}
	reached := map[digest.Digest]bool{}
	walked := map[digest.Digest]bool{}
	for _, entry := range entries {
		if walked[entry.Descriptor.Digest] {
			continue
		}
		walked[entry.Descriptor.Digest] = true
		err := Walk(ctx, src, entry.Descriptor, func(n Node) error {
			if n.Digest == entry.Descriptor.Digest && errors.Is(n.Err, ErrBlobMissing) {
				return nil
			}
			reached[n.Digest] = true
			if n.Digest == entry.Descriptor.Digest && isOthers(n.Err) {
				_, err := follow(n.Raw)
				return err
			}
			return n.Err
		})
		if err != nil {
			return nil, fmt.Errorf("read blobs of root %s: %w", entry.Descriptor.Digest, err)
		}
	}
	if dir, ok := src.(*Dir); ok {
		return reached, dir.addMentioned(ctx, reached)
	}
	return reached, nil
}

// ImageFunc is called for an image manifest, with its bytes, or for a manifest that can't be read, with the reason.
// If it returns an error, the walk ends.
type ImageFunc func(manifest buildcache.Descriptor, raw []byte, err error) error

// EachImage calls found for every image manifest that root is, or reaches through indexes and lists, in order,
// each once. Index entries that aren't manifests are skipped.
func EachImage(ctx context.Context, src Source, root buildcache.Descriptor, found ImageFunc) error {
	return Walk(ctx, src, root, func(n Node) error {
		switch {
		case !n.Manifest:
			return nil
		case n.Err != nil:
			return found(n.Descriptor, nil, fmt.Errorf("read manifest: %w", n.Err))
		}
		// The content decides, as in BuildKit's importer.
		mediaType, err := buildcache.DetectMediaType(n.Raw)
		if err != nil || buildcache.IsListType(mediaType) {
			return err
		}
		return cmp.Or(found(n.Descriptor, n.Raw, nil), ErrSkip)
	})
}
