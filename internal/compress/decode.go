package compress

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/ocicache/ocicache/buildcache"
)

// MaxZstdWindow is the largest zstd window, in bytes, that BuildKit unpacks.
const MaxZstdWindow = 512 << 20

// Unpack returns everything that is packed in raw. For an estargz blob that includes its table of contents: it is what
// the blob's diffID is the digest of. Reading ends only after all of raw was read, so that a raw that verifies itself
// has done so.
func Unpack(raw io.Reader, c buildcache.Compression) (io.ReadCloser, error) {
	switch c {
	case buildcache.Gzip, buildcache.Estargz:
		r, err := gzip.NewReader(raw)
		if err != nil {
			return nil, unpackError(c, err)
		}
		return &unpacker{Reader: r, raw: raw, compression: c, close: r.Close}, nil
	case buildcache.Zstd:
		// A bytes.Buffer would be unpacked at once, into memory, if it could be seen.
		r, err := zstd.NewReader(struct{ io.Reader }{raw}, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(MaxZstdWindow))
		if err != nil {
			return nil, unpackError(c, err)
		}
		return &unpacker{Reader: r, raw: raw, compression: c, close: func() error { r.Close(); return nil }}, nil
	default:
		return io.NopCloser(raw), nil
	}
}

// UnpackTar returns the tar that is packed in raw, and writes everything that is packed to full. The two are the same
// but for estargz, where the tar is the one that was made into an estargz blob, without the table of contents
// (estargz.Unpack does the same with random access). It may take garbage behind the end of gzip for nothing: the caller
// must compare what full got with a digest.
func UnpackTar(raw io.Reader, p Packing, full io.Writer) (io.ReadCloser, error) {
	if p.Compression != buildcache.Estargz {
		r, err := unpackFast(raw, p.Compression)
		if err != nil {
			return nil, err
		}
		return &teeReader{r: r, full: full}, nil
	}
	r, err := unpackFast(io.LimitReader(raw, p.TOCOffset), buildcache.Estargz)
	if err != nil {
		return nil, err
	}
	return &teeReader{r: r, full: full, rest: func() error { return unpackRest(raw, full) }}, nil
}

// unpackFast is Unpack, with the help of igzip where that is to be had.
func unpackFast(raw io.Reader, c buildcache.Compression) (io.ReadCloser, error) {
	if c != buildcache.Gzip && c != buildcache.Estargz {
		return Unpack(raw, c)
	}
	r, rest, err := unpackGzipFast(raw)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return Unpack(rest, c)
	}
	return &unpacker{Reader: r, raw: rest, compression: c, close: r.Close}, nil
}

// unpackRest unpacks an estargz blob's table of contents and footer.
func unpackRest(raw io.Reader, full io.Writer) error {
	r, err := Unpack(raw, buildcache.Estargz)
	if err != nil {
		return err
	}
	_, err = io.Copy(full, r)
	return errors.Join(err, r.Close())
}

// UnpackError says that bytes are not packed as they should be.
type UnpackError struct {
	Compression buildcache.Compression
	Err         error
}

func (e *UnpackError) Error() string { return fmt.Sprintf("unpack %s: %v", e.Compression, e.Err) }

// Unwrap returns the cause.
func (e *UnpackError) Unwrap() error { return e.Err }

func unpackError(c buildcache.Compression, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &UnpackError{Compression: c, Err: err}
}

// unpacker reads raw to its end before it says that there is no more.
type unpacker struct {
	io.Reader
	raw         io.Reader
	compression buildcache.Compression
	close       func() error
}

func (u *unpacker) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		return n, unpackError(u.compression, err)
	}
	rest, err := io.Copy(io.Discard, u.raw)
	switch {
	case err != nil:
		return n, unpackError(u.compression, err)
	case rest > 0:
		return n, unpackError(u.compression, fmt.Errorf("%d bytes behind the end", rest))
	}
	return n, io.EOF
}

func (u *unpacker) Close() error { return u.close() }

// teeReader copies what is read to full, and runs rest at the end.
type teeReader struct {
	r    io.ReadCloser
	full io.Writer
	rest func() error
}

func (t *teeReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n > 0 {
		if _, err := t.full.Write(p[:n]); err != nil {
			return n, err
		}
	}
	if errors.Is(err, io.EOF) && t.rest != nil {
		if err := t.rest(); err != nil {
			return n, err
		}
		t.rest = nil
	}
	return n, err
}

func (t *teeReader) Close() error { return t.r.Close() }
