package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/dustin/go-humanize/english"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/volumes"
	"github.com/ocicache/ocicache/layout"
)

// source is the tar as a whole: a file, or volumes.
type source interface {
	io.ReaderAt
	io.Closer
	layout.Occupier
	Size() int64
}

// OpenOptions are for Open. The zero value is good.
type OpenOptions struct {
	// Base is asked for the blobs that are not in the archive; nil for none.
	Base layout.Source
}

// Archive is an archive whose blobs can be read in any order. It is safe for concurrent use. Its content is as hostile as
// any source's: whoever reads a blob must verify it.
type Archive struct {
	name   string
	src    source
	base   layout.Source
	blobs  map[digest.Digest]extent
	passed int
	notes  []string
	parsed
}

// Open opens the archive in the named files: one file, or some of the volumes, recovery volumes and lists of one
// archive, next to which it looks for the others. It reads the names of the tar's entries, but no layers. It fails with
// a *HostileError if it refuses the archive, with a *VolumesError if too many volumes are missing or damaged, and with
// a *StreamError if only UnpackStream can read it.
func Open(ctx context.Context, names []string, o OpenOptions) (*Archive, error) {
	a := &Archive{base: o.Base}
	var err error
	if a.src, a.name, err = openSource(ctx, names); err != nil {
		return nil, err
	}
	if err := a.explain(a.read(ctx)); err != nil {
		return nil, errors.Join(err, a.src.Close())
	}
	return a, nil
}

// explain blames missing volumes for an archive that ends too early, if that can be the cause.
func (a *Archive) explain(err error) error {
	if set, ok := a.src.(*volumes.Set); ok && errors.Is(err, ErrTruncated) && set.MayLack() != nil {
		return set.MayLack()
	}
	return err
}

// openSource opens the bytes of an archive, and returns its name.
func openSource(ctx context.Context, names []string) (source, string, error) {
	if err := checkOne(names); err != nil {
		return nil, "", err
	}
	if len(names) == 1 {
		info, err := os.Stat(names[0])
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, "", err
		case err == nil && info.IsDir():
			return nil, "", fmt.Errorf("%s is a directory: %w", names[0], ErrNotArchive)
		case err == nil && !volumes.IsVolume(names[0]):
			file, err := openFile(durable.On(ctx), names[0])
			return file, names[0], err
		}
	}
	set, err := volumes.Open(ctx, names)
	if err != nil {
		return nil, "", err
	}
	return set, set.String(), nil
}

// checkOne fails if a file that is not a volume is named together with others: it is an archive of its own.
func checkOne(names []string) error {
	for _, name := range names {
		if len(names) == 1 || volumes.IsVolume(name) {
			continue
		}
		if info, err := os.Stat(name); err == nil && !info.IsDir() {
			return fmt.Errorf("%w: %s is a separate archive; take archives one at a time", ErrVolumesMixed, name)
		}
	}
	return nil
}

// tarFile is an archive in one file.
type tarFile struct {
	*os.File
	fs   durable.FS
	size int64
}

// ReadAt reads from the tar.
func (f *tarFile) ReadAt(p []byte, offset int64) (int, error) {
	if err := f.fs.Check(durable.OpRead, f.Name()); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, offset)
}

func (f *tarFile) Size() int64 { return f.size }

// openFile opens an archive in one file. It returns the interface, because a source must not be a nil pointer.
func openFile(fsys durable.FS, path string) (source, error) {
	file, size, err := fsys.OpenRegular(path)
	if errors.Is(err, durable.ErrNotRegular) {
		return nil, &StreamError{File: path}
	}
	if err != nil {
		return nil, err
	}
	head := make([]byte, compress.HeadSize)
	n, err := file.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, file.Close())
	}
	if compress.DetectHead(head[:n]) != buildcache.Uncompressed {
		return nil, errors.Join(&StreamError{File: path, Compressed: true}, file.Close())
	}
	return &tarFile{File: file, fs: fsys, size: size}, nil
}

// read reads everything except blobs.
func (a *Archive) read(ctx context.Context) error {
	scanner := newFileScanner(ctx, a.name, a.src)
	var err error
	for err == nil {
		_, err = scanner.next()
	}
	if err != io.EOF { //nolint:errorlint // next returns it itself
		return err
	}
	a.blobs, a.passed = scanner.found.blobs, scanner.found.passed
	what, err := scanner.parse()
	if err != nil {
		return err
	}
	a.parsed = *what
	if a.description != nil {
		if err := scanner.checkBlobs(a.description); err != nil {
			return err
		}
	}
	if set, ok := a.src.(*volumes.Set); ok {
		a.notes = append(a.notes, set.Notes()...)
		if id := set.ID(); id != "" && id != a.id.String() {
			return &HostileError{Archive: a.name, Err: fmt.Errorf("the list of volumes belongs to another archive: %s instead of %s", id, a.id)}
		}
	}
	return nil
}

// Close closes the archive's files. The base stays open.
func (a *Archive) Close() error { return a.src.Close() }

// String returns the archive's name.
func (a *Archive) String() string { return a.name }

// ID returns the digest of the bundle description, which identifies an archive, or "" for archives from other tools.
func (a *Archive) ID() digest.Digest { return a.id }

// Description returns the bundle description, or nil for archives from other tools. It must not be changed.
func (a *Archive) Description() *Description { return a.description }

// Notes returns what a user should know about the archive's files, such as volumes that were damaged but can be rebuilt.
func (a *Archive) Notes() []string {
	if a.description == nil || len(a.description.Requires) == 0 || a.base != nil {
		return a.notes
	}
	lacks := fmt.Sprintf("it leaves out %s that the far side has; to read what is left out, use --base PLACE",
		english.Plural(len(a.description.Requires), "blob", ""))
	return slices.Concat([]string{lacks}, a.notes)
}

// LostVolumes lists the volumes, recovery volumes and lists of volumes that are missing, damaged or under another one's name. The
// archive can be read nonetheless, but may not be if more are lost.
func (a *Archive) LostVolumes() []VolumeProblem {
	if set, ok := a.src.(*volumes.Set); ok {
		return set.Lost()
	}
	return nil
}

// Entries returns the entries of index.json, caches and others. Their sizes are those of the blobs, if known, not those
// in index.json, which nothing checks.
func (a *Archive) Entries(ctx context.Context) ([]layout.Entry, error) {
	return a.parsed.entries(a.sizeOf), context.Cause(ctx)
}

// Index returns what index.json says. Callers must not change it.
func (a *Archive) Index(ctx context.Context) (*buildcache.Index, error) {
	return a.index, context.Cause(ctx)
}

// entries lists the entries of index.json, with the sizes that size knows.
func (p *parsed) entries(size func(digest.Digest) (int64, bool)) []layout.Entry {
	named := p.index.Named()
	entries := make([]layout.Entry, len(named))
	for i, n := range named {
		root := p.index.Entries[n.At]
		if known, ok := size(root.Digest); ok {
			root.Size = known
		}
		entries[i] = layout.Entry{Tag: n.Tag, Descriptor: root}
	}
	return entries
}

// sizeIn and openIn make Archive a holder.
func (a *Archive) sizeIn(blob digest.Digest) (int64, bool) {
	at, ok := a.blobs[blob]
	return at.size, ok
}

func (a *Archive) openIn(_ context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	section, ok := a.section(blob.Digest)
	if !ok {
		return nil, a.lacks(blob)
	}
	return section, nil
}

// sizeOf returns the size of a blob that the archive contains or requires.
func (a *Archive) sizeOf(blob digest.Digest) (int64, bool) {
	if size, ok := a.sizeIn(blob); ok {
		return size, true
	}
	return a.parsed.required(blob)
}

// required returns the size of a blob that the description says is required.
func (p *parsed) required(blob digest.Digest) (int64, bool) {
	size, ok := p.requires[blob]
	return size, ok
}

// Resolve returns the entry of a tag, or nil if there is none.
func (a *Archive) Resolve(ctx context.Context, tag string) (*layout.Entry, error) {
	at := a.index.Find(tag)
	if at < 0 {
		return nil, context.Cause(ctx)
	}
	root := a.index.Entries[at]
	if known, ok := a.sizeOf(root.Digest); ok {
		root.Size = known
	}
	return &layout.Entry{Tag: tag, Descriptor: root}, context.Cause(ctx)
}

// Has reports whether Open would find a blob with its size, in the archive or else in the base. It does not look at the
// bytes.
func (a *Archive) Has(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	if at, ok := a.blobs[blob.Digest]; ok || a.base == nil {
		return ok && at.size == blob.Size, context.Cause(ctx)
	}
	has, err := a.base.Has(ctx, blob)
	if err != nil {
		return false, fmt.Errorf("look in the base: %w", err)
	}
	return has, nil
}

// section returns a blob that is in the archive itself.
func (a *Archive) section(blob digest.Digest) (*layout.Section, bool) {
	at, ok := a.blobs[blob]
	if !ok {
		return nil, false
	}
	return &layout.Section{SectionReader: io.NewSectionReader(a.src, at.offset, at.size), Closer: io.NopCloser(nil)}, true
}

// Open returns a blob's bytes, unverified. They come from the base if the archive does not have the blob.
func (a *Archive) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if section, ok := a.section(blob.Digest); ok {
		return section, nil
	}
	if a.base == nil {
		return nil, a.lacks(blob)
	}
	raw, err := a.base.Open(ctx, blob)
	return raw, a.blame(blob, err)
}

// OpenAt returns a blob for random access, unverified. It comes from the base if the archive does not have it. If the base
// can only be read from front to back, the blob is copied to a temporary file that goes away by itself.
func (a *Archive) OpenAt(ctx context.Context, blob buildcache.Descriptor) (*layout.Section, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if section, ok := a.section(blob.Digest); ok {
		return section, nil
	}
	if a.base == nil {
		return nil, a.lacks(blob)
	}
	if base, ok := a.base.(layout.RandomAccess); ok {
		section, err := base.OpenAt(ctx, blob)
		return section, a.blame(blob, err)
	}
	raw, err := a.base.Open(ctx, blob)
	if err != nil {
		return nil, a.blame(blob, err)
	}
	section, err := layout.Spool(ctx, raw)
	if err := errors.Join(err, raw.Close()); err != nil {
		return nil, fmt.Errorf("spool blob %s: %w", blob.Digest, err)
	}
	return section, nil
}

// blame says that the archive lacks a blob, if the base turned out to lack it too.
func (a *Archive) blame(blob buildcache.Descriptor, err error) error {
	if errors.Is(err, layout.ErrBlobMissing) {
		return a.lacks(blob)
	}
	return err
}

func (a *Archive) lacks(blob buildcache.Descriptor) error {
	err := layout.ErrBlobMissing
	if a.base != nil {
		err = fmt.Errorf("%w, and not in %s", err, a.base)
	}
	if _, ok := a.required(blob.Digest); ok {
		err = fmt.Errorf("%w: %w", err, ErrRequired)
	}
	return &layout.BlobError{Digest: blob.Digest, Place: a.name, Err: err}
}
