package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// openBlob opens a blob for reading.
func (r *Repository) openBlob(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	reader := &blobReader{repository: r, ctx: ctx, blob: blob}
	if err := reader.reopen(); err != nil {
		return nil, ofStored(err)
	}
	return reader, nil
}

// blobReader reads a blob, and resumes it where it was if the connection breaks. If the registry has no more than it gave, and
// says so twice, the blob ends there: that is damage, which the verifying reader finds.
type blobReader struct {
	repository *Repository
	ctx        context.Context //nolint:containedctx // io.Reader has no place for one
	blob       buildcache.Descriptor
	stream     *watched
	whole      bool // the stream is an answer that shows where the blob ends
	ended      bool // such a stream ended after what was read
	sure       bool // the stream was opened to see whether it ends there again
	patched    bool // what was read comes from several answers
	single     bool // all has to come from one answer
	read       int64
	tries      int   // tries that broke off, with little read in between
	broke      int64 // what had been read when the last one broke off
	err        error // the error that ended it for good
}

// progress is how many bytes have to arrive since the last break for earlier breaks not to count.
const progress = 1 << 20

func (b *blobReader) Read(p []byte) (int, error) {
	for b.err == nil {
		n, err := b.stream.Read(p)
		b.read += int64(n)
		if n > 0 {
			b.ended, b.sure = false, false
		}
		if errors.Is(err, io.EOF) && b.read < b.blob.Size && !b.isEnd() {
			b.ended = b.whole
			err = io.ErrUnexpectedEOF
		}
		if n > 0 && err != nil && !errors.Is(err, io.EOF) {
			return n, nil // the error will come again
		}
		if err == nil || errors.Is(err, io.EOF) {
			return n, err
		}
		if errors.Is(err, io.ErrUnexpectedEOF) { // who sees it at the same byte each time knows more than that it broke
			err = fmt.Errorf("%w: %d of %d bytes", err, b.read, b.blob.Size)
		}
		if b.err = err; !b.single {
			b.err = ofStored(b.recover(err))
		}
	}
	return 0, b.err
}

// isEnd reports whether a stream that ended too early did so because the blob has no more bytes.
func (b *blobReader) isEnd() bool {
	return b.whole && (b.sure || b.single || b.repository.options.retries() <= 0)
}

// recover reopens the blob where reading stopped.
func (b *blobReader) recover(cause error) error {
	if b.read-b.broke >= progress {
		b.tries = 0
	}
	b.broke = b.read
	for {
		if err := b.repository.again(b.ctx, "read blob "+b.blob.Digest.String(), b.repository.reads[0].host, b.tries, time.Time{}, cause); err != nil {
			return err
		}
		b.tries++
		if cause = b.Close(); cause == nil {
			cause = b.reopen()
		}
		if cause == nil {
			return nil
		}
	}
}

// reopen opens the blob, and skips to where reading stopped.
func (b *blobReader) reopen() error {
	r := b.repository
	var stream *watched
	err := r.read(b.ctx, "read blob "+b.blob.Digest.String(), func(_ context.Context, c *client, _ *watchdog) (err error) {
		var at int64
		from := b.read
		if b.ended || r.misranges.Load() { // only the whole blob shows where it ends
			from = 0
		}
		//nolint:contextcheck // what is opened lives longer than the attempt to open it, so it has a watch of its own
		stream, err = watch(b.ctx, r.options.idle(), func(ctx context.Context, dog *watchdog) (raw io.ReadCloser, err error) {
			g := &guard{dog: dog, plain: r.allowsPlain(), download: r.Host()}
			raw, at, b.whole, err = c.blob(g.watch(ctx), b.blob, from)
			return raw, err
		})
		if err != nil {
			return err
		}
		if _, err = io.CopyN(io.Discard, stream, b.read-at); err != nil {
			return errors.Join(err, stream.Close())
		}
		return nil
	})
	if isNotFound(err) {
		return r.blobError(b.blob, layout.ErrBlobMissing)
	}
	if err == nil {
		b.stream, b.sure = stream, b.ended
		b.patched = b.patched || b.read > 0
	}
	return err
}

// blob reads a blob, from byte from on if the registry does that. It returns at which byte the stream begins, and whether the
// end of the stream is the end of the blob that the registry has.
func (c *client) blob(ctx context.Context, blob buildcache.Descriptor, from int64) (raw io.ReadCloser, at int64, whole bool, err error) {
	path := "/blobs/" + blob.Digest.String()
	if from <= 0 || from >= blob.Size {
		response, err := c.do(ctx, http.MethodGet, path, nil, nil, http.StatusOK)
		if err != nil {
			return nil, 0, false, err
		}
		return response.Body, 0, saysItsEnd(response), nil
	}
	response, err := c.do(ctx, http.MethodGet, path, http.Header{"Range": {fmt.Sprintf("bytes=%d-", from)}}, nil,
		http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
	switch {
	case err != nil:
		return nil, 0, false, err
	case response.StatusCode == http.StatusOK:
		return response.Body, 0, saysItsEnd(response), nil
	case response.StatusCode == http.StatusPartialContent && strings.HasPrefix(response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", from)):
		return response.Body, from, false, nil
	}
	if err := response.Body.Close(); err != nil {
		return nil, 0, false, err
	}
	return c.blob(ctx, blob, 0) // it can only send all of it
}

// saysItsEnd reports whether the end of an answer can be told from a broken connection.
func saysItsEnd(response *http.Response) bool {
	return response.ContentLength >= 0 || slices.Contains(response.TransferEncoding, "chunked") || response.ProtoMajor >= 2
}

// Settle reads the blob once more if what was read comes from several answers: the registry, or a proxy before it, may have given
// other bytes for the rest than were asked for. Then it is not asked for the rest of a blob again.
func (b *blobReader) Settle() error {
	if !b.patched {
		return nil
	}
	what, h := "read blob "+b.blob.Digest.String(), b.repository.reads[0].host
	for tries := 0; ; tries++ {
		err := b.inOnePiece()
		switch {
		case errors.Is(err, layout.ErrBlobDamaged), errors.Is(err, layout.ErrBlobSize):
			return nil
		case err == nil:
			b.repository.misranges.Store(true)
			return layout.ErrPatched
		}
		if err := b.repository.again(b.ctx, what, h, tries, time.Time{}, err); err != nil {
			return fmt.Errorf("%w: %w", layout.ErrPatched, err)
		}
	}
}

// inOnePiece reads the blob from one answer, verified.
func (b *blobReader) inOnePiece() (err error) {
	again := &blobReader{repository: b.repository, ctx: b.ctx, blob: b.blob, single: true}
	if err := again.reopen(); err != nil {
		return err
	}
	verified := layout.NewVerifiedReader(b.ctx, b.repository.String(), b.blob, again)
	defer func() { err = errors.Join(err, verified.Close()) }()
	_, err = io.Copy(io.Discard, verified)
	var blob *layout.BlobError
	if errors.As(err, &blob) {
		err = blob.Err // whoever gets it knows which blob
	}
	return err
}

// Close closes the stream, if one is open.
func (b *blobReader) Close() error {
	if b.stream == nil {
		return nil
	}
	stream := b.stream
	b.stream = nil
	return stream.Close()
}
