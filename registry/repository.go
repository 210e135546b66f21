package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// tagsAtOnce is how many tags are looked up at the same time.
const tagsAtOnce = 6

// maxCached bounds the manifests that are remembered, in bytes.
const maxCached = 64 << 20

// Repository is a repository in a registry. It is safe for concurrent use.
type Repository struct {
	name    reference.Named // without tag and digest
	options Options
	sys     *types.SystemContext

	mu        sync.Mutex
	source    types.ImageSource
	sink      types.ImageDestination
	manifests map[digest.Digest][]byte
	cached    int
}

// Open returns the repository with a name: host[:port]/repository, as it stands behind docker://, with neither tag nor
// digest. Nothing is asked of the registry yet.
func Open(name string, options Options) (*Repository, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", layout.ErrReference, redact("docker://"+name), err)
	}
	if !reference.IsNameOnly(named) {
		return nil, fmt.Errorf("%w: docker://%s: the name of a repository has no tag and no digest", layout.ErrReference, name)
	}
	sys, err := options.system()
	if err != nil {
		return nil, err
	}
	return &Repository{name: named, options: options, sys: sys, manifests: map[digest.Digest][]byte{}}, nil
}

// String returns the repository's name as a reference.
func (r *Repository) String() string { return "docker://" + r.name.String() }

// Host returns the registry's host name, with its port if it has one.
func (r *Repository) Host() string { return reference.Domain(r.name) }

// Close gives connections back.
func (r *Repository) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	if r.source != nil {
		err = r.source.Close()
		r.source = nil
	}
	if r.sink != nil {
		err = errors.Join(err, r.sink.Close())
		r.sink = nil
	}
	return err
}

// Entries returns the root of every tag of the repository. A tag that went away meanwhile is left out.
func (r *Repository) Entries(ctx context.Context) ([]layout.Entry, error) {
	tags, err := r.tags(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]*layout.Entry, len(tags))
	group, ctx := parallel.New(ctx, tagsAtOnce)
	for i, tag := range tags {
		group.Go(func() error {
			var err error
			entries[i], err = r.entry(ctx, tag)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var all []layout.Entry
	for _, entry := range entries {
		if entry != nil {
			all = append(all, *entry)
		}
	}
	return all, nil
}

// Resolve returns the root of a tag, or nil where there is none.
func (r *Repository) Resolve(ctx context.Context, tag string) (*layout.Entry, error) {
	if tag == "" {
		return nil, nil
	}
	return r.entry(ctx, tag)
}

// tags lists the tags; a repository that is not there has none.
func (r *Repository) tags(ctx context.Context) ([]string, error) {
	ref, err := docker.NewReference(reference.TagNameOnly(r.name))
	if err != nil {
		return nil, err
	}
	var tags []string
	err = r.try(ctx, "list the tags", func(ctx context.Context, _ *watchdog) error {
		sys, err := r.session(ctx)
		if err != nil {
			return err
		}
		tags, err = docker.GetRepositoryTags(ctx, sys, ref)
		return err
	})
	if isNotFound(err) {
		return nil, nil
	}
	slices.Sort(tags) // some registries list them in any order
	return tags, err
}

// entry reads the manifest of a tag, or returns nil if there is none.
func (r *Repository) entry(ctx context.Context, tag string) (*layout.Entry, error) {
	raw, err := r.readRoot(ctx, tag)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	mediaType := manifest.GuessMIMEType(raw)
	root := buildcache.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	r.remember(root.Digest, raw)
	return &layout.Entry{Tag: tag, Descriptor: root}, nil
}

// readRoot reads a manifest by a tag or a digest that the registry is to look up. By digest that goes through the
// source that is open already; for a tag the library needs a new one.
func (r *Repository) readRoot(ctx context.Context, which string) (raw []byte, err error) {
	if d, err := digest.Parse(which); err == nil {
		if source := r.openedSource(); source != nil {
			err := r.try(ctx, "read the manifest "+which, func(ctx context.Context, _ *watchdog) (err error) {
				raw, _, err = source.GetManifest(ctx, &d)
				return err
			})
			return raw, err
		}
	}
	ref, err := r.reference(which)
	if err != nil {
		return nil, err
	}
	err = r.try(ctx, "read the manifest "+which, func(ctx context.Context, _ *watchdog) error {
		sys, err := r.session(ctx)
		if err != nil {
			return err
		}
		source, err := ref.NewImageSource(ctx, sys)
		if err != nil {
			return err
		}
		if raw, err = getProved(ctx, source); err != nil {
			return errors.Join(err, source.Close())
		}
		return r.keepSource(source)
	})
	return raw, err
}

// errAltered says that a manifest is not there under the digest of the bytes that came for its tag.
var errAltered = fmt.Errorf("%w: the registry does not have the manifest that it sent", layout.ErrBlobDamaged)

// getProved returns the manifest of the tag that source is for. A tag tells nothing about the bytes that belong to it,
// so they are asked for once more by their digest.
func getProved(ctx context.Context, source types.ImageSource) ([]byte, error) {
	raw, _, err := source.GetManifest(ctx, nil)
	if err != nil {
		return nil, err
	}
	d := digest.FromBytes(raw)
	again, _, err := source.GetManifest(ctx, &d)
	if isNotFound(err) || err == nil && !bytes.Equal(raw, again) {
		return nil, errAltered
	}
	return raw, err
}

// keepSource keeps the first source, with its connections and its token, for blobs.
func (r *Repository) keepSource(source types.ImageSource) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.source != nil {
		return source.Close()
	}
	r.source = source
	return nil
}

func (r *Repository) reference(which string) (types.ImageReference, error) {
	var named reference.Named
	d, err := digest.Parse(which)
	if err == nil {
		named, err = reference.WithDigest(r.name, d)
	} else {
		named, err = reference.WithTag(r.name, which)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", layout.ErrReference, which, err)
	}
	return docker.NewReference(named)
}

func (r *Repository) remember(d digest.Digest, raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cached+len(raw) <= maxCached && r.manifests[d] == nil {
		r.manifests[d] = raw
		r.cached += len(raw)
	}
}

// Open returns a blob's bytes, or a manifest's. A transfer that breaks off is taken up again where it was.
func (r *Repository) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	if err := r.check(ctx, blob); err != nil {
		return nil, err
	}
	if buildcache.IsManifestType(blob.MediaType) {
		raw, err := r.manifest(ctx, blob)
		if err != nil {
			return nil, err
		}
		return layout.OpenBytes(raw)()
	}
	return r.openBlob(ctx, blob)
}

// manifest returns a manifest that was read before, or reads it by its digest.
func (r *Repository) manifest(ctx context.Context, blob buildcache.Descriptor) ([]byte, error) {
	r.mu.Lock()
	raw, ok := r.manifests[blob.Digest]
	r.mu.Unlock()
	if ok {
		return raw, nil
	}
	return r.readManifest(ctx, blob)
}

// readManifest reads a manifest by its digest from the registry.
func (r *Repository) readManifest(ctx context.Context, blob buildcache.Descriptor) ([]byte, error) {
	raw, err := r.readRoot(ctx, blob.Digest.String())
	if isNotFound(err) {
		return nil, r.blobError(blob, layout.ErrBlobMissing)
	}
	if errors.Is(err, errAltered) {
		return nil, r.blobError(blob, err)
	}
	if err != nil {
		return nil, err
	}
	if blob.Digest.Algorithm().FromBytes(raw) == blob.Digest { // else the reader says so, each time
		r.remember(blob.Digest, raw)
	}
	return raw, nil
}

// check refuses what no registry can be asked for.
func (r *Repository) check(ctx context.Context, blob buildcache.Descriptor) error {
	if err := buildcache.CheckDigest(blob.Digest); err != nil {
		return r.blobError(blob, err)
	}
	return context.Cause(ctx)
}

func (r *Repository) blobError(blob buildcache.Descriptor, err error) error {
	return &layout.BlobError{Digest: blob.Digest, Place: r.String(), Err: err}
}
