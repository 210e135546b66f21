package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// Kinds of roots.
const (
	KindCache = "cache"
	KindImage = "image" // or anything else that is no cache
)

// holder is the archive that is unpacked, as far as it is known.
type holder interface {
	fmt.Stringer
	// sizeIn returns the size of a blob that is in the archive itself.
	sizeIn(blob digest.Digest) (int64, bool)
	// openIn returns such a blob, unverified.
	openIn(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error)
}

// origin is where a needed blob is.
type origin int

const (
	nowhere origin = iota
	inArchive
	inLayout
	inBase
)

// union is everything that an archive's graphs may be in: the archive, then the layout that it is unpacked to, as far as
// its bytes are right, then the base. It is a layout.Source.
type union struct {
	archive holder
	dst     *layout.Dir   // nil where there is none yet
	base    layout.Source // nil for none

	mu    sync.Mutex
	known map[digest.Digest]blobState // of dst
}

// blobState is what is known of a blob of the layout.
type blobState int

const (
	blobAbsent blobState = iota
	blobDamaged
	blobRight
)

// Entries is there to make a Source of it; there are none.
func (u *union) Entries(context.Context) ([]layout.Entry, error) { return nil, nil }

// String returns the archive's name: what is wrong with a graph is to be looked for there.
func (u *union) String() string { return u.archive.String() }

// Open returns a blob's bytes, unverified.
func (u *union) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	if _, ok := u.archive.sizeIn(blob.Digest); ok {
		return u.archive.openIn(ctx, blob)
	}
	state, err := u.inspect(ctx, blob.Digest)
	if err != nil {
		return nil, err
	}
	if state == blobRight {
		return u.dst.Open(ctx, blob)
	}
	if u.base != nil {
		return u.base.Open(ctx, blob)
	}
	return nil, &layout.BlobError{Digest: blob.Digest, Place: u.String(), Err: layout.ErrBlobMissing}
}

// inspect reads a blob of the layout and says whether its bytes are right, for each blob once.
func (u *union) inspect(ctx context.Context, blob digest.Digest) (blobState, error) {
	if u.dst == nil {
		return blobAbsent, nil
	}
	u.mu.Lock()
	state, ok := u.known[blob]
	u.mu.Unlock()
	if ok {
		return state, nil
	}
	state, err := inspectBlob(ctx, u.dst, blob)
	if err != nil {
		return state, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known == nil {
		u.known = map[digest.Digest]blobState{}
	}
	u.known[blob] = state
	return state, nil
}

// inspectBlob reads a blob of a layout and says whether its bytes are right.
func inspectBlob(ctx context.Context, dir *layout.Dir, blob digest.Digest) (blobState, error) {
	section, err := dir.OpenAt(ctx, buildcache.Descriptor{Digest: blob})
	if errors.Is(err, layout.ErrBlobMissing) {
		return blobAbsent, nil
	}
	if err != nil {
		return blobAbsent, err
	}
	r := layout.Verify(ctx, dir, buildcache.Descriptor{Digest: blob, Size: section.Size()}, section)
	_, err = io.Copy(io.Discard, r)
	err = errors.Join(err, r.Close())
	switch {
	case errors.Is(err, layout.ErrBlobDamaged), errors.Is(err, layout.ErrBlobSize):
		return blobDamaged, nil
	case err != nil:
		return blobAbsent, fmt.Errorf("read blob %s in %s: %w", blob, dir, err)
	}
	return blobRight, nil
}

// find says where a blob is. In the archive it must have the size that it is needed with.
func (u *union) find(ctx context.Context, blob buildcache.Descriptor) (at origin, damaged bool, err error) {
	if err := buildcache.CheckDigest(blob.Digest); err != nil {
		return nowhere, false, &HostileError{Archive: u.String(), Err: fmt.Errorf("a manifest names what can't be: %w", err)}
	}
	if size, ok := u.archive.sizeIn(blob.Digest); ok {
		if size != blob.Size {
			err = &layout.BlobError{
				Digest: blob.Digest, Place: u.String(),
				Err: fmt.Errorf("%w: want %d bytes, got %d", layout.ErrBlobSize, blob.Size, size),
			}
		}
		return inArchive, false, err
	}
	if u.dst != nil {
		has, err := u.dst.Has(ctx, blob)
		if err != nil {
			return nowhere, false, err
		}
		state := blobAbsent
		if has {
			state, err = u.inspect(ctx, blob.Digest)
		} else if any, openErr := u.dst.OpenFile(ctx, blob); openErr == nil { // of another size
			state, err = blobDamaged, any.Close()
		}
		if err != nil || state == blobRight {
			return inLayout, false, err
		}
		damaged = state == blobDamaged
	}
	if has, err := baseHas(ctx, u.base, blob); err != nil || has {
		return inBase, false, err
	}
	return nowhere, damaged, nil
}

// baseHas says whether a base has a blob. Its bytes are not looked at.
func baseHas(ctx context.Context, base layout.Source, blob buildcache.Descriptor) (bool, error) {
	if base == nil {
		return false, nil
	}
	if b, ok := base.(interface {
		Has(ctx context.Context, blob buildcache.Descriptor) (bool, error)
	}); ok {
		return b.Has(ctx, blob)
	}
	r, err := base.Open(ctx, blob)
	if errors.Is(err, layout.ErrBlobMissing) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, r.Close()
}

// need is a blob that chosen roots reach, and where it is.
type need struct {
	blob    buildcache.Descriptor
	tags    []string
	at      origin
	damaged bool // in the layout, where it is nowhere else
}

// chosen is a root that is unpacked.
type chosen struct {
	tag  string
	root buildcache.Descriptor
	kind string
}

// survey is what unpacking comes to.
type survey struct {
	roots []chosen
	needs []*need // each digest once, manifests before what they name
	// partial are the tags that manifests are missing for, so that not all that they need is known.
	partial []string
}

// look finds out what the roots reach, and where it is.
func (u *union) look(ctx context.Context, roots []layout.Entry, jobs int) (*survey, error) {
	found := &survey{}
	byDigest := map[digest.Digest]*need{}
	for _, entry := range roots {
		blobs, lacking, err := u.reach(ctx, entry.Root)
		if err != nil {
			return nil, fmt.Errorf("%s: tag %q: %w", u, entry.Tag, err)
		}
		if lacking {
			found.partial = append(found.partial, entry.Tag)
		}
		for _, blob := range blobs {
			n := byDigest[blob.Digest]
			if n == nil {
				n = &need{blob: blob}
				byDigest[blob.Digest] = n
				found.needs = append(found.needs, n)
			}
			if !slices.Contains(n.tags, entry.Tag) {
				n.tags = append(n.tags, entry.Tag)
			}
		}
		kind, err := u.kindOf(ctx, entry.Root)
		if err != nil {
			return nil, err
		}
		found.roots = append(found.roots, chosen{tag: entry.Tag, root: entry.Root, kind: kind})
	}
	return found, u.locate(ctx, found, jobs)
}

// locate finds out where everything is.
func (u *union) locate(ctx context.Context, found *survey, jobs int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(jobsOf(jobs))
	for _, n := range found.needs {
		group.Go(func() error {
			var err error
			n.at, n.damaged, err = u.find(ctx, n.blob)
			return err
		})
	}
	return group.Wait()
}

// addRequired adds what a description says is required, where missing manifests do not: then some of it may be needed by
// tags that were not chosen, but it is more than can be known without.
func (u *union) addRequired(ctx context.Context, found *survey, d *Description, jobs int) error {
	known := map[digest.Digest]bool{}
	for _, n := range found.needs {
		known[n.blob.Digest] = true
	}
	for _, blob := range d.Requires {
		if !known[blob.Digest] {
			found.needs = append(found.needs, &need{blob: buildcache.Descriptor{Digest: blob.Digest, Size: blob.Size}, tags: found.partial})
		}
	}
	found.partial = nil
	return u.locate(ctx, found, jobs)
}

// jobsOf returns how many blobs to work on at once.
func jobsOf(jobs int) int { return cmp.Or(jobs, runtime.GOMAXPROCS(0)) }

// reach returns what a root reaches. Where manifests are missing it says so, and returns what can be known all the same.
func (u *union) reach(ctx context.Context, root buildcache.Descriptor) (blobs []buildcache.Descriptor, lacking bool, err error) {
	blobs, err = layout.Graph(ctx, u, root)
	if err == nil {
		return blobs, false, nil
	}
	blobs, lacking, walkErr := u.walk(ctx, root)
	switch {
	case walkErr != nil: // it says the same, with a type
		return nil, false, walkErr
	case !lacking:
		return nil, false, err
	default:
		return blobs, true, nil
	}
}

// walk returns what a root reaches, in any order, as far as manifests are there.
func (u *union) walk(ctx context.Context, root buildcache.Descriptor) (blobs []buildcache.Descriptor, lacking bool, err error) {
	seen := map[digest.Digest]bool{}
	todo := []buildcache.Descriptor{root}
	for len(todo) > 0 {
		blob := todo[0]
		todo = todo[1:]
		if seen[blob.Digest] {
			continue
		}
		seen[blob.Digest] = true
		blobs = append(blobs, buildcache.Descriptor{MediaType: blob.MediaType, Digest: blob.Digest, Size: blob.Size})
		if !buildcache.IsManifestType(blob.MediaType) && blob.Digest != root.Digest {
			continue
		}
		raw, err := layout.ReadBlob(ctx, u, blob, buildcache.MaxRoot)
		if errors.Is(err, layout.ErrBlobMissing) {
			lacking = true
			continue
		}
		if err != nil {
			return nil, false, err
		}
		todo = append(todo, buildcache.Successors(raw)...)
	}
	return blobs, lacking, nil
}

// kindOf says what a root is the root of. One that is missing may be anything.
func (u *union) kindOf(ctx context.Context, root buildcache.Descriptor) (string, error) {
	raw, err := layout.ReadBlob(ctx, u, root, buildcache.MaxRoot)
	if errors.Is(err, layout.ErrBlobMissing) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return kindOf(raw), nil
}

func kindOf(raw []byte) string {
	if _, err := buildcache.ParseRoot(raw); err != nil {
		return KindImage
	}
	return KindCache
}

// missing returns the error that lists what is nowhere, or nil.
func (u *union) missing(found *survey) error {
	e := &MissingError{Archive: u.String(), Partial: len(found.partial) > 0}
	if u.dst != nil {
		e.Into = u.dst.String()
	}
	if named, ok := u.base.(fmt.Stringer); ok {
		e.Base = named.String()
	} else if u.base != nil {
		e.Base = "the base"
	}
	for _, n := range found.needs {
		if n.at == nowhere {
			e.Blobs = append(e.Blobs, MissingBlob{
				Blob: Blob{Digest: n.blob.Digest, Size: n.blob.Size}, Tags: n.tags, Damaged: n.damaged,
			})
		}
	}
	if len(e.Blobs) == 0 {
		return nil
	}
	slices.SortStableFunc(e.Blobs, func(a, b MissingBlob) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	return e
}

// defaultTag is the tag that BuildKit takes where none is given.
const defaultTag = "latest"

// selectEntries returns the entries to unpack, each under the tag that it gets, and notes on what is passed over.
func selectEntries(archive string, entries []layout.Entry, o UnpackOptions) (selected []layout.Entry, notes []string, err error) {
	entries, notes = nameUntagged(entries, o)
	seen := map[string]digest.Digest{}
	var tags []string
	for _, entry := range entries {
		if err := layout.CheckTag(entry.Tag); err != nil {
			return nil, nil, &HostileError{Archive: archive, Entry: indexName, Err: err}
		}
		if first, ok := seen[entry.Tag]; ok {
			if first != entry.Root.Digest {
				notes = append(notes, fmt.Sprintf("passed over, because another root has the tag %q too: %s", entry.Tag, entry.Root.Digest))
			}
			continue
		}
		seen[entry.Tag] = entry.Root.Digest
		tags = append(tags, entry.Tag)
		if o.Tags == nil || o.Tags(entry.Tag) {
			selected = append(selected, entry)
		}
	}
	if len(selected) == 0 {
		return nil, nil, &layout.NotFoundError{Place: archive, Tag: o.Tag, Tags: tags}
	}
	return selected, notes, nil
}

// nameUntagged gives a tag to an entry that is the only one without: skopeo and others write such a one where they were
// given no name. Further ones can't be told apart and are left out.
func nameUntagged(entries []layout.Entry, o UnpackOptions) (tagged []layout.Entry, notes []string) {
	name, free := cmp.Or(o.Tag, defaultTag), true
	var untagged []layout.Entry
	for _, entry := range entries {
		if entry.Tag == "" {
			untagged = append(untagged, entry)
			continue
		}
		tagged = append(tagged, entry)
		free = free && entry.Tag != name
	}
	if len(untagged) == 1 && free {
		untagged[0].Tag = name
		note := fmt.Sprintf("the archive gives no tag to %s; it is called %q", untagged[0].Root.Digest, name)
		return append(tagged, untagged[0]), []string{note}
	}
	for _, entry := range untagged {
		notes = append(notes, fmt.Sprintf("passed over, because it has no tag: %s", entry.Root.Digest))
	}
	return tagged, notes
}
