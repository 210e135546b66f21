package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// holder is the archive being unpacked, as far as it is known.
type holder interface {
	fmt.Stringer
	// sizeIn returns the size of a blob that is in the archive itself.
	sizeIn(blob digest.Digest) (int64, bool)
	// openIn returns such a blob, unverified.
	openIn(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error)
}

// joined shows everything that an archive's graphs may be in as one layout.Source: the archive, then the layout that it
// is unpacked to, if its bytes are right, then the base.
type joined struct {
	archive holder
	dst     *layout.Dir   // nil if there is none yet
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

// Entries returns none; it is there to make joined a Source.
func (j *joined) Entries(context.Context) ([]layout.Entry, error) { return nil, nil }

// String returns the archive's name: whatever is wrong with a graph is wrong there.
func (j *joined) String() string { return j.archive.String() }

// Has reports whether one of them has a blob, with its size.
func (j *joined) Has(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	at, _, err := j.find(ctx, blob)
	return at != nowhere, err
}

// Open returns a blob's bytes, unverified.
func (j *joined) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	if _, ok := j.archive.sizeIn(blob.Digest); ok {
		return j.archive.openIn(ctx, blob)
	}
	state, err := j.inspect(ctx, blob.Digest)
	if err != nil {
		return nil, err
	}
	if state == blobRight {
		return j.dst.Open(ctx, blob)
	}
	if j.base != nil {
		return j.base.Open(ctx, blob)
	}
	return nil, &layout.BlobError{Digest: blob.Digest, Place: j.String(), Err: layout.ErrBlobMissing}
}

// inspect says whether the layout has a blob, and whether its bytes are right. It reads each blob once.
func (j *joined) inspect(ctx context.Context, blob digest.Digest) (blobState, error) {
	if j.dst == nil {
		return blobAbsent, nil
	}
	j.mu.Lock()
	state, ok := j.known[blob]
	j.mu.Unlock()
	if ok {
		return state, nil
	}
	state, err := inspectBlob(ctx, j.dst, blob)
	if err != nil {
		return state, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.known == nil {
		j.known = map[digest.Digest]blobState{}
	}
	j.known[blob] = state
	return state, nil
}

// inspectBlob reads a blob of a layout and says whether it is there and its bytes are right.
func inspectBlob(ctx context.Context, dir *layout.Dir, blob digest.Digest) (blobState, error) {
	section, err := dir.OpenAt(ctx, buildcache.Descriptor{Digest: blob})
	if errors.Is(err, layout.ErrBlobMissing) {
		return blobAbsent, nil
	}
	if err != nil {
		return blobAbsent, err
	}
	r := layout.NewVerifiedReader(ctx, dir.String(), buildcache.Descriptor{Digest: blob, Size: section.Size()}, section)
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
