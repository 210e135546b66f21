package archive

import (
	"bufio"
	"context"
	"errors"
	"io"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
)

// readApart reads r in a goroutine of its own, so that nobody waits for r once ctx is done.
func readApart(ctx context.Context, r io.Reader) (*io.PipeReader, func()) {
	pr, pw := io.Pipe()
	go func() {
		_, err := io.CopyBuffer(pw, struct{ io.Reader }{r}, make([]byte, streamBuffer))
		pw.CloseWithError(err)
	}()
	stop := context.AfterFunc(ctx, func() { pw.CloseWithError(context.Cause(ctx)) })
	return pr, func() {
		stop()
		_ = pr.Close() // always nil
	}
}

// unpacked returns the tar in a stream, however it is compressed.
func unpacked(ctx context.Context, r io.Reader, limit int64) (io.ReadCloser, error) {
	buffered := bufio.NewReaderSize(r, streamBuffer)
	head, err := buffered.Peek(compress.HeadSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	compression := compress.DetectHead(head)
	if compression == buildcache.Uncompressed {
		return io.NopCloser(buffered), nil
	}
	packed := &counted{r: buffered}
	tar, err := compress.NewDecoder().Decode(ctx, packed, compression)
	if err != nil {
		return nil, err
	}
	return &limited{ReadCloser: tar, packed: packed, limit: limit}, nil
}

// counted counts what is read.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// limited fails once a stream unpacks to more than it may.
type limited struct {
	io.ReadCloser
	packed *counted // read by this goroutine alone
	limit  int64    // 0 for the default
	n      int64
}

// notedReader keeps errors of reading, to tell them from those of writing.
type notedReader struct {
	r   io.Reader
	err error
}
