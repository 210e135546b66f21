package convert

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/readahead"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// Between two stages of a layer there are this many buffers of at most this many bytes.
const (
	stageBuffers    = 4
	stageBufferSize = 256 << 10
)

// DiffIDError says that a layer's uncompressed bytes are not the ones that its descriptor promises. BuildKit fails a build
// that uses such a layer.
type DiffIDError struct {
	Blob      digest.Digest
	Want, Got digest.Digest
}

func (e *DiffIDError) Error() string {
	return fmt.Sprintf("layer %s: its diffID should be %s, but is %s", e.Blob, e.Want, e.Got)
}

// TarError says that BuildKit can't extract files from what a layer holds, although the bytes are those that were exported.
type TarError struct {
	Blob digest.Digest
	Err  error
}

func (e *TarError) Error() string {
	return fmt.Sprintf("layer %s: BuildKit can't extract its files: %v", e.Blob, e.Err)
}

// Unwrap returns what is wrong with the tar.
func (e *TarError) Unwrap() error { return e.Err }

// recompress encodes one layer again and stores it in dst. all is told what that takes. The work is done in stages that run side by
// side, so that a single huge layer uses more than one processor: read and verify; decode and hash; encode; hash and write.
func recompress(ctx context.Context, src layout.Source, dst layout.Sink, s step, o Options, all *spending) (blob buildcache.Blob, err error) {
	err = o.OnEvent.Track(string(Recompress), s.from.Digest, s.from.Size, func(done func(int64)) error {
		told := func(n int64) {
			all.reads(n)
			done(n)
		}
		blob, err = recompressLayer(ctx, src, dst, s, o, all, told)
		if errors.Is(err, compress.ErrNotEstargz) {
			s.encoding = compress.Encoding{Compression: buildcache.Gzip}
			blob, err = recompressLayer(ctx, src, dst, s, o, all, told)
		}
		return err
	})
	if err != nil {
		return blob, fmt.Errorf("recompress layer %s: %w", s.from.Digest, blame(ctx, src, s.from, err))
	}
	return blob, nil
}

// blame says why a layer could not be decoded: usually because its bytes are damaged, which decoders notice before the
// digest is compared at the end.
func blame(ctx context.Context, src layout.Source, layer buildcache.Descriptor, err error) error {
	var unpack *compress.DecodeError
	if !errors.As(err, &unpack) {
		return err
	}
	raw, openErr := layout.OpenVerified(ctx, src, layer)
	if openErr != nil {
		return err
	}
	_, readErr := io.Copy(io.Discard, raw)
	readErr = errors.Join(readErr, raw.Close())
	if errors.Is(readErr, layout.ErrBlobDamaged) || errors.Is(readErr, layout.ErrBlobSize) {
		return readErr
	}
	return err
}

func recompressLayer(
	ctx context.Context, src layout.Source, dst layout.Sink, s step, o Options, all *spending, done func(int64),
) (blob buildcache.Blob, err error) {
	if _, ok := src.(layout.RandomAccess); !ok && s.encoding.Compression == buildcache.Estargz {
		spooled, err := spool(ctx, src, s.from)
		if err != nil {
			return blob, err
		}
		defer func() { err = errors.Join(err, spooled.section.Close()) }()
		if s.encoding, err = detect(ctx, spooled, s.from); err != nil {
			return blob, err
		}
		src = spooled
	}
	blob.Compression = o.Compression
	open := layout.Counted(ctx, func() (io.ReadCloser, error) { return layout.OpenVerified(ctx, src, s.from) }, done)
	stored, err := dst.Ingest(ctx, func(w io.Writer) error { // which may be called again
		tar := sha256.New()
		packed, err := repack(ctx, open, src, s, o, tar, all.sentTo(w))
		if err != nil {
			return err
		}
		blob.DiffID = digest.NewDigest(digest.SHA256, tar)
		if o.Compression == buildcache.Estargz {
			blob.DiffID, blob.TOCDigest, blob.UncompressedSize = packed.FullDigest, packed.TOCDigest, packed.FullSize
		}
		return nil
	})
	if err != nil {
		return blob, err
	}
	blob.Digest, blob.Size = stored.Digest, stored.Size
	return blob, nil
}

// repack reads the layer of s, which open opens in src, and writes it to w in the wanted compression, and the tar inside to
// tarHash. If bytes or diffID don't match the descriptor, it fails after everything was written to w.
func repack(
	ctx context.Context, open layout.OpenFunc, src layout.Source, s step, o Options, tarHash, w io.Writer,
) (packed compress.Encoded, err error) {
	raw, err := open()
	if err != nil {
		return packed, err
	}
	read, closeRead := stage(raw, s.from.Size)
	defer func() { err = firstOf(err, closeRead(), raw.Close()) }()

	encoding := s.encoding
	if _, ok := src.(layout.RandomAccess); !ok {
		// The bytes could not be looked at before.
		buffered := bufio.NewReader(read)
		head, err := buffered.Peek(compress.HeadSize)
		if err != nil && !errors.Is(err, io.EOF) {
			return packed, err
		}
		encoding, read = compress.Encoding{Compression: compress.DetectHead(head)}, buffered
	}
	full := sha256.New()
	unpacked, err := o.decoder.DecodeTar(ctx, read, encoding, full)
	if err != nil {
		return packed, err
	}
	tar, closeTar := stage(io.TeeReader(unpacked, tarHash), s.from.Size)
	defer func() { err = firstOf(err, closeTar(), unpacked.Close()) }()

	pr, pw := io.Pipe()
	written := make(chan error, 1)
	go func() {
		out, closeOut := stage(pr, s.from.Size)
		_, err := io.Copy(w, out)
		_ = pr.CloseWithError(err) // always nil; the encoder gets err
		written <- errors.Join(err, closeOut())
	}()
	packed, err = encode(pw, tar, s, o)
	_ = pw.CloseWithError(err) // always nil; without an error the writer gets io.EOF
	if writeErr := <-written; err == nil {
		err = writeErr
	}
	if err != nil {
		return packed, err
	}
	return packed, checkDiffID(s.from, digest.NewDigest(digest.SHA256, full))
}

// encode writes a tar to w in the wanted compression. It fails with a *TarError if BuildKit could not extract the tar's files, and with
// an *EstargzError if it could, but estargz can't hold them.
func encode(w io.Writer, tar io.Reader, s step, o Options) (compress.Encoded, error) {
	files := checkTar()
	checked := io.TeeReader(tar, files)
	packed, err := compress.Encode(w, checked, o.Compression, o.Level)
	var unfit *compress.UnfitError
	if errors.As(err, &unfit) { // it gave up early: the rest shows whether the tar or estargz is to blame
		err = &EstargzError{Blob: s.from.Digest, Err: unfit}
		if _, readErr := io.Copy(io.Discard, checked); readErr != nil {
			err, unfit = readErr, nil
		}
	}
	if _, _, tarErr := files.end(); tarErr != nil && (err == nil || unfit != nil) {
		err = &TarError{Blob: s.from.Digest, Err: tarErr}
	}
	return packed, err
}

// firstOf returns the first error. Errors of closing repeat what went wrong before.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkDiffID compares a diffID with the one that the descriptor promises. A layer without one gets it from the recompression.
func checkDiffID(layer buildcache.Descriptor, got digest.Digest) error {
	want := layer.DiffID()
	if want == "" || want == got {
		return nil
	}
	return &DiffIDError{Blob: layer.Digest, Want: want, Got: got}
}

// stage reads r in a goroutine of its own, ahead of whoever reads the result. All buffers are allocated at once, so they are small for
// small blobs, of which there are many; most unpack to less than 64 times their size.
func stage(r io.Reader, blob int64) (io.Reader, func() error) {
	size := 64 * min(max(blob, 64), stageBufferSize/64)
	ahead, err := readahead.NewReaderSize(r, stageBuffers, int(size))
	if err != nil {
		panic(err) // the two sizes are above zero
	}
	// Its WriteTo fails if everything has been read already, so it is hidden.
	return struct{ io.Reader }{ahead}, ahead.Close
}
