package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// openBlob opens a blob for reading.
func (r *Repository) openBlob(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	reader := &blobReader{repository: r, ctx: ctx, blob: blob}
	if err := reader.reopen(); err != nil {
		return nil, err
	}
	return reader, nil
}

// blobReader reads a blob, and takes it up again when the connection breaks. The library does so too, as long as much
// arrives in between; this goes on where it gives up, by reading anew and passing over what was read.
type blobReader struct {
	repository *Repository
	ctx        context.Context //nolint:containedctx // io.Reader has no place for one
	blob       buildcache.Descriptor
	stream     *watched
	read       int64
	tries      int   // that broke off
	err        error // that ended it for good
}

func (b *blobReader) Read(p []byte) (int, error) {
	for b.err == nil {
		n, err := b.stream.Read(p)
		b.read += int64(n)
		if errors.Is(err, io.EOF) && b.read < b.blob.Size {
			err = fmt.Errorf("%w: %d of %d bytes", io.ErrUnexpectedEOF, b.read, b.blob.Size)
		}
		if n > 0 && err != nil && !errors.Is(err, io.EOF) {
			return n, nil // the error comes again
		}
		if err == nil || errors.Is(err, io.EOF) {
			return n, err
		}
		b.err = b.recover(err)
	}
	return 0, b.err
}

// recover opens the blob again and goes to where the reading was.
func (b *blobReader) recover(cause error) error {
	for {
		if err := b.repository.again(b.ctx, "read blob "+b.blob.Digest.String(), b.tries, cause); err != nil {
			return err
		}
		b.tries++
		if cause = b.Close(); cause == nil {
			cause = b.reopen()
		}
		if cause == nil {
			_, cause = io.CopyN(io.Discard, b.stream, b.read)
		}
		if cause == nil {
			return nil
		}
	}
}

func (b *blobReader) reopen() error {
	return b.repository.try(b.ctx, "read blob "+b.blob.Digest.String(), func(ctx context.Context, _ *watchdog) error {
		source, err := b.repository.blobSource(ctx)
		if errors.Is(err, errNoRoot) {
			return b.repository.blobError(b.blob, fmt.Errorf("%w: %w", layout.ErrBlobMissing, err))
		}
		if err != nil {
			return err
		}
		//nolint:contextcheck // what is opened lives longer than the attempt to open it, so it has a watch of its own
		stream, err := watch(b.ctx, b.repository.options.idle(), func(ctx context.Context) (io.ReadCloser, error) {
			stream, _, err := source.GetBlob(ctx, types.BlobInfo{Digest: b.blob.Digest, Size: b.blob.Size}, none.NoCache)
			return stream, err
		})
		if isNotFound(err) {
			return b.repository.blobError(b.blob, layout.ErrBlobMissing)
		}
		if err == nil {
			b.stream = stream
		}
		return err
	})
}

// openedSource returns the source that is open already, or nil.
func (r *Repository) openedSource() types.ImageSource {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.source
}

// blobSource returns a source to read blobs from. The library gives none without a root, so where none was read yet any
// root of the repository has to do.
func (r *Repository) blobSource(ctx context.Context) (types.ImageSource, error) {
	if source := r.openedSource(); source != nil {
		return source, nil
	}
	tags, err := r.tags(ctx)
	if err != nil {
		return nil, err
	}
	for _, tag := range tags {
		if _, err = r.readRoot(ctx, tag); err == nil {
			return r.openedSource(), nil
		}
	}
	return nil, errors.Join(errNoRoot, err)
}

// errNoRoot says that a repository has no root, and so nothing to read.
var errNoRoot = errors.New("there is no root in the repository")

// Close ends the stream that is open, if one is.
func (b *blobReader) Close() error {
	if b.stream == nil {
		return nil
	}
	stream := b.stream
	b.stream = nil
	return stream.Close()
}
