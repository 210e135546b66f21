package compress

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/ocicache/ocicache/buildcache"
)

// Decoder decodes any number of streams at once. Together they hold at most one large zstd window.
type Decoder struct {
	large chan struct{} // full while a stream has a large window
}

// NewDecoder returns a Decoder. Streams that run at the same time should share one.
func NewDecoder() *Decoder { return &Decoder{large: make(chan struct{}, 1)} }

// Decode returns everything that is encoded in raw. For an estargz blob that includes its table of contents, which its
// diffID covers too. Reading ends only after all of raw has been read, so that a raw that verifies itself has done so. It
// fails with a *DecodeError if the bytes are wrong, else with raw's own error, or that of ctx, which is checked before
// each piece that comes out. The reader must be closed.
func (d *Decoder) Decode(ctx context.Context, raw io.Reader, c buildcache.Compression) (io.ReadCloser, error) {
	codec, err := codecOf(c)
	if err != nil {
		return nil, err
	}
	u := &decodeReader{ctx: ctx, raw: &errorKeeper{r: interruptible{ctx, raw}}, compression: c}
	r, err := codec.decode(u.raw, func() error { return u.enter(d.large) })
	if err != nil {
		return nil, u.explain(err)
	}
	u.r = r
	return u, nil
}

// DecodeTar returns the tar that is encoded in raw, and writes everything that is encoded to full. The two are the same
// except for estargz, where the tar is the one that the blob was made from, without the table of contents. DecodeTar
// proves on the way that the table follows the whole tar: else reading ends with ErrNotEstargz, and the blob must be read
// as Gzip. Errors are those of Decode, and of full.
func (d *Decoder) DecodeTar(ctx context.Context, raw io.Reader, p Encoding, full io.Writer) (io.ReadCloser, error) {
	if p.Compression != buildcache.Estargz {
		r, err := d.Decode(ctx, raw, p.Compression)
		if err != nil {
			return nil, err
		}
		return &teeReader{ReadCloser: r, full: full}, nil
	}
	return d.decodeEstargz(ctx, raw, p.TOCOffset, full)
}

// DecodeError says that bytes are not encoded as they should be.
type DecodeError struct {
	Compression buildcache.Compression
	Err         error
}

func (e *DecodeError) Error() string { return fmt.Sprintf("decode %s: %v", e.Compression, e.Err) }

// Unwrap returns the cause.
func (e *DecodeError) Unwrap() error { return e.Err }

// decodeReader reads raw to its end before it returns io.EOF.
type decodeReader struct {
	ctx         context.Context //nolint:containedctx // io.Reader has no place for one
	r           io.ReadCloser
	raw         *errorKeeper
	compression buildcache.Compression
	leave       func() // gives back the room for a large window
}

// enter waits for room for a large window, once per stream.
func (u *decodeReader) enter(room chan struct{}) error {
	if u.leave != nil {
		return nil
	}
	select {
	case room <- struct{}{}:
		u.leave = func() { <-room }
		return nil
	case <-u.ctx.Done():
		return context.Cause(u.ctx)
	}
}

func (u *decodeReader) Read(p []byte) (int, error) {
	if err := context.Cause(u.ctx); err != nil {
		return 0, err
	}
	n, err := u.r.Read(p)
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		return n, u.explain(err)
	}
	rest, err := io.Copy(io.Discard, u.raw)
	switch {
	case err != nil:
		return n, u.explain(err)
	case rest > 0:
		return n, u.explain(errJunk)
	}
	return n, io.EOF
}

// explain returns the error of the context or of raw if that is the cause, else a *DecodeError.
func (u *decodeReader) explain(err error) error {
	switch {
	case context.Cause(u.ctx) != nil:
		return context.Cause(u.ctx)
	case u.raw.err != nil && !errors.Is(u.raw.err, io.EOF):
		return u.raw.err
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return &DecodeError{Compression: u.compression, Err: err}
}

func (u *decodeReader) Close() error {
	err := u.r.Close()
	if u.leave != nil {
		u.r = io.NopCloser(strings.NewReader(""))
		runtime.GC() // the next stream may take its window only when this one's is freed, not when it could be
		u.leave()
		u.leave = nil
	}
	return err
}

func decodeNothing(raw io.Reader, _ func() error) (io.ReadCloser, error) {
	return io.NopCloser(raw), nil
}

// errJunk says that something follows the end of what is compressed.
var errJunk = errors.New("junk behind its end")

// gzipReader reads one member after the other, so that it can tell what follows the last one.
type gzipReader struct {
	raw    *bufio.Reader
	member *gzip.Reader
}

func decodeGzip(raw io.Reader, _ func() error) (io.ReadCloser, error) {
	g := &gzipReader{raw: bufio.NewReaderSize(raw, 64<<10)}
	member, err := gzip.NewReader(g.raw)
	if err != nil {
		return nil, err
	}
	member.Multistream(false)
	g.member = member
	return g, nil
}

func (g *gzipReader) Read(p []byte) (int, error) {
	for {
		n, err := g.member.Read(p)
		if n > 0 && errors.Is(err, io.EOF) {
			err = nil // the next Read returns it again
		}
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		if err := g.next(); err != nil {
			return 0, err
		}
	}
}

// next moves on to the next member. It returns io.EOF if there is none.
func (g *gzipReader) next() error {
	head, err := g.raw.Peek(2)
	switch {
	case len(head) == 0:
		return err
	case !bytes.HasPrefix([]byte{0x1f, 0x8b}, head):
		return errJunk
	}
	err = g.member.Reset(g.raw) // io.EOF if the header is cut off within a name: BuildKit does not mind
	g.member.Multistream(false)
	return err
}

func (g *gzipReader) Close() error { return g.member.Close() }

// teeReader copies what is read to full.
type teeReader struct {
	io.ReadCloser
	full io.Writer
}

func (t *teeReader) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if n > 0 {
		if _, err := t.full.Write(p[:n]); err != nil {
			return n, err
		}
	}
	return n, err
}

// interruptible fails once its context is done.
type interruptible struct {
	ctx context.Context //nolint:containedctx // io.Reader has no place for one
	r   io.Reader
}

func (i interruptible) Read(p []byte) (int, error) {
	if err := context.Cause(i.ctx); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}

// errorKeeper remembers how a reader ended.
type errorKeeper struct {
	r   io.Reader
	err error
}

func (k *errorKeeper) Read(b []byte) (int, error) {
	n, err := k.r.Read(b)
	if err != nil {
		k.err = err
	}
	return n, err
}
