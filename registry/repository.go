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
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// tagsAtOnce is how many tags are looked up at the same time.
const tagsAtOnce = 6

// maxCached bounds the manifests that are remembered, in bytes.
const maxCached = 64 << 20

// Repository is a repository in a registry. It is safe for concurrent use.
type Repository struct {
	name    reference.Named // without tag and digest
	tag     string          // the only one looked at, or "" for all
	digest  digest.Digest   // the only root looked at, or ""
	options Options
	sys     *types.SystemContext

	mu        sync.Mutex
	source    types.ImageSource
	sink      types.ImageDestination
	manifests map[digest.Digest][]byte
	cached    int
}

// Open returns the repository that a reference names, host[:port]/repository[:tag|@digest], as it stands behind
// docker://. With a tag or digest it shows nothing else. Nothing is asked of the registry yet.
func Open(name string, options Options) (*Repository, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fmt.Errorf("%w: docker://%s: %w", layout.ErrReference, name, err)
	}
	sys, err := options.system()
	if err != nil {
		return nil, err
	}
	r := &Repository{name: reference.TrimNamed(named), options: options, sys: sys, manifests: map[digest.Digest][]byte{}}
	if tagged, ok := named.(reference.Tagged); ok {
		r.tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		r.digest = digested.Digest()
		if r.tag != "" {
			return nil, fmt.Errorf("%w: docker://%s has both a tag and a digest", layout.ErrReference, name)
		}
	}
	return r, nil
}

// String returns the repository's name as a reference.
func (r *Repository) String() string { return "docker://" + r.name.String() }

// Host returns the registry's host name, with its port if it has one.
func (r *Repository) Host() string { return reference.Domain(r.name) }

// ScopedTag returns the tag that the reference named, or "".
func (r *Repository) ScopedTag() string { return r.tag }

// Only returns the same repository with nothing but one tag. It fails where the reference named another tag or a digest.
func (r *Repository) Only(tag string) (*Repository, error) {
	if r.digest != "" || r.tag != "" && r.tag != tag {
		return nil, fmt.Errorf("%w: two choices for one cache: the tag %q, and what the reference names", layout.ErrReference, tag)
	}
	if _, err := reference.WithTag(r.name, tag); err != nil {
		return nil, fmt.Errorf("%w: %q: %w", layout.ErrReference, tag, err)
	}
	only := r.Whole()
	only.tag = tag
	return only, nil
}

// Whole returns the same repository with all of its tags.
func (r *Repository) Whole() *Repository {
	return &Repository{name: r.name, options: r.options, sys: r.sys, manifests: map[digest.Digest][]byte{}}
}

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

// Entries returns the root of the tag or digest that the reference named, or of every tag of the repository. What is
// not there is left out.
func (r *Repository) Entries(ctx context.Context) ([]layout.Entry, error) {
	switch {
	case r.digest != "":
		entry, err := r.entry(ctx, r.digest.String(), "")
		return found(entry, err)
	case r.tag != "":
		entry, err := r.entry(ctx, r.tag, r.tag)
		return found(entry, err)
	}
	tags, err := r.tags(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]*layout.Entry, len(tags))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(tagsAtOnce)
	for i, tag := range tags {
		group.Go(func() error {
			var err error
			entries[i], err = r.entry(ctx, tag, tag)
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

// Resolve returns the root of a tag, or nil where there is none, or where the reference named something else.
func (r *Repository) Resolve(ctx context.Context, tag string) (*layout.Entry, error) {
	if r.digest != "" || r.tag != "" && r.tag != tag {
		return nil, nil
	}
	return r.entry(ctx, tag, tag)
}

func found(entry *layout.Entry, err error) ([]layout.Entry, error) {
	if err != nil || entry == nil {
		return nil, err
	}
	return []layout.Entry{*entry}, nil
}

// tags lists the tags; a repository that is not there has none.
func (r *Repository) tags(ctx context.Context) ([]string, error) {
	ref, err := docker.NewReference(reference.TagNameOnly(r.name))
	if err != nil {
		return nil, err
	}
	var tags []string
	err = r.try(ctx, "list the tags", func(ctx context.Context, _ *watchdog) error {
		var err error
		tags, err = docker.GetRepositoryTags(ctx, r.sys, ref)
		return err
	})
	if isNotFound(err) {
		return nil, nil
	}
	slices.Sort(tags) // some registries list them in any order
	return tags, err
}

// entry reads a manifest by tag or digest, or returns nil if it is not there.
func (r *Repository) entry(ctx context.Context, which, tag string) (*layout.Entry, error) {
	raw, err := r.readRoot(ctx, which)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	mediaType := manifest.GuessMIMEType(raw)
	root := buildcache.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if tag != "" {
		root.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	}
	r.remember(root.Digest, raw)
	return &layout.Entry{Tag: tag, Root: root}, nil
}

// readRoot reads a manifest by a tag or a digest that the registry is to look up. By digest that goes through the
// source that is open already; for a tag the library needs a new one.
func (r *Repository) readRoot(ctx context.Context, which string) (raw []byte, err error) {
	if d, err := digest.Parse(which); err == nil {
		if source, err := r.blobSource(); err == nil {
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
		source, err := ref.NewImageSource(ctx, r.sys)
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
	if err := buildcache.CheckDigest(blob.Digest); err != nil {
		return nil, r.blobError(blob, err)
	}
	if buildcache.IsManifestType(blob.MediaType) {
		raw, err := r.manifest(ctx, blob)
		if err != nil {
			return nil, err
		}
		return layout.Bytes(raw)()
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
	if err != nil {
		return nil, err
	}
	r.remember(blob.Digest, raw)
	return raw, nil
}

func (r *Repository) blobError(blob buildcache.Descriptor, err error) error {
	return &layout.BlobError{Digest: blob.Digest, Place: r.String(), Err: err}
}
