package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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

// Repository is a repository in a registry. It is safe for concurrent use.
type Repository struct {
	name    reference.Named // without tag and digest
	options Options
	sys     *types.SystemContext

	own    *Hosts // nil if Options.Hosts is set
	writes *client
	reads  []*client   // in the order in which they are asked
	pushes atomic.Bool // something is pushed, so the right to push is requested
	bare   atomic.Bool // there were no tags when they were listed
	known  known
	// misranges says that a registry or a proxy gave other bytes for the rest of a blob than were asked for.
	misranges atomic.Bool

	mu        sync.Mutex
	manifests remembered
	listed    map[string]digest.Digest // what each tag named when Entries was last called
	looked    time.Time                // when all tags were last read again, to delete one
	lookTook  time.Duration

	user atomic.Pointer[string] // the last one that Options.Credentials returned
}

// Open returns the repository with a name: host[:port]/repository, as it is written after docker://, without tag or digest. It
// does not ask the registry for anything yet.
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
	r := &Repository{name: named, options: options, sys: sys}
	if options.Hosts == nil {
		r.own = &Hosts{}
		r.options.Hosts = r.own
	}
	r.pushes.Store(options.Push)
	return r, r.connect()
}

// String returns the repository's name as a reference.
func (r *Repository) String() string { return "docker://" + r.name.String() }

// Host returns the registry's host name, with its port if it has one.
func (r *Repository) Host() string { return reference.Domain(r.name) }

// Close ends the work with the repository, and closes its connections, unless Options.Hosts keeps them for others.
func (r *Repository) Close() error {
	if r.own == nil {
		return nil
	}
	return r.own.Close()
}

// Entries returns the root of every tag of the repository. A tag that was deleted meanwhile is left out; one that the registry
// still lists but has no manifest for is of layout.KindDangling, and has no digest.
func (r *Repository) Entries(ctx context.Context) ([]layout.Entry, error) {
	entries, err := r.entries(ctx, r.entry)
	if err != nil {
		return nil, err
	}
	r.noteListed(entries)
	return entries, nil
}

// LenientEntries is Entries, but a tag for which the registry answers with an error is of layout.KindInvalid, unless it does so
// for all of them.
func (r *Repository) LenientEntries(ctx context.Context) ([]layout.Entry, error) {
	entries, err := r.entries(ctx, r.LenientEntry)
	if err != nil {
		return nil, err
	}
	if len(entries) > 0 && !slices.ContainsFunc(entries, func(e layout.Entry) bool { return !e.IsUnread() }) {
		return nil, entries[0].Err
	}
	r.noteListed(entries)
	return entries, nil
}

// LenientEntry is Resolve, but a tag for which the registry answers with an error is of layout.KindInvalid.
func (r *Repository) LenientEntry(ctx context.Context, tag string) (*layout.Entry, error) {
	entry, err := r.Resolve(ctx, tag)
	if err != nil && ctx.Err() == nil && isAboutOne(err) {
		return &layout.Entry{Tag: tag, Kind: layout.KindInvalid, Err: err}, nil
	}
	return entry, err
}

// isAboutOne reports whether an error may concern one tag only: the registry has answered, and does not answer everything that
// way.
func isAboutOne(err error) bool {
	var givenUp *GivenUpError
	switch httpStatus(err) {
	case 0, http.StatusUnauthorized:
		return errors.Is(err, layout.ErrReference) // a tag that can't be one
	}
	return !errors.As(err, &givenUp)
}

// entries returns the roots of all tags, as resolve finds them.
func (r *Repository) entries(
	ctx context.Context, resolve func(ctx context.Context, tag string) (*layout.Entry, error),
) ([]layout.Entry, error) {
	tags, err := r.tags(ctx)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.manifests.all = true
	r.mu.Unlock()
	entries, err := EntriesOf(ctx, tags, resolve)
	if err == nil && len(entries) < len(tags) {
		return r.addDangling(ctx, tags, entries)
	}
	return entries, err
}

// addDangling adds the tags that were listed and had no manifest, if both are still so.
func (r *Repository) addDangling(ctx context.Context, tags []string, entries []layout.Entry) ([]layout.Entry, error) {
	again, err := r.tags(ctx)
	if err != nil {
		return nil, err
	}
	listed, found := setOf(again), map[string]layout.Entry{}
	for _, entry := range entries {
		found[entry.Tag] = entry
	}
	return EntriesOf(ctx, tags, func(ctx context.Context, tag string) (*layout.Entry, error) {
		if entry, ok := found[tag]; ok {
			return &entry, nil
		}
		if !listed[tag] {
			return nil, nil
		}
		entry, err := r.entry(ctx, tag)
		if err == nil && entry == nil {
			entry = &layout.Entry{Tag: tag, Kind: layout.KindDangling, Err: layout.ErrListedOnly}
		}
		return entry, err
	})
}

// EntriesOf returns the roots of some tags, in their order. resolve is called for several at once, and returns nil for a tag
// that was deleted meanwhile, which is left out.
func EntriesOf(
	ctx context.Context, tags []string, resolve func(ctx context.Context, tag string) (*layout.Entry, error),
) ([]layout.Entry, error) {
	entries := make([]*layout.Entry, len(tags))
	group, ctx := parallel.New(ctx, tagsAtOnce)
	for i, tag := range tags {
		group.Go(func() (err error) {
			entries[i], err = resolve(ctx, tag)
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

// Resolve returns the root of a tag, or nil if there is none.
func (r *Repository) Resolve(ctx context.Context, tag string) (*layout.Entry, error) {
	if tag == "" {
		return nil, nil
	}
	return r.entry(ctx, tag)
}

// Tags lists the tags without looking at what they name; a repository that is not there has none.
func (r *Repository) Tags(ctx context.Context) ([]string, error) { return r.tags(ctx) }

// tags lists the tags; a repository that is not there has none.
func (r *Repository) tags(ctx context.Context) ([]string, error) { return r.listTags(ctx, maxTagPages) }

// listTags lists the tags. It fails if that takes more than the given number of pages.
func (r *Repository) listTags(ctx context.Context, pages int) ([]string, error) {
	var tags []string
	err := r.read(ctx, "list the tags", func(ctx context.Context, c *client, dog *watchdog) (err error) {
		tags, err = c.tags(ctx, pages, func() error {
			dog.pause()
			defer dog.alive()
			return c.host.pace.wait(ctx)
		})
		return err
	})
	if isNotFound(err) {
		err = nil
	}
	if err == nil && len(tags) == 0 && !r.options.Shared {
		r.bare.Store(true)
	}
	slices.Sort(tags) // some registries list them in any order
	return tags, err
}

// Missing returns what is missing if the registry does not know the repository, else "". Some registries no longer know a
// repository whose last tag was deleted.
func (r *Repository) Missing(ctx context.Context) (string, error) {
	err := r.read(ctx, "list the tags", func(ctx context.Context, c *client, _ *watchdog) error {
		_, _, err := c.page(ctx, "/tags/list?n=1")
		return err
	})
	if isNotFound(err) {
		return "repository of that name", nil
	}
	return "", err
}

// read asks the mirrors, and then the registry, for something, until one of them gives it.
func (r *Repository) read(ctx context.Context, what string, ask func(context.Context, *client, *watchdog) error) (err error) {
	for _, c := range r.reads {
		err = r.try(ctx, what, c.host, reading, func(ctx context.Context, dog *watchdog) error { return ask(ctx, c, dog) })
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// entry reads the manifest of a tag, or returns nil if there is none.
func (r *Repository) entry(ctx context.Context, tag string) (*layout.Entry, error) {
	if err := r.CheckTag(tag); err != nil {
		return nil, err
	}
	raw, err := r.readRoot(ctx, tag)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	root := digest.FromBytes(raw)
	entry := layout.Entry{Tag: tag}
	if seen, ok := r.options.Hosts.sights.of(root); ok { // callers that want its bytes have them from where it was seen
		entry = seen
		entry.Tag = tag
		return &entry, nil
	}
	r.remember(root, raw)
	entry.Descriptor = buildcache.Descriptor{Digest: root, Size: int64(len(raw))}
	if said := entry.Look(raw); buildcache.IsManifestType(said) {
		entry.Descriptor.MediaType = said
	} else {
		entry.Descriptor.MediaType = manifest.GuessMIMEType(raw)
	}
	r.options.Hosts.sights.add(entry)
	return &entry, nil
}

// readRoot reads a manifest by a tag or a digest from the registry.
func (r *Repository) readRoot(ctx context.Context, which string) (raw []byte, err error) {
	err = r.read(ctx, "read the manifest "+which, func(ctx context.Context, c *client, _ *watchdog) (err error) {
		raw, err = c.proved(ctx, which)
		if err == nil {
			c.host.holders.addRoot(c.path, raw)
		}
		return err
	})
	return raw, ofStored(err)
}

// CheckTag refuses what can't be a tag in a registry.
func (r *Repository) CheckTag(tag string) error {
	if err := layout.CheckNewTag(tag); err != nil {
		return fmt.Errorf("%w: %w", layout.ErrReference, err)
	}
	return nil
}

// errAltered says that the registry does not have, by its digest, the manifest that it sent for a tag.
var errAltered = fmt.Errorf("%w: the registry does not have the manifest that it sent", layout.ErrBlobDamaged)

// proved returns a manifest. A tag does not say which bytes belong to it: unless the registry confirms the digest of those that
// came, they are read again by that digest. A manifest that was asked for by digest is left to the reader to check.
func (c *client) proved(ctx context.Context, which string) ([]byte, error) {
	raw, said, err := c.manifest(ctx, which)
	if err != nil || strings.Contains(which, ":") {
		return raw, err
	}
	d := digest.FromBytes(raw)
	if said == d {
		return raw, nil
	}
	again, _, err := c.manifest(ctx, d.String())
	if isNotFound(err) || err == nil && !bytes.Equal(raw, again) {
		return nil, errAltered
	}
	return raw, err
}

func (r *Repository) remember(d digest.Digest, raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.manifests.add(d, raw)
}

// Open returns a blob's bytes, or a manifest's. A transfer that breaks off is resumed where it was.
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
	raw, ok := r.manifests.raw[blob.Digest]
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
	if blob.Digest.Algorithm().FromBytes(raw) == blob.Digest { // else the reader reports it, each time
		r.remember(blob.Digest, raw)
	}
	return raw, nil
}

// check refuses what can't be asked of any registry.
func (r *Repository) check(ctx context.Context, blob buildcache.Descriptor) error {
	if err := buildcache.CheckDigest(blob.Digest); err != nil {
		return r.blobError(blob, err)
	}
	return context.Cause(ctx)
}

func (r *Repository) blobError(blob buildcache.Descriptor, err error) error {
	return &layout.BlobError{Digest: blob.Digest, Place: r.String(), Err: err}
}
