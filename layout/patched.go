package layout

import (
	"errors"
	"io"
)

// Patched is a stream of a blob that may have been put together from several answers, as after a connection that broke.
type Patched interface {
	// Settle is called if the bytes turned out to be wrong. If they come from one answer, or the blob is as wrong in one piece, it returns
	// nil; else an error that wraps ErrPatched.
	Settle() error
}

// ErrPatched says that wrong bytes were put together from several answers of a place, and prove nothing about the blob.
var ErrPatched = errors.New("the bytes are wrong, but the connection broke in between, so that is no proof of damage")

// Settled returns what a reader found wrong with the bytes of a stream, or an error that wraps ErrPatched if that proves nothing.
func Settled(raw io.Closer, found error) error {
	if err := settle(raw); err != nil {
		return err
	}
	return found
}

func settle(raw io.Closer) error {
	if stream, ok := raw.(Patched); ok {
		return stream.Settle()
	}
	return nil
}

// Settle is that of the stream whose bytes are counted.
func (r *contextReader) Settle() error { return settle(r.raw) }
