package layout

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
)

// blobMode is the mode that BuildKit gives blobs. As in BuildKit, the umask applies: caches hold sources.
const blobMode = 0o444

// blobPath returns the path of a blob. Digests are checked here, before they become paths.
func (d *Dir) blobPath(blob digest.Digest) (string, error) {
	if err := buildcache.CheckDigest(blob); err != nil {
		return "", err
	}
	return filepath.Join(d.path, blobsName, blob.Algorithm().String(), blob.Encoded()), nil
}

// OpenFile returns a blob as a file, unverified. Symbolic links are followed.
func (d *Dir) OpenFile(ctx context.Context, blob buildcache.Descriptor) (*os.File, error) {
	path, err := d.blobPath(blob.Digest)
	if err != nil {
		return nil, d.blobError(blob, err)
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	file, _, err := durable.On(ctx).OpenRegular(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, d.blobError(blob, ErrBlobMissing)
	case errors.Is(err, durable.ErrNotRegular):
		return nil, d.blobError(blob, fmt.Errorf("%w: it is not a regular file", ErrBlobMissing))
	case err != nil:
		return nil, d.blobError(blob, err)
	}
	return file, nil
}

// OpenAt returns a blob for reading at any offset, unverified. Symbolic links are followed.
func (d *Dir) OpenAt(ctx context.Context, blob buildcache.Descriptor) (*Section, error) {
	file, err := d.OpenFile(ctx, blob)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(d.blobError(blob, err), file.Close())
	}
	return &Section{io.NewSectionReader(file, 0, info.Size()), file}, nil
}

// Open returns a blob's bytes, unverified.
func (d *Dir) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	file, err := d.OpenFile(ctx, blob)
	if err != nil {
		return nil, err
	}
	return file, nil
}

// Has reports whether a blob is there with its size. Its bytes are not looked at.
func (d *Dir) Has(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	path, err := d.blobPath(blob.Digest)
	if err != nil {
		return false, d.blobError(blob, err)
	}
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return info.Mode().IsRegular() && info.Size() == blob.Size, nil
}

func (d *Dir) blobError(blob buildcache.Descriptor, err error) error {
	return &BlobError{Digest: blob.Digest, Place: d.path, Err: err}
}

// Put stores a blob. If the source is a file, its bytes are reflinked or copied by copy_file_range where the file system can do that,
// or the file is hard-linked with Options.Link. They are always hashed.
func (d *Dir) Put(ctx context.Context, blob buildcache.Descriptor, open OpenFunc) (err error) {
	if right, err := d.holds(ctx, blob); err != nil || right {
		return err
	}
	store, err := d.openStore(ctx, blob.Digest.Algorithm())
	if err != nil {
		return d.blobError(blob, err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	src, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if file, done := fileIn(src); file != nil {
		return d.putFile(ctx, store, blob, file, done)
	}
	temp, err := store.state.Create()
	if err != nil {
		return d.blobError(blob, err)
	}
	if _, err := io.Copy(temp, NewVerifiedReader(ctx, "", blob, src)); err != nil {
		return errors.Join(err, temp.Discard())
	}
	return d.commit(store, temp, blob)
}

// holds reports whether a blob is there with the right bytes. If it was damaged meanwhile, it is stored again.
func (d *Dir) holds(ctx context.Context, blob buildcache.Descriptor) (right bool, err error) {
	if has, err := d.Has(ctx, blob); err != nil || !has {
		return false, err
	}
	file, err := d.OpenFile(ctx, blob)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	err = checkFile(ctx, file, blob)
	if isOthers(err) {
		return false, nil
	}
	return err == nil, err
}

// isOthers reports whether err says that bytes don't match their digest or size.
func isOthers(err error) bool { return errors.Is(err, ErrBlobDamaged) || errors.Is(err, ErrBlobSize) }

// sourceError blames the source of a blob for wrong bytes, and the layout for everything else.
func (d *Dir) sourceError(blob buildcache.Descriptor, err error) error {
	if isOthers(err) {
		return &BlobError{Digest: blob.Digest, Err: err}
	}
	return d.blobError(blob, err)
}

// putFile stores a blob from a file, and reports to done the bytes that are copied, but not those that are linked.
func (d *Dir) putFile(ctx context.Context, store *desk, blob buildcache.Descriptor, src *os.File, done func(int64)) error {
	if d.options.Link {
		err := d.link(ctx, store, blob, src)
		if !errors.Is(err, errNoLink) {
			return err
		}
	}
	temp, err := store.state.Create()
	if err != nil {
		return d.blobError(blob, err)
	}
	if err := fill(ctx, temp, src, blob, done); err != nil {
		return errors.Join(d.sourceError(blob, err), temp.Discard())
	}
	return d.commit(store, temp, blob)
}

func (d *Dir) commit(store *desk, temp *durable.File, blob buildcache.Descriptor) error {
	err := temp.CommitIn(store.blobs, blob.Digest.Encoded(), durable.NewMode(blobMode))
	if errors.Is(err, syscall.EISDIR) {
		err = ErrBlobBlocked
	}
	if err != nil {
		return d.blobError(blob, err)
	}
	d.written.Store(blob.Digest, true)
	return nil
}

// Wrote reports whether the bytes of a blob were written since the layout was opened, rather than found there or linked.
func (d *Dir) Wrote(blob digest.Digest) bool {
	_, ok := d.written.Load(blob)
	return ok
}

// fill copies src to temp and checks the copy. Bytes count as done when they are checked.
func fill(ctx context.Context, temp *durable.File, src *os.File, blob buildcache.Descriptor, done func(int64)) error {
	if err := temp.CopyFrom(ctx, src); err != nil {
		return err
	}
	if _, err := temp.File().Seek(0, io.SeekStart); err != nil {
		return err
	}
	return checkFile(ctx, &countedReader{contextReader{ctx, temp.File()}, done}, blob)
}

// errNoLink says that the file system can't link here, so the blob has to be copied.
var errNoLink = errors.New("can't hard-link")

// link makes the blob another name of src's file, after checking its bytes.
func (d *Dir) link(ctx context.Context, store *desk, blob buildcache.Descriptor, src *os.File) error {
	if err := checkFile(ctx, src, blob); err != nil {
		return d.sourceError(blob, err)
	}
	err := store.blobs.Link(src, blob.Digest.Encoded())
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EXDEV), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EMLINK),
		errors.Is(err, errors.ErrUnsupported), errors.Is(err, fs.ErrExist):
		if _, err := src.Seek(0, io.SeekStart); err != nil {
			return d.blobError(blob, err)
		}
		return errNoLink
	default:
		return d.blobError(blob, err)
	}
}

// checkFile reads an open file from its current offset and checks size and digest.
func checkFile(ctx context.Context, file io.ReadCloser, blob buildcache.Descriptor) error {
	verifier := blob.Digest.Verifier()
	n, err := io.Copy(verifier, &contextReader{ctx: ctx, raw: file})
	switch {
	case err != nil:
		return err
	case n != blob.Size:
		return fmt.Errorf("%w: want %d bytes, got %d", ErrBlobSize, blob.Size, n)
	case !verifier.Verified():
		return ErrBlobDamaged
	}
	return nil
}

// Ingest stores what write writes, and returns its digest and size. If write fails, nothing is stored.
func (d *Dir) Ingest(ctx context.Context, write func(io.Writer) error) (blob buildcache.Descriptor, err error) {
	var none buildcache.Descriptor
	store, err := d.openStore(ctx, digest.SHA256)
	if err != nil {
		return none, fmt.Errorf("%s: %w", d.path, err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	temp, err := store.state.Create()
	if err != nil {
		return none, fmt.Errorf("%s: %w", d.path, err)
	}
	hash := sha256.New()
	counter := &countingWriter{w: io.MultiWriter(hash, temp)}
	if err = write(counter); err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return none, errors.Join(err, temp.Discard())
	}
	blob = buildcache.Descriptor{Digest: digest.NewDigest(digest.SHA256, hash), Size: counter.n}
	if right, err := d.holds(ctx, blob); err != nil || right {
		return blob, errors.Join(err, temp.Discard())
	}
	return blob, d.commit(store, temp, blob)
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
