package registry

import (
	"bufio"
	"errors"
	"io"
	"sync"
)

// lazyStream is the body of an upload. It opens what it reads at the first read, as the registry may not want it. Go's HTTP
// client may still read it after the answer has come, until end is called. While it waits for bytes from our side, the registry
// is not silent.
//
// It gives the last byte only when there certainly are no more: a verifying reader says at its end what was wrong, and a
// registry that has as many bytes as it was told of would take them.
type lazyStream struct {
	dog  *watchdog
	open func() (io.ReadCloser, error) // nil if raw is open

	mu    sync.Mutex
	raw   io.ReadCloser
	ahead *bufio.Reader
	err   error // on our side, against which no retry helps
	over  bool
}

func (s *lazyStream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return 0, errUploadEnded
	}
	s.dog.pause()
	defer s.dog.alive()
	n, err := s.read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

func (s *lazyStream) read(p []byte) (n int, err error) {
	switch {
	case s.err != nil:
		return 0, s.err
	case s.raw == nil:
		if s.raw, err = s.open(); err != nil {
			return 0, err
		}
	}
	if s.ahead == nil {
		s.ahead = bufio.NewReaderSize(s.raw, streamBuffer)
	}
	known := 0
	switch _, err := s.ahead.Peek(2); {
	case err == nil:
		known = s.ahead.Buffered() - 1
	case !errors.Is(err, io.EOF):
		return 0, err
	case s.ahead.Buffered() == 0:
		return 0, io.EOF
	default:
		known = 1
	}
	return s.ahead.Read(p[:min(len(p), known)])
}

// streamBuffer is how many bytes of a stream are read at once.
const streamBuffer = 64 << 10

// Close does nothing: the creator of the stream calls end.
func (s *lazyStream) Close() error { return nil }

// end closes the stream, and returns what went wrong on our side.
func (s *lazyStream) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	err := s.err
	if s.raw != nil {
		err = errors.Join(err, s.raw.Close())
	}
	if err != nil {
		return &writeError{err}
	}
	return nil
}
