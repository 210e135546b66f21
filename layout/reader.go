package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/umoci/pkg/hardening"

	"github.com/ocicache/ocicache/buildcache"
)

// OpenVerified returns a blob's bytes. Reading them to the end fails with a *BlobError if digest or size don't match
// the descriptor; before the end nothing is known. Once ctx is done, the next read fails.
func OpenVerified(ctx context.Context, src Source, blob buildcache.Descriptor) (io.ReadCloser, error) {
	if err := buildcache.CheckDigest(blob.Digest); err != nil {
		return nil, &BlobError{Digest: blob.Digest, Place: src.String(), Err: err}
	}
	raw, err := src.Open(ctx, blob)
	if err != nil {
		return nil, err
	}
	return NewVerifiedReader(ctx, src.String(), blob, raw), nil
}

// NewVerifiedReader wraps raw, the already opened bytes of the blob, as OpenVerified does. place is named in its
// errors; it is "" if the caller fills it in, see BlameSource.
func NewVerifiedReader(ctx context.Context, place string, blob buildcache.Descriptor, raw io.ReadCloser) io.ReadCloser {
	return &verifiedReader{
		checked: &hardening.VerifiedReadCloser{
			Reader: &contextReader{ctx: ctx, raw: raw}, ExpectedDigest: blob.Digest, ExpectedSize: blob.Size,
		},
		raw: raw, blob: blob, place: place,
	}
}

// ReadBlob returns a whole blob, verified. It fails with a *buildcache.SizeError if the blob is larger than limit bytes.
func ReadBlob(ctx context.Context, src Source, blob buildcache.Descriptor, limit int64) ([]byte, error) {
	if blob.Size > limit {
		return nil, &buildcache.SizeError{What: "blob " + blob.Digest.String(), Size: blob.Size, Limit: limit}
	}
	if err := buildcache.CheckDigest(blob.Digest); err != nil {
		return nil, &BlobError{Digest: blob.Digest, Place: src.String(), Err: err}
	}
	raw, err := src.Open(ctx, blob)
	if err != nil {
		return nil, err
	}
	return readAllVerified(ctx, src.String(), blob, raw)
}

func readAllVerified(ctx context.Context, place string, blob buildcache.Descriptor, raw io.ReadCloser) (data []byte, err error) {
	r := NewVerifiedReader(ctx, place, blob, raw)
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(r)
}

// ReadUnverified returns what the place has for a blob, as BuildKit reads roots and configs, without checking size or
// digest. Its purpose is to say what is wrong with them. The limit is as for ReadBlob.
func ReadUnverified(ctx context.Context, src Source, blob buildcache.Descriptor, limit int64) (data []byte, err error) {
	r, err := src.Open(ctx, blob)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	data, err = io.ReadAll(io.LimitReader(&contextReader{ctx: ctx, raw: r}, limit+1))
	if err == nil && buildcache.CheckDigest(blob.Digest) == nil && blob.Digest.Algorithm().FromBytes(data) != blob.Digest {
		err = settle(r)
	}
	if err != nil {
		return nil, &BlobError{Digest: blob.Digest, Place: src.String(), Err: err}
	}
	if int64(len(data)) > limit {
		return nil, &buildcache.SizeError{What: "blob " + blob.Digest.String(), Size: int64(len(data)), Limit: limit}
	}
	return data, nil
}

// ReadThrough reads a blob to its end, verified, and reports the bytes to done as they arrive.
func ReadThrough(ctx context.Context, src Source, blob buildcache.Descriptor, done func(bytes int64)) (err error) {
	r, err := Counted(ctx, func() (io.ReadCloser, error) { return OpenVerified(ctx, src, blob) }, done)()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	_, err = io.Copy(io.Discard, r)
	return err
}

// OpenBytes returns an OpenFunc for bytes in memory.
func OpenBytes(data []byte) OpenFunc {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// BlameSource names src in the error of a Sink that was given bytes other than promised: a sink doesn't know where they
// come from.
func BlameSource(err error, src fmt.Stringer) error {
	var blob *BlobError
	if errors.As(err, &blob) && blob.Place == "" {
		blob.Place = src.String()
	}
	return err
}

// verifiedReader closes without reading the rest, unlike the reader it wraps, and gives errors our types. It keeps the first of those: what
// a Patched stream is settled with is not found out twice.
type verifiedReader struct {
	checked *hardening.VerifiedReadCloser
	raw     io.Closer
	blob    buildcache.Descriptor
	place   string
	wrong   error
}

// Settle is that of the stream that is verified, for readers that found its bytes wrong before its end.
func (r *verifiedReader) Settle() error { return settle(r.raw) }

func (r *verifiedReader) Read(p []byte) (int, error) {
	if r.wrong != nil {
		return 0, r.wrong
	}
	n, err := r.checked.Read(p)
	switch {
	case err == nil || err == io.EOF: //nolint:errorlint // a reader returns io.EOF itself
		return n, err
	case errors.Is(err, hardening.ErrSizeMismatch):
		err = Settled(r.raw, &mismatchError{ErrBlobSize, err, hardening.ErrSizeMismatch})
	case errors.Is(err, hardening.ErrDigestMismatch):
		err = Settled(r.raw, &mismatchError{ErrBlobDamaged, err, hardening.ErrDigestMismatch})
	}
	r.wrong = &BlobError{Digest: r.blob.Digest, Place: r.place, Err: err}
	return n, r.wrong
}

// mismatchError says in our words what is wrong with a blob, and what was expected, without the words of the reader that noticed.
type mismatchError struct{ kind, err, words error }

func (e *mismatchError) Error() string {
	return e.kind.Error() + ": " + strings.TrimSuffix(e.err.Error(), ": "+e.words.Error())
}
func (e *mismatchError) Unwrap() []error { return []error{e.kind, e.err} }

func (r *verifiedReader) Close() error { return r.raw.Close() }

// contextReader fails once its context is done.
type contextReader struct {
	ctx context.Context //nolint:containedctx // io.Reader has no place for one
	raw io.ReadCloser
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.raw.Read(p)
}

func (r *contextReader) Close() error { return r.raw.Close() }
