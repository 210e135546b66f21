package convert

import (
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/internal/compress"
)

// tarCheck receives the tar of a layer, and finds out what BuildKit would find in it: even if the bytes are right, their files may be
// impossible to extract.
type tarCheck struct {
	*io.PipeWriter
	size int64 // of what was written, in bytes
	done chan struct{}
	toc  digest.Digest
	err  error
}

func checkTar() *tarCheck {
	pr, pw := io.Pipe()
	c := &tarCheck{PipeWriter: pw, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.toc, c.err = compress.CheckTar(pr)
		_, _ = io.Copy(io.Discard, pr) // so that the writer can finish
	}()
	return c
}

func (c *tarCheck) Write(p []byte) (int, error) {
	c.size += int64(len(p))
	return c.PipeWriter.Write(p)
}

// end returns, once everything was written, the digest of the table of contents, "" if there is none, the size of everything, and what
// is wrong with the tar. It may be called again.
func (c *tarCheck) end() (toc digest.Digest, size int64, err error) {
	_ = c.Close() // always nil
	<-c.done
	return c.toc, c.size, c.err
}
