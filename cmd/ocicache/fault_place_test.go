package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// asFileError gives an error the form that the system's have.
func asFileError(op durable.Op, path string, err error) error {
	if short := new(durable.ShortWrite); errors.As(err, &short) {
		return &durable.ShortWrite{Err: asFileError(op, path, short.Err)}
	}
	return &fs.PathError{Op: string(op), Path: path, Err: err}
}

// opens is for app.opens: it puts the injector between the program and a place. All powers of the place stay.
func (i *injector) opens(src layout.Source) layout.Source {
	switch place := src.(type) {
	case *layout.Dir:
		return &faultyDir{faultySink{faulty{place, i}, place}, place}
	case *archive.Archive:
		return &faultyArchive{faulty{place, i}, place}
	case *registry.Repository:
		return &faultyRepository{faultySink{faulty{place, i}, place}}
	default:
		panic(fmt.Sprintf("no faults for %T", src))
	}
}

// at is asked before an operation of a place.
func (f faulty) at(op string, blob digest.Digest) error {
	if f.in.kind.late || !f.in.comes(ofPlaces, op, f.Source.String(), blob.String()) {
		return nil
	}
	return f.error(blob)
}

// after is asked after an operation that was done.
func (f faulty) after(op string, blob digest.Digest) error {
	if !f.in.kind.late || !f.in.comes(ofPlaces, op, f.Source.String(), blob.String()) {
		return nil
	}
	return f.error(blob)
}

// error is one as places have them.
func (f faulty) error(blob digest.Digest) error {
	err := f.in.fire()
	if blob == "" {
		return fmt.Errorf("%s: %w", f.Source, err)
	}
	return &layout.BlobError{Digest: blob, Place: f.Source.String(), Err: err}
}

// faulty is a source.
type faulty struct {
	layout.Source
	in *injector
}

func (f faulty) Entries(ctx context.Context) ([]layout.Entry, error) {
	if err := f.at(opEntries, ""); err != nil {
		return nil, err
	}
	return f.Source.Entries(ctx)
}

func (f faulty) Has(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	if err := f.at(opHas, blob.Digest); err != nil {
		return false, err
	}
	return f.Source.Has(ctx, blob)
}

func (f faulty) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	if err := f.at(opOpen, blob.Digest); err != nil {
		return nil, err
	}
	raw, err := f.Source.Open(ctx, blob)
	if err != nil || !f.breaks(blob.Digest) {
		return raw, err
	}
	return &brokenReader{ReadCloser: raw, ctx: ctx, in: f.in, left: blob.Size / 2}, nil
}

// breaks reports whether reading the blob that is opened now goes wrong.
func (f faulty) breaks(blob digest.Digest) bool {
	return f.in.comes(ofPlaces, opRead, f.Source.String(), blob.String())
}

func (f faulty) resolve(ctx context.Context, tag string) (*layout.Entry, error) {
	if err := f.at(opEntries, ""); err != nil {
		return nil, err
	}
	resolver, _ := f.Source.(layout.Resolver)
	return resolver.Resolve(ctx, tag)
}

func (f faulty) openAt(ctx context.Context, blob buildcache.Descriptor) (*layout.Section, error) {
	if err := f.at(opOpen, blob.Digest); err != nil {
		return nil, err
	}
	random, _ := f.Source.(layout.RandomAccess)
	section, err := random.OpenAt(ctx, blob)
	if err != nil || !f.breaks(blob.Digest) {
		return section, err
	}
	broken := &brokenAt{ReaderAt: section, ctx: ctx, in: f.in, middle: section.Size() / 2}
	return &layout.Section{SectionReader: io.NewSectionReader(broken, 0, section.Size()), Closer: section}, nil
}

// brokenReader is a stream that goes wrong in its middle.
type brokenReader struct {
	io.ReadCloser
	ctx  context.Context //nolint:containedctx // io.Reader has no place for one
	in   *injector
	left int64
}

func (b *brokenReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, wrongRead(b.ctx, b.in)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// wrongRead is what a read comes to that goes wrong.
func wrongRead(ctx context.Context, in *injector) error {
	err := in.fire()
	switch {
	case in.kind.stall:
		<-ctx.Done()
		return context.Cause(ctx)
	case in.kind.short:
		return io.EOF
	}
	return err
}

// brokenAt is the same for reading anywhere: what lies behind the middle can't be read.
type brokenAt struct {
	io.ReaderAt
	ctx    context.Context //nolint:containedctx // io.ReaderAt has no place for one
	in     *injector
	middle int64
}

func (b *brokenAt) ReadAt(p []byte, offset int64) (int, error) {
	if offset+int64(len(p)) > b.middle {
		return 0, wrongRead(b.ctx, b.in)
	}
	return b.ReaderAt.ReadAt(p, offset)
}

// faultySink is a place.
type faultySink struct {
	faulty
	sink layout.Sink
}

func (f faultySink) Put(ctx context.Context, blob buildcache.Descriptor, open layout.OpenFunc) error {
	if err := f.at(opPut, blob.Digest); err != nil {
		return err
	}
	if err := f.sink.Put(ctx, blob, open); err != nil {
		return err
	}
	return f.after(opPut, blob.Digest)
}

func (f faultySink) Ingest(ctx context.Context, write func(io.Writer) error) (buildcache.Descriptor, error) {
	if err := f.at(opIngest, ""); err != nil {
		return buildcache.Descriptor{}, err
	}
	blob, err := f.sink.Ingest(ctx, write)
	if err != nil {
		return blob, err
	}
	return blob, f.after(opIngest, "")
}

func (f faultySink) Tag(ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error {
	if err := f.at(opTag, ""); err != nil {
		return err
	}
	if err := f.sink.Tag(ctx, tag, root, was); err != nil {
		return err
	}
	return f.after(opTag, "")
}

// Untag is a change of a tag, as Tag is.
func (f faultySink) Untag(ctx context.Context, tag string, was digest.Digest, sharing []string) error {
	if err := f.at(opTag, ""); err != nil {
		return err
	}
	untagger, ok := f.sink.(layout.Untagger)
	if !ok {
		return convert.ErrNoUntag
	}
	if err := untagger.Untag(ctx, tag, was, sharing); err != nil {
		return err
	}
	return f.after(opTag, "")
}

// dirPowers are those of a layout directory that nothing goes wrong with here: what they do is durable's.
type dirPowers interface {
	layout.Locker
	layout.Journal
	layout.Unnamer
	layout.Occupier
	GC(ctx context.Context, o layout.GCOptions) (*layout.GCResult, error)
	Index(ctx context.Context) (*buildcache.Index, error)
	SalvageIndex(ctx context.Context) (*layout.Salvaged, error)
	RestoreIndex(ctx context.Context, salvaged *layout.Salvaged, index *buildcache.Index) error
	ReplaceIndex(ctx context.Context, was, now *buildcache.Index) error
	Assume(index *buildcache.Index) *layout.Dir
	IsAssumed() bool
	DiscardDamaged(ctx context.Context, blob digest.Digest) (kept bool, err error)
}

type faultyDir struct {
	faultySink
	dirPowers
}

func (f *faultyDir) OpenAt(ctx context.Context, blob buildcache.Descriptor) (*layout.Section, error) {
	return f.openAt(ctx, blob)
}

func (f *faultyDir) Resolve(ctx context.Context, tag string) (*layout.Entry, error) {
	return f.resolve(ctx, tag)
}

type faultyArchive struct {
	faulty
	layout.Occupier
}

func (f *faultyArchive) OpenAt(ctx context.Context, blob buildcache.Descriptor) (*layout.Section, error) {
	return f.openAt(ctx, blob)
}

func (f *faultyArchive) Resolve(ctx context.Context, tag string) (*layout.Entry, error) {
	return f.resolve(ctx, tag)
}

type faultyRepository struct{ faultySink }

func (f *faultyRepository) Resolve(ctx context.Context, tag string) (*layout.Entry, error) {
	return f.resolve(ctx, tag)
}
