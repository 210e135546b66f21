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

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
)

// copyStep is how much is copied at once, in bytes.
const copyStep = 32 << 20

// blobMode is the mode that BuildKit gives blobs.
const blobMode = 0o444

// blobPath returns where a blob lies. Digests are checked here, before they become paths.
func (d *Dir) blobPath(blob digest.Digest) (string, error) {
	if err := buildcache.CheckDigest(blob); err != nil {
		return "", err
	}
	return filepath.Join(d.path, blobsName, blob.Algorithm().String(), blob.Encoded()), nil
}

// OpenFile returns a blob as a file, unverified. Symbolic links are followed.
func (d *Dir) OpenFile(_ context.Context, blob buildcache.Descriptor) (*os.File, error) {
	path, err := d.blobPath(blob.Digest)
	if err != nil {
		return nil, d.blobError(blob, err)
	}
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not stop us for ever
	if errors.Is(err, fs.ErrNotExist) {
		return nil, d.blobError(blob, ErrBlobMissing)
	}
	if err != nil {
		return nil, d.blobError(blob, err)
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		err = errors.Join(fmt.Errorf("%w: there is something else than a file", ErrBlobMissing), err, file.Close())
		return nil, d.blobError(blob, err)
	}
	return file, nil
}

// OpenAt returns a blob for reading it anywhere, unverified. Symbolic links are followed.
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

// Has says whether a blob is there with its size. Its bytes are not looked at.
func (d *Dir) Has(_ context.Context, blob buildcache.Descriptor) (bool, error) {
	path, err := d.blobPath(blob.Digest)
	if err != nil {
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

// Put stores a blob. From another file the bytes come by reflink or by copy_file_range, where the file system can, or
// by a hard link with Options.Link. They are hashed in every case.
func (d *Dir) Put(ctx context.Context, blob buildcache.Descriptor, open OpenFunc) (err error) {
	if right, err := d.holds(ctx, blob); err != nil || right {
		return err
	}
	path, err := d.blobPath(blob.Digest)
	if err != nil {
		return d.blobError(blob, err)
	}
	if err := d.fs.Mkdir(filepath.Dir(path)); err != nil {
		return d.blobError(blob, err)
	}
	src, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if file, ok := src.(*os.File); ok {
		return d.putFile(ctx, blob, path, file)
	}
	temp, err := d.createTemp()
	if err != nil {
		return d.blobError(blob, err)
	}
	if _, err := io.Copy(temp, Verify(ctx, nil, blob, src)); err != nil {
		return errors.Join(err, temp.Discard())
	}
	return d.commit(temp, blob, path)
}

// holds says whether a blob is there with the right bytes. One that was damaged meanwhile is stored again.
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

// isOthers says that bytes are not those of the digest.
func isOthers(err error) bool { return errors.Is(err, ErrBlobDamaged) || errors.Is(err, ErrBlobSize) }

// sourceError blames the source of a blob for other bytes, and the layout for everything else.
func (d *Dir) sourceError(blob buildcache.Descriptor, err error) error {
	if isOthers(err) {
		return &BlobError{Digest: blob.Digest, Place: SomeSource, Err: err}
	}
	return d.blobError(blob, err)
}

// putFile stores a blob that lies in a file.
func (d *Dir) putFile(ctx context.Context, blob buildcache.Descriptor, path string, src *os.File) error {
	if d.options.Link {
		err := d.link(ctx, blob, path, src)
		if !errors.Is(err, errNoLink) {
			return err
		}
	}
	temp, err := d.createTemp()
	if err != nil {
		return d.blobError(blob, err)
	}
	if err := d.fill(ctx, temp, src, blob); err != nil {
		return errors.Join(d.sourceError(blob, err), temp.Discard())
	}
	return d.commit(temp, blob, path)
}

func (d *Dir) commit(temp *durable.File, blob buildcache.Descriptor, path string) error {
	if err := temp.Commit(path, blobMode); err != nil {
		return d.blobError(blob, err)
	}
	return nil
}

// fill copies src to temp and checks what arrived.
func (d *Dir) fill(ctx context.Context, temp *durable.File, src *os.File, blob buildcache.Descriptor) error {
	if err := d.fs.Check(durable.OpWrite, temp.File().Name()); err != nil {
		return err
	}
	if err := unix.IoctlFileClone(int(temp.File().Fd()), int(src.Fd())); err != nil {
		// No reflinks here: let the kernel copy, but not so much at once that nobody could interrupt it.
		for n := int64(copyStep); n == copyStep; {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			if n, err = temp.File().ReadFrom(io.LimitReader(src, copyStep)); err != nil {
				return err
			}
		}
	}
	if _, err := temp.File().Seek(0, io.SeekStart); err != nil {
		return err
	}
	return checkFile(ctx, temp.File(), blob)
}

// errNoLink says that the file system can't link here, so that a copy has to do.
var errNoLink = errors.New("no hard link possible")

// link makes path another name of src's file, once that is known to be right.
func (d *Dir) link(ctx context.Context, blob buildcache.Descriptor, path string, src *os.File) error {
	if err := checkFile(ctx, src, blob); err != nil {
		return d.sourceError(blob, err)
	}
	name, err := filepath.EvalSymlinks(src.Name())
	if err != nil {
		return d.blobError(blob, err)
	}
	err = d.fs.Link(name, path)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EPERM), errors.Is(err, unix.EMLINK),
		errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, fs.ErrExist):
		if _, err := src.Seek(0, io.SeekStart); err != nil {
			return d.blobError(blob, err)
		}
		return errNoLink
	default:
		return d.blobError(blob, err)
	}
}

// checkFile reads an open file from where it stands and compares size and digest.
func checkFile(ctx context.Context, file *os.File, blob buildcache.Descriptor) error {
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
func (d *Dir) Ingest(ctx context.Context, write func(io.Writer) error) (buildcache.Descriptor, error) {
	var none buildcache.Descriptor
	temp, err := d.createTemp()
	if err != nil {
		return none, fmt.Errorf("%s: %w", d.path, err)
	}
	hash := sha256.New()
	counter := &countingWriter{w: io.MultiWriter(hash, temp)}
	if err := write(counter); err != nil {
		return none, errors.Join(err, temp.Discard())
	}
	blob := buildcache.Descriptor{Digest: digest.NewDigest(digest.SHA256, hash), Size: counter.n}
	path, err := d.blobPath(blob.Digest)
	if err == nil {
		err = d.fs.Mkdir(filepath.Dir(path))
	}
	if err != nil {
		return none, errors.Join(d.blobError(blob, err), temp.Discard())
	}
	if right, err := d.holds(ctx, blob); err != nil || right {
		return blob, errors.Join(err, temp.Discard())
	}
	return blob, d.commit(temp, blob, path)
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
