package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

const (
	// DefaultMaxSize is how many bytes a compressed stream may unpack to, however small it is; see UnpackOptions.
	DefaultMaxSize = 1 << 30
	// maxRatio is how many times its size a compressed stream may unpack to on top of that. Layers are already compressed, or
	// are files that people have written, and reach no more than a tenth of it.
	maxRatio = 100
	// maxHeld is how many bytes of manifests and the like are kept in memory until it is known that nothing is missing.
	maxHeld = 64 << 20
	// streamBuffer is how much of a stream is read at once, in bytes.
	streamBuffer = 1 << 20
)

// UnpackStream is Unpack for an archive that can only be read from front to back: from a pipe, or compressed.
// Our own archives say first what they hold, so what is missing is known before anything is written. The blobs of other
// tools' archives are written as they come, each under the digest of its bytes; only then is it known whether all of
// them are there. No tag moves before the end of the archive has been seen. When ctx is done UnpackStream returns even
// if r keeps it waiting, and abandons the read of r that is under way.
func UnpackStream(ctx context.Context, r io.Reader, name string, dst *layout.Dir, o UnpackOptions) (*UnpackResult, error) {
	ahead, stop := readApart(ctx, r)
	defer stop()
	tar, err := unpacked(ctx, ahead, o.MaxSize)
	var bad *compress.DecodeError
	if errors.As(err, &bad) {
		return nil, &HostileError{Archive: name, Err: fmt.Errorf("%w: %w", ErrNotArchive, err)}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	group, groupCtx := parallel.New(ctx, jobsOf(o.Jobs))
	s := &stream{
		scanner: newScanner(groupCtx, name, tar), group: group,
		held: map[digest.Digest][]byte{}, stored: map[digest.Digest]int64{},
	}
	s.unpacker = newUnpacker(s, dst, o)
	err = s.read(groupCtx)
	// The error that stopped the others comes first, and all of them end before the lock is released.
	if groupErr := group.Wait(); err == nil || errors.Is(err, errStopped) || groupErr != nil && errors.Is(err, groupErr) {
		err = groupErr
	}
	if err == nil {
		err = s.end(ctx)
	}
	if err := errors.Join(err, s.finish()); err != nil {
		return nil, err // closing would only say the same again
	}
	return s.result, tar.Close()
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	l.n += int64(n)
	limit := l.limit
	if limit == 0 {
		limit = DefaultMaxSize + min(l.packed.n, math.MaxInt64/maxRatio/2)*maxRatio
	}
	if l.n > limit {
		return n, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return n, err
}

// stream unpacks an archive from front to back.
type stream struct {
	*unpacker
	scanner *tarScanner
	parsed  *parsed // nil until index.json was seen
	// promised are the blobs of an archive that begins with its description; nil for others.
	promised map[digest.Digest]int64
	// found is what the archive needs, once that is known.
	found *findings
	needs map[digest.Digest]bool
	// late says that an archive of ours does not have its manifests first.
	late   bool
	group  *parallel.Group
	buffer []byte
	// held are blobs in memory that may be manifests: in an archive of ours those that come before anything is written, and
	// those that a dry run reads.
	held      map[digest.Digest][]byte
	heldBytes int64
	order     []buildcache.Descriptor // of held
	stored    map[digest.Digest]int64 // blobs that have arrived
}

// errNotHeld says that a blob has not arrived yet, or was not kept.
var errNotHeld = errors.New("its bytes are not available")

// String returns the archive's name.
func (s *stream) String() string { return s.scanner.archive }

// sizeIn and openIn make stream a holder.
func (s *stream) sizeIn(blob digest.Digest) (int64, bool) {
	if s.promised != nil {
		size, ok := s.promised[blob]
		return size, ok
	}
	size, ok := s.stored[blob]
	return size, ok
}

func (s *stream) openIn(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	if raw, ok := s.held[blob.Digest]; ok {
		return layout.OpenBytes(raw)()
	}
	if _, ok := s.stored[blob.Digest]; ok && s.dst != nil && !s.o.DryRun {
		return s.dst.Open(ctx, blob)
	}
	return nil, &layout.BlobError{Digest: blob.Digest, Place: s.String(), Err: errNotHeld}
}

// read takes the blobs as they come, and makes sure that the archive ends as it should.
func (s *stream) read(ctx context.Context) error {
	for first := true; ; first = false {
		blob, err := s.scanner.next()
		done := err == io.EOF //nolint:errorlint // next returns it itself
		if err != nil && !done {
			return err
		}
		if first {
			if err := s.open(); err != nil {
				return err
			}
		}
		if done {
			return s.complete(ctx)
		}
		if err := s.take(ctx, blob); err != nil {
			return err
		}
	}
}

// open looks at what came before the first blob. An archive of ours has its description there.
func (s *stream) open() error {
	if s.scanner.found.index == nil || s.scanner.found.description == nil {
		return nil
	}
	if err := s.parse(); err != nil {
		return err
	}
	s.promised = sizes(s.parsed.description.Blobs)
	return nil
}

func (s *stream) parse() (err error) {
	if s.parsed != nil {
		return nil
	}
	if s.parsed, err = s.scanner.parse(); err == nil {
		s.result.ID = s.parsed.id
	}
	return err
}

// take handles the blob that comes next.
func (s *stream) take(ctx context.Context, blob buildcache.Descriptor) error {
	if s.promised != nil {
		if err := s.scanner.checkPromised(s.promised, blob); err != nil {
			return err
		}
	}
	var r io.Reader = s.scanner.tar
	if s.holding() {
		var err error
		if r, err = s.hold(blob); err != nil {
			return s.unread(blob, err)
		}
		if r == nil {
			return nil
		}
	}
	if s.promised != nil && s.found == nil && !s.late {
		if err := s.lookAhead(ctx); err != nil {
			return err
		}
	}
	return s.store(ctx, blob, r)
}

// holding reports whether blobs are kept in memory now.
func (s *stream) holding() bool {
	if s.promised == nil || s.late {
		return s.o.DryRun
	}
	return s.found == nil
}

// hold keeps a blob in memory and returns nil if it may be a manifest, else it returns its bytes.
func (s *stream) hold(blob buildcache.Descriptor) (io.Reader, error) {
	if blob.Size == 0 || blob.Size > buildcache.MaxRoot || s.heldBytes+blob.Size > maxHeld {
		return s.scanner.tar, nil
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(s.scanner.tar, first); err != nil {
		return nil, err
	}
	if first[0] != '{' {
		return io.MultiReader(bytes.NewReader(first), s.scanner.tar), nil
	}
	raw := make([]byte, blob.Size)
	raw[0] = first[0]
	if _, err := io.ReadFull(s.scanner.tar, raw[1:]); err != nil {
		return nil, err
	}
	s.held[blob.Digest] = raw
	s.heldBytes += blob.Size
	s.stored[blob.Digest] = blob.Size
	s.order = append(s.order, blob)
	return nil, nil
}

// unread says why a blob could not be read to its end.
func (s *stream) unread(blob buildcache.Descriptor, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", ErrTruncated, err)
	}
	return s.scanner.hostile(s.scanner.blobEntry(blob.Digest), err)
}

// entries lists the roots, with the sizes that are known.
func (s *stream) entries() []layout.Entry {
	return s.parsed.entries(func(blob digest.Digest) (int64, bool) {
		if size, ok := s.sizeIn(blob); ok {
			return size, true
		}
		return s.parsed.required(blob)
	})
}

// lookAhead finds out whether everything is there, from what the archive promises and the manifests that have arrived, and
// writes what was kept in memory.
func (s *stream) lookAhead(ctx context.Context) error {
	found, err := s.findOut(ctx, s.parsed, s.entries())
	switch {
	case errors.Is(err, errNotHeld):
		if err := s.lookRequired(ctx); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		s.found, s.needs = found, make(map[digest.Digest]bool, len(found.needs))
		for _, n := range found.needs {
			s.needs[n.blob.Digest] = true
		}
		if err := s.begin(ctx, found); err != nil {
			return err
		}
	}
	order := s.order
	s.order = nil
	for _, blob := range order {
		raw := s.held[blob.Digest]
		if err := s.store(ctx, blob, bytes.NewReader(raw)); err != nil {
			return err
		}
	}
	if !s.o.DryRun {
		s.held = nil
	}
	return nil
}

// lookRequired is for archives whose manifests do not come first. It is not known yet what the chosen tags need, so all
// that is required must be there.
func (s *stream) lookRequired(ctx context.Context) error {
	s.late = true
	s.result.Notes = nil // they will be added again
	all := &findings{roots: []layout.Entry{{Tag: "the archive"}}}
	for _, blob := range s.parsed.description.Requires {
		n := &need{blob: buildcache.Descriptor{Digest: blob.Digest, Size: blob.Size}, roots: []int{0}}
		var err error
		if n.at, n.damaged, err = s.find(ctx, n.blob); err != nil {
			return err
		}
		all.needs = append(all.needs, n)
	}
	return s.missing(all)
}

// store writes a blob, if it is needed or if that is not known yet. It reads the bytes, while the group writes them and
// syncs them to disk. It returns errStopped if the writing failed; the group knows why.
func (s *stream) store(ctx context.Context, blob buildcache.Descriptor, r io.Reader) error {
	s.stored[blob.Digest] = blob.Size
	if s.needs != nil && !s.needs[blob.Digest] {
		s.result.Unneeded.add(blob.Size)
		return nil
	}
	if s.o.DryRun {
		return nil
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	pr, pw := io.Pipe()
	s.group.Go(func() error {
		err := s.put(ctx, blob, &s.result.Written, s, func() (io.ReadCloser, error) { return pr, nil })
		pr.CloseWithError(errEnough)
		return err
	})
	noted := &notedReader{r: r}
	if s.buffer == nil {
		s.buffer = make([]byte, streamBuffer)
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{pw}, noted, s.buffer)
	pw.CloseWithError(err) // the other side gets io.EOF if err is nil
	switch {
	case noted.err != nil:
		return s.unread(blob, noted.err)
	case err == nil, errors.Is(err, errEnough):
		return nil
	default:
		return errStopped
	}
}

var (
	// errEnough says that nobody wanted a blob's bytes: they are there already.
	errEnough = errors.New("enough was read")
	// errStopped says that a blob could not be written.
	errStopped = errors.New("writing failed")
)

func (n *notedReader) Read(p []byte) (int, error) {
	k, err := n.r.Read(p)
	if err != nil && err != io.EOF {
		n.err = err
	}
	return k, err
}

// complete checks the archive as a whole, once its end has been seen.
func (s *stream) complete(ctx context.Context) error {
	s.result.PassedOver = s.scanner.found.passed
	if err := s.parse(); err != nil {
		return err
	}
	if s.parsed.description != nil {
		if err := s.scanner.checkBlobs(s.parsed.description); err != nil {
			return err
		}
	}
	if s.promised != nil && s.found == nil && !s.late { // every blob was held
		return s.lookAhead(ctx)
	}
	return nil
}

// end writes what comes from the base, after the last blob of the archive has been written, and moves the tags.
func (s *stream) end(ctx context.Context) error {
	if s.found == nil {
		var err error
		if s.found, err = s.findOut(ctx, s.parsed, s.entries()); err != nil {
			return err
		}
		s.needs = map[digest.Digest]bool{}
		for _, n := range s.found.needs {
			s.needs[n.blob.Digest] = true
		}
		for blob, size := range s.stored {
			if !s.needs[blob] {
				s.result.Unneeded.add(size)
			}
		}
		if s.result.Unneeded.Blobs > 0 && !s.o.DryRun {
			s.result.Notes = append(s.result.Notes,
				"blobs that no chosen tag needs were written too, because the archive only tells at its end what is needed")
		}
		if err := s.begin(ctx, s.found); err != nil {
			return err
		}
	}
	if s.o.DryRun {
		return nil
	}
	if err := s.write(ctx, s.found, inBase); err != nil {
		return err
	}
	return s.tag(ctx)
}
