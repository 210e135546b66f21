package compress

import (
	"archive/tar"
	"bytes"
	stdgzip "compress/gzip" // with which estargz makes its members
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// maxTOC is how large a table of contents may be, in bytes: enough for half a million files.
const maxTOC = 256 << 20

// ErrNotEstargz says that a blob's footer points to something other than a table of contents after a whole tar.
var ErrNotEstargz = errors.New("its footer points to no table of contents behind the whole tar")

// findTOC returns the offset of an estargz blob's table of contents, or 0 if the blob is not one. As for BuildKit, a
// footer alone is not enough: the table must be there, and be the last entry.
func findTOC(blob io.ReaderAt, size int64) int64 {
	offset, end := readFooter(blob, size)
	if offset <= 0 || offset >= end {
		return 0
	}
	member, err := gzip.NewReader(io.NewSectionReader(blob, offset, size-offset))
	if err != nil {
		return 0
	}
	entries := tar.NewReader(member)
	header, err := entries.Next()
	if err != nil || !isTOC(header) || header.Size > maxTOC {
		return 0
	}
	if _, err := entries.Next(); !errors.Is(err, io.EOF) {
		return 0
	}
	return offset
}

// readFooter returns where a blob's footer says that the table of contents begins, and where the footer itself begins;
// zeros if there is none. A footer is an empty gzip member, and its bytes are fixed except for the offset:
// estargz names its extra field, stargz before it did not.
func readFooter(blob io.ReaderAt, size int64) (toc, begin int64) {
	const digits, magic = 16, "STARGZ"
	for _, field := range []string{"SG\x16\x00", ""} {
		want := estargz.CreateGzipFooter([]byte(field + "0000000000000000" + magic))
		if size < int64(len(want)) {
			continue
		}
		got := make([]byte, len(want))
		begin := size - int64(len(want))
		if n, err := blob.ReadAt(got, begin); n < len(got) {
			_ = err // what can't be read is no footer; whoever reads the blob will get the error
			continue
		}
		at := bytes.Index(want, []byte(magic)) - digits
		offset, err := strconv.ParseInt(string(got[at:at+digits]), 16, 64)
		copy(got[at:], want[at:at+digits])
		if err == nil && bytes.Equal(got, want) {
			return offset, begin
		}
	}
	return 0, 0
}

// isTOC reports whether a tar's entry is a table of contents. One that a preceding header modifies is not.
func isTOC(header *tar.Header) bool {
	return header.Name == estargz.TOCTarName && header.Linkname == "" && header.Typeflag == tar.TypeReg &&
		header.PAXRecords == nil
}

// estargzReader reads an estargz blob in two pieces: the tar, then the table of contents and the footer.
type estargzReader struct {
	tar   io.ReadCloser
	proof *proof
	rest  func() error // reads the second piece
	err   error        // how it ended
}

func (d *Decoder) decodeEstargz(ctx context.Context, raw io.Reader, toc int64, full io.Writer) (io.ReadCloser, error) {
	tar, err := d.Decode(ctx, io.LimitReader(raw, toc), buildcache.Estargz)
	if err != nil {
		return nil, doubt(err)
	}
	proof := startProof(checkBoundary)
	rest := func() error {
		r, err := d.Decode(ctx, raw, buildcache.Estargz)
		if err != nil {
			return err
		}
		_, err = io.Copy(full, r)
		return errors.Join(err, r.Close())
	}
	return &estargzReader{tar: &teeReader{tar, io.MultiWriter(full, proof)}, proof: proof, rest: rest}, nil
}

func (e *estargzReader) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.tar.Read(p)
	if errors.Is(err, io.EOF) {
		if err = e.proof.end(); err == nil {
			err = e.rest()
		}
		if err == nil {
			err = io.EOF
		}
	}
	e.err = doubt(err)
	return n, e.err
}

func (e *estargzReader) Close() error { return errors.Join(e.tar.Close(), e.proof.Close()) }

// doubt marks an error of decoding with ErrNotEstargz: what can't be decoded in two pieces may be in one.
func doubt(err error) error {
	var decode *DecodeError
	if !errors.As(err, &decode) || errors.Is(err, ErrNotEstargz) {
		return err
	}
	return &DecodeError{Compression: decode.Compression, Err: fmt.Errorf("%w: %w", ErrNotEstargz, decode.Err)}
}

// proof reads the tar of an estargz blob and finds out whether it ends where it may: after an entry, or after its end.
type proof struct {
	*io.PipeWriter
	result chan error
}

func startProof(check func(io.Reader) error) *proof {
	pr, pw := io.Pipe()
	p := &proof{pw, make(chan error, 1)}
	go func() {
		err := check(pr)
		_, copyErr := io.Copy(io.Discard, pr)
		p.result <- errors.Join(err, copyErr)
	}()
	return p
}

// end returns the outcome, once all of the tar has been written. It may be called once.
func (p *proof) end() error {
	_ = p.Close() // always nil
	if err := <-p.result; err != nil {
		return &DecodeError{Compression: buildcache.Estargz, Err: err}
	}
	return nil
}

// checkBoundary reads a tar with a table of contents after it, as BuildKit would: if that is not the next entry, and the
// tar did not end before, the tar was cut.
func checkBoundary(r io.Reader) error {
	return walkToTOC(r, func(*tar.Header) error { return nil })
}

// checkEncodable is checkBoundary for a tar that is to be encoded. For a sparse file described by PAX records, the estargz library would
// keep the header but write other content.
func checkEncodable(r io.Reader) error {
	return walkToTOC(r, func(header *tar.Header) error {
		for key := range header.PAXRecords {
			if strings.HasPrefix(key, "GNU.sparse.") {
				return errSparse
			}
		}
		return nil
	})
}

// walkToTOC does what checkBoundary promises, and shows every entry to check.
func walkToTOC(r io.Reader, check func(*tar.Header) error) error {
	var toc bytes.Buffer
	if err := tar.NewWriter(&toc).WriteHeader(&tar.Header{Name: estargz.TOCTarName, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	whole := toc.Len()
	entries := tar.NewReader(io.MultiReader(r, &toc))
	for {
		header, err := entries.Next()
		switch {
		case errors.Is(err, io.EOF) && toc.Len() == whole:
			return nil // the tar has an end of its own
		case err != nil:
			return ErrNotEstargz
		case toc.Len() == 0 && isTOC(header):
			return nil
		case toc.Len() < whole:
			return ErrNotEstargz
		}
		if err := check(header); err != nil {
			return err
		}
	}
}

// errNoBoundary says that a table of contents after a tar would become part of what the end of the tar leaves unfinished.
var errNoBoundary = errors.New("it ends within an entry or its padding, after one block of zeros, or with a header that is about the next entry")

var errSparse = errors.New("the tar has sparse files")

// UnfitError says that estargz can't hold a tar, which may be sound: BuildKit reads more kinds of tars than estargz takes.
type UnfitError struct{ Err error }

func (e *UnfitError) Error() string { return fmt.Sprintf("estargz can't hold this tar: %v", e.Err) }

// Unwrap returns what it can't hold.
func (e *UnfitError) Unwrap() error { return e.Err }

// encodeEstargz makes the estargz blob that BuildKit would make: losslessly, so that the tar can be restored. Meanwhile it
// decodes what was written, for the digest and the size of the whole. It fails if the tar does not end where a table of
// contents may follow.
func encodeEstargz(w io.Writer, tar io.Reader, level int) (Encoded, error) {
	if level == 0 {
		level = gzip.DefaultCompression
	}
	pr, pw := io.Pipe()
	full := make(chan decodedSum, 1)
	go func() {
		sum := sumDecoded(pr)
		_ = pr.CloseWithError(sum.err) // always nil; the writer gets sum.err
		full <- sum
	}()
	proof := startProof(func(r io.Reader) error {
		err := checkEncodable(r)
		if errors.Is(err, errSparse) {
			_ = pr.CloseWithError(err) // always nil; writing stops, as a hole may be huge
		}
		return err
	})
	encoded, err := writeEstargz(io.MultiWriter(w, pw), io.TeeReader(tar, proof), level)
	_ = pw.CloseWithError(err) // always nil; without an error the reader gets io.EOF
	sum, proofErr := <-full, proof.end()
	if err == nil {
		err = sum.err
	}
	switch {
	case errors.Is(proofErr, errSparse):
		err = fmt.Errorf("make estargz: %w", &UnfitError{errSparse})
	case err == nil && proofErr != nil:
		err = fmt.Errorf("make estargz: %w", &UnfitError{errNoBoundary})
	}
	if err != nil {
		return Encoded{}, err
	}
	encoded.FullDigest, encoded.FullSize = sum.digest, sum.size
	return encoded, nil
}

// writeEstargz keeps the errors of w and tar, which estargz passes on as mere text.
func writeEstargz(w io.Writer, tar io.Reader, level int) (encoded Encoded, err error) {
	in, out := &errorKeeper{r: tar}, &writeErrorKeeper{w: w}
	defer func() {
		switch {
		case err == nil:
			return
		case in.err != nil && !errors.Is(in.err, io.EOF):
			err = in.err
		case out.err != nil:
			err = out.err
		default:
			err = &UnfitError{err}
		}
		err = fmt.Errorf("make estargz: %w", err)
	}()
	enc := estargz.NewWriterWithCompressor(out, &gzipCompressor{GzipCompressor: estargz.NewGzipCompressorWithLevel(level), level: level})
	if err := enc.AppendTarLossLess(in); err != nil {
		return Encoded{}, err
	}
	toc, err := enc.Close()
	return Encoded{TOCDigest: toc}, err
}

// gzipCompressor is estargz's own, but makes its members, of which each file has one, with one encoder: a new one takes a
// megabyte. The members come one after the other.
type gzipCompressor struct {
	*estargz.GzipCompressor

	level int
	enc   *stdgzip.Writer // nil before the first member
}

func (c *gzipCompressor) Writer(w io.Writer) (estargz.WriteFlushCloser, error) {
	if c.enc != nil {
		c.enc.Reset(w)
		return c.enc, nil
	}
	var err error
	c.enc, err = stdgzip.NewWriterLevel(w, c.level)
	return c.enc, err
}

// writeErrorKeeper remembers how a writer failed.
type writeErrorKeeper struct {
	w   io.Writer
	err error
}

func (k *writeErrorKeeper) Write(b []byte) (int, error) {
	n, err := k.w.Write(b)
	if err != nil {
		k.err = err
	}
	return n, err
}

type decodedSum struct {
	digest digest.Digest
	size   int64
	err    error
}

func sumDecoded(raw io.Reader) decodedSum {
	r, err := decodeGzip(raw, nil)
	if err != nil {
		return decodedSum{err: err}
	}
	hash := sha256.New()
	n, err := io.Copy(hash, r)
	return decodedSum{digest.NewDigest(digest.SHA256, hash), n, errors.Join(err, r.Close())}
}
