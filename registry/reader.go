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
	reader := &blobReader{repository: r, ctx: ctx, blob: blob, left: r.options.retries()}
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
	left       int // further tries
	tries      int
}

func (b *blobReader) Read(p []byte) (int, error) {
	for {
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
		if err := b.recover(err); err != nil {
			return 0, err
		}
	}
}

// recover opens the blob again and goes to where the reading was.
func (b *blobReader) recover(cause error) error {
	for {
		if b.left == 0 || !retryable(b.ctx, cause) {
			return b.repository.wrap("read blob "+b.blob.Digest.String(), cause)
		}
		if err := b.repository.wait(b.ctx, b.tries); err != nil {
			return err
		}
		b.left--
		b.tries++
		if cause = b.stream.Close(); cause == nil {
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
	return b.repository.try(b.ctx, "read blob "+b.blob.Digest.String(), func(context.Context, *watchdog) error {
		source, err := b.repository.blobSource()
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
		b.stream = stream
		return err
	})
}

// errNoSource says that a blob was asked for before any root.
var errNoSource = errors.New("no root of this repository was read yet")

func (r *Repository) blobSource() (types.ImageSource, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.source == nil {
		return nil, errNoSource
	}
	return r.source, nil
}

func (b *blobReader) Close() error {
	if b.stream == nil {
		return nil
	}
	return b.stream.Close()
}
