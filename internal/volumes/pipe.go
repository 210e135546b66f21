package volumes

import (
	"cmp"
	"errors"
	"sync/atomic"
)

// chunkSize is how many bytes of a stream go at once from whoever makes it to whoever hashes and writes it.
const chunkSize = 512 << 10

// errClosed says that something was written after the end.
var errClosed = errors.New("written to after it was closed")

// pipe passes what is written to it, in large pieces, to a goroutine of its own.
type pipe struct {
	current    []byte
	full, free chan []byte
	done       chan struct{}
	closed     bool
	failed     atomic.Bool
	err        error // of the sink; to be read once done is closed
}

func startPipe(sink func([]byte) error) *pipe {
	const chunks = 4
	p := &pipe{full: make(chan []byte, chunks), free: make(chan []byte, chunks), done: make(chan struct{})}
	for range chunks {
		p.free <- nil // made when it is needed: a small archive needs one
	}
	p.current = <-p.free
	go func() {
		defer close(p.done)
		for chunk := range p.full {
			if p.err == nil {
				p.err = sink(chunk)
				p.failed.Store(p.err != nil)
			}
			p.free <- chunk[:0]
		}
	}()
	return p
}

// Write fails with the sink's error, as soon as it is known.
func (p *pipe) Write(data []byte) (int, error) {
	if p.closed {
		return 0, cmp.Or(p.err, errClosed)
	}
	written := 0
	for written < len(data) {
		if p.failed.Load() {
			return written, p.Close()
		}
		if p.current == nil {
			p.current = make([]byte, 0, chunkSize)
		}
		n := min(len(data)-written, cap(p.current)-len(p.current))
		p.current = append(p.current, data[written:written+n]...)
		written += n
		if len(p.current) == cap(p.current) {
			p.full <- p.current
			p.current = <-p.free
		}
	}
	return written, nil
}

// Close waits until everything has gone through the sink, and returns its error. It can be called again.
func (p *pipe) Close() error {
	if !p.closed {
		p.closed = true
		p.full <- p.current
		close(p.full)
	}
	<-p.done
	return p.err
}
