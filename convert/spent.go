package convert

import (
	"io"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
)

// spending is what attempts at a layer take, including those that break off: nothing is ever taken back.
type spending struct{ read, sent atomic.Int64 }

// reads counts what was read. It ignores negative numbers, which say that something will be read again.
func (s *spending) reads(n int64) { s.read.Add(max(n, 0)) }

// sentTo returns a writer to w that counts what is written.
func (s *spending) sentTo(w io.Writer) io.Writer { return &spendingWriter{w, s} }

// of returns what was read and what was sent.
func (s *spending) of() (read, sent int64) { return s.read.Load(), s.sent.Load() }

type spendingWriter struct {
	w   io.Writer
	all *spending
}

func (w *spendingWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.all.sent.Add(int64(n))
	return n, err
}

// blob returns the digest of what a layer becomes, or "" if it stays as it is or that is unknown.
func (s *step) blob() digest.Digest {
	if s.to == nil {
		return ""
	}
	return s.to.Digest
}

// spentOn returns what a step took, or in a dry run would take.
func (j *job) spentOn(s step) (e layout.Effort) {
	size := s.from.Size
	switch {
	case s.to != nil:
		size = s.to.Size
	case s.action == Recompress: // in a dry run
		return e
	}
	switch remade := s.action == Recompress; {
	case s.moved > 0:
		e.Moved, e.Lost = max(s.moved, s.sent), max(s.sent-s.moved, 0)
		e.Read = max(s.from.Size, s.read)
	case remade:
		e.Saved, e.Read = size, max(s.from.Size, s.read)
	case !j.inPlace:
		e.Saved = size
	}
	return e
}

// spent returns what a failed conversion took.
func (j *job) spent() layout.Effort {
	e := layout.Effort{Read: j.proved.Load()}
	for _, s := range j.plan.steps {
		if s.done {
			e = e.Plus(j.spentOn(s))
		} else {
			e = e.Plus(layout.Effort{Read: s.read, Moved: s.sent, Lost: s.sent})
		}
	}
	return e
}
