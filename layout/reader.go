package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/umoci/pkg/hardening"

	"github.com/ocicache/ocicache/buildcache"
)

// OpenVerified returns a blob's bytes. Reading them to the end fails with a *BlobError where digest or size are not
// those of the descriptor; nothing can be said before the end. A done ctx fails the next read.
func OpenVerified(ctx context.Context, src Source, blob buildcache.Descriptor) (io.ReadCloser, error) {
	if err := buildcache.CheckDigest(blob.Digest); err != nil {
		return nil, &BlobError{Digest: blob.Digest, Place: placeName(src), Err: err}
	}
	raw, err := src.Open(ctx, blob)
	if err != nil {
		return nil, err
	}
	return Verify(ctx, src, blob, raw), nil
}

// Verify returns raw as OpenVerified does, for bytes of the blob that were opened already. A nil src is SomeSource.
func Verify(ctx context.Context, src Source, blob buildcache.Descriptor, raw io.ReadCloser) io.ReadCloser {
	return &verifiedReader{
		checked: &hardening.VerifiedReadCloser{
			Reader: &contextReader{ctx: ctx, raw: raw}, ExpectedDigest: blob.Digest, ExpectedSize: blob.Size,
		},
		raw: raw, blob: blob, place: placeName(src),
	}
}

// ReadBlob returns a whole blob of at most limit bytes, verified. A larger one fails with a *buildcache.SizeError.
func ReadBlob(ctx context.Context, src Source, blob buildcache.Descriptor, limit int64) (data []byte, err error) {
	if blob.Size > limit {
		return nil, &buildcache.SizeError{What: "blob " + blob.Digest.String(), Size: blob.Size, Limit: limit}
	}
	r, err := OpenVerified(ctx, src, blob)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return io.ReadAll(r)
}

// ReadUnverified returns what the place has for a blob, as BuildKit reads roots and configs: neither size nor digest
// is looked at. It is for saying what is wrong with them. The limit is as for ReadBlob.
func ReadUnverified(ctx context.Context, src Source, blob buildcache.Descriptor, limit int64) (data []byte, err error) {
	r, err := src.Open(ctx, blob)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	data, err = io.ReadAll(io.LimitReader(&contextReader{ctx: ctx, raw: r}, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, &buildcache.SizeError{What: "blob " + blob.Digest.String(), Size: int64(len(data)), Limit: limit}
	}
	return data, err
}

// Bytes returns an OpenFunc for bytes in memory.
func Bytes(data []byte) OpenFunc {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// SomeSource is the place in a *BlobError of a Sink that was given other bytes than were promised. Whoever gave them
// knows where they are from, see BlameSource.
const SomeSource = "the source"

// BlameSource names src in an error of a Sink that was given other bytes than were promised.
func BlameSource(err error, src Source) error {
	var blob *BlobError
	if errors.As(err, &blob) && blob.Place == SomeSource {
		blob.Place = placeName(src)
	}
	return err
}

func placeName(src Source) string {
	if s, ok := src.(fmt.Stringer); ok {
		return s.String()
	}
	return SomeSource
}

// verifiedReader closes without reading the rest, unlike the reader it wraps, and gives errors their type.
type verifiedReader struct {
	checked *hardening.VerifiedReadCloser
	raw     io.Closer
	blob    buildcache.Descriptor
	place   string
}

func (r *verifiedReader) Read(p []byte) (int, error) {
	n, err := r.checked.Read(p)
	switch {
	case err == nil || err == io.EOF: //nolint:errorlint // a reader returns io.EOF itself
		return n, err
	case errors.Is(err, hardening.ErrSizeMismatch):
		err = fmt.Errorf("%w: %w", ErrBlobSize, err)
	case errors.Is(err, hardening.ErrDigestMismatch):
		err = fmt.Errorf("%w: %w", ErrBlobDamaged, err)
	}
	return n, &BlobError{Digest: r.blob.Digest, Place: r.place, Err: err}
}

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
