package archive

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocicache/ocicache/buildcache"
)

const (
	// endSize is how many zero bytes end a tar.
	endSize = 2 * tarBlock
	// maxPadding is how many zero bytes may follow those: tars are padded to full tape records.
	maxPadding = 16 << 20
	// maxLayoutFile is the largest oci-layout that is read, in bytes.
	maxLayoutFile = 4 << 10
)

// extent is where the bytes of a blob lie in a tar.
type extent struct{ offset, size int64 }

// contents is what a tar holds, except the bytes of its blobs.
type contents struct {
	layout, index, description []byte // nil for those that are not there
	blobs                      map[digest.Digest]extent
	passed                     int // how many files belong to no layout
}

// tape is a tar being read. It notes what follows the last entry so far.
type tape struct {
	ctx   context.Context //nolint:containedctx // io.Reader has no place for one
	raw   io.Reader
	at    int64 // offset of the next byte
	end   int64 // of the last entry, including its padding
	dirty bool  // something other than zeros was read after end
	err   error // of raw, other than io.EOF
}

func (t *tape) Read(p []byte) (int, error) {
	if err := context.Cause(t.ctx); err != nil {
		t.err = err
		return 0, err
	}
	n, err := t.raw.Read(p)
	if behind := t.at + int64(n) - t.end; behind > 0 && !t.dirty {
		for _, b := range p[n-int(min(behind, int64(n))) : n] {
			t.dirty = t.dirty || b != 0
		}
	}
	t.at += int64(n)
	if err != nil && err != io.EOF {
		t.err = err
	}
	return n, err
}

// seekingTape is a tape that can skip bytes without reading them.
type seekingTape struct {
	*tape
	file *io.SectionReader
}

func (t seekingTape) Seek(offset int64, whence int) (int64, error) {
	at, err := t.file.Seek(offset, whence)
	if err == nil {
		t.at = at
	}
	return at, err
}

// tarScanner reads the entries of a tar, and refuses what an honest tar of a layout does not contain.
type tarScanner struct {
	archive string // for errors
	tape    *tape
	tar     *tar.Reader
	size    int64 // of the whole tar; an upper bound if that is not known
	names   entryNames
	found   contents
}

// newScanner reads a tar from front to back.
func newScanner(ctx context.Context, name string, r io.Reader) *tarScanner {
	t := &tape{ctx: ctx, raw: r}
	return &tarScanner{
		archive: name, tape: t, tar: tar.NewReader(t), size: math.MaxInt64 - maxPadding,
		found: contents{blobs: map[digest.Digest]extent{}},
	}
}

// newFileScanner reads a tar and skips what nobody asks for.
func newFileScanner(ctx context.Context, name string, src source) *tarScanner {
	file := io.NewSectionReader(src, 0, src.Size())
	s := newScanner(ctx, name, file)
	s.size = src.Size()
	s.tar = tar.NewReader(seekingTape{tape: s.tape, file: file})
	return s
}

// next advances to the next blob, whose bytes can be read from s.tar, and notes everything else on the way. After the last
// blob it makes sure that the tar ends there, and returns io.EOF.
func (s *tarScanner) next() (buildcache.Descriptor, error) {
	var none buildcache.Descriptor
	for {
		header, err := s.tar.Next()
		if err == io.EOF { //nolint:errorlint // archive/tar returns it itself
			return none, s.finish()
		}
		if err != nil {
			return none, s.badHeader(err)
		}
		kind, blob, err := s.names.classify(header)
		if err == nil {
			err = s.measure(header)
		}
		if err == nil {
			err = s.keep(kind, header)
		}
		if err != nil {
			return none, s.hostile(header.Name, err)
		}
		if kind == entryBlob {
			s.found.blobs[blob] = extent{offset: s.tape.at, size: header.Size}
			return buildcache.Descriptor{Digest: blob, Size: header.Size}, nil
		}
	}
}

// hostile says what is wrong with an entry, or why the tar could not be read, if that is the cause.
func (s *tarScanner) hostile(entry string, err error) error {
	if s.tape.err != nil {
		return s.unreadable()
	}
	return &HostileError{Archive: s.archive, Entry: entry, Err: err}
}

// unreadable says why the bytes of the tar could not be read.
func (s *tarScanner) unreadable() error {
	err := s.tape.err
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF): // a compressed tar was cut off
		return &HostileError{Archive: s.archive, Err: fmt.Errorf("%w: %w", ErrTruncated, err)}
	case errors.Is(err, ErrTooLarge):
		return &HostileError{Archive: s.archive, Err: err}
	default:
		return fmt.Errorf("read %s: %w", s.archive, err)
	}
}

// badHeader says why there is no next entry.
func (s *tarScanner) badHeader(err error) error {
	switch {
	case s.tape.err != nil:
		return s.unreadable()
	case errors.Is(err, io.ErrUnexpectedEOF) && s.names.count > 0:
		return &HostileError{Archive: s.archive, Err: fmt.Errorf("%w: it ends at byte %d", ErrTruncated, s.tape.at)}
	case s.names.count == 0:
		return &HostileError{Archive: s.archive, Err: ErrNotArchive}
	default:
		return &HostileError{Archive: s.archive, Err: fmt.Errorf("%w: no tar entry after byte %d: %w", ErrDamaged, s.tape.end, err)}
	}
}

// measure notes where the entry ends. It fails if the tar is too short.
func (s *tarScanner) measure(header *tar.Header) error {
	if header.Typeflag == tar.TypeDir {
		s.tape.end, s.tape.dirty = s.tape.at, false
		return nil
	}
	if header.Size < 0 || header.Size > s.size-s.tape.at {
		return fmt.Errorf("%w: %d bytes from byte %d on", ErrTruncated, header.Size, s.tape.at)
	}
	s.tape.end = s.tape.at + header.Size + tarPadding(header.Size)
	s.tape.dirty = false
	return nil
}

// keep reads the small files of a layout.
func (s *tarScanner) keep(kind entryKind, header *tar.Header) error {
	into, limit := &s.found.layout, int64(maxLayoutFile)
	switch kind {
	case entryLayout:
	case entryIndex:
		into, limit = &s.found.index, buildcache.MaxIndex
	case entryDescription:
		into, limit = &s.found.description, MaxDescription
	case entryOther:
		s.found.passed++
		return nil
	case entryDirectory, entryBlob:
		return nil
	}
	if header.Size > limit {
		return &buildcache.SizeError{What: "the file", Size: header.Size, Limit: limit}
	}
	data, err := io.ReadAll(s.tar)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", ErrTruncated, err)
	}
	*into = data
	return err
}

// finish reads to the end of the tar: only zeros, neither too few nor too many.
func (s *tarScanner) finish() error {
	if s.tape.err == nil {
		limit := s.tape.end + endSize + maxPadding - s.tape.at
		_, _ = io.Copy(io.Discard, io.LimitReader(s.tape, max(limit, 0)+1)) // s.tape.err keeps the error
	}
	behind := s.tape.at - s.tape.end
	switch {
	case s.tape.err != nil:
		return s.unreadable()
	case s.names.count == 0:
		return &HostileError{Archive: s.archive, Err: fmt.Errorf("%w: it contains no entries", ErrNotArchive)}
	case s.tape.dirty:
		err := fmt.Errorf("non-zero bytes follow the last entry, which ends at byte %d", s.tape.end)
		return &HostileError{Archive: s.archive, Err: err}
	case behind < endSize:
		return &HostileError{Archive: s.archive, Err: fmt.Errorf("%w: the last entry is not followed by %d zero bytes", ErrTruncated, endSize)}
	case behind > endSize+maxPadding:
		return &HostileError{Archive: s.archive, Err: fmt.Errorf("more than %d zero bytes follow the last entry", maxPadding)}
	}
	return io.EOF
}

// parsed is what the small files of a layout say.
type parsed struct {
	index       *buildcache.Index
	description *Description  // nil for archives from other tools
	id          digest.Digest // "" for archives from other tools
	requires    map[digest.Digest]int64
}

// parse reads the small files. A description must be the one for this index.
func (s *tarScanner) parse() (*parsed, error) {
	fail := func(name string, err error) error {
		return &HostileError{Archive: s.archive, Entry: s.names.prefix + name, Err: err}
	}
	if s.found.index == nil {
		return nil, &HostileError{Archive: s.archive, Err: fmt.Errorf("%w: it contains no %s", ErrNotArchive, indexName)}
	}
	if s.found.layout != nil {
		var version ocispec.ImageLayout
		if err := json.Unmarshal(s.found.layout, &version); err != nil {
			return nil, fail(layoutName, err)
		}
		if version.Version != ocispec.ImageLayoutVersion {
			return nil, fail(layoutName, fmt.Errorf("this version of ocicache does not know layout version %q", version.Version))
		}
	}
	index, err := buildcache.ParseIndex(s.found.index)
	if err != nil {
		return nil, fail(indexName, err)
	}
	for _, root := range index.Entries {
		if err := buildcache.CheckDigest(root.Digest); err != nil {
			return nil, fail(indexName, err)
		}
	}
	p := &parsed{index: index}
	if s.found.description == nil {
		return p, nil
	}
	if p.description, err = ParseDescription(s.found.description); err != nil {
		return nil, fail(descriptionName, err)
	}
	if got := p.description.Index.Algorithm().FromBytes(s.found.index); got != p.description.Index {
		return nil, fail(descriptionName, fmt.Errorf("it is for another %s: %s instead of %s", indexName, p.description.Index, got))
	}
	p.id, p.requires = digest.FromBytes(s.found.description), sizes(p.description.Requires)
	return p, nil
}

// checkBlobs compares the blobs in the tar with those that the description promises.
func (s *tarScanner) checkBlobs(d *Description) error {
	promised := sizes(d.Blobs)
	for _, blob := range d.Blobs {
		if _, ok := s.found.blobs[blob.Digest]; !ok {
			return &HostileError{Archive: s.archive, Err: fmt.Errorf("the bundle description lists blob %s, which is not in the archive", blob.Digest)}
		}
	}
	for blob, at := range s.found.blobs {
		if err := s.checkPromised(promised, buildcache.Descriptor{Digest: blob, Size: at.size}); err != nil {
			return err
		}
	}
	return nil
}

// sizes returns the sizes of blobs.
func sizes(blobs []Blob) map[digest.Digest]int64 {
	known := make(map[digest.Digest]int64, len(blobs))
	for _, blob := range blobs {
		known[blob.Digest] = blob.Size
	}
	return known
}

// checkPromised refuses a blob that was not promised, or not with its size.
func (s *tarScanner) checkPromised(promised map[digest.Digest]int64, blob buildcache.Descriptor) error {
	size, ok := promised[blob.Digest]
	if ok && size == blob.Size {
		return nil
	}
	err := errors.New("the bundle description does not list it")
	if ok {
		err = fmt.Errorf("the bundle description says %d bytes, but it has %d", size, blob.Size)
	}
	return &HostileError{Archive: s.archive, Entry: s.blobEntry(blob.Digest), Err: err}
}

// blobEntry returns the name of a blob's entry, without a leading ./.
func (s *tarScanner) blobEntry(blob digest.Digest) string {
	return s.names.prefix + blobsName + "/" + blob.Algorithm().String() + "/" + blob.Encoded()
}
