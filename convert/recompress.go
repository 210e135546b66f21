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

// Between two stages of a layer lie this many buffers of this many bytes.
const (
	stageBuffers    = 4
	stageBufferSize = 256 << 10
)

// DiffIDError says that a layer's uncompressed bytes are not those that its descriptor promises. BuildKit fails a build
// that uses such a layer.
type DiffIDError struct {
	Blob      digest.Digest
	Want, Got digest.Digest
}

func (e *DiffIDError) Error() string {
	return fmt.Sprintf("layer %s: its diffID should be %s and is %s", e.Blob, e.Want, e.Got)
}

// recompress packs one layer anew and stores it in dst. The work is done in stages that run side by side, so that a
// single huge layer uses more than one processor: read and verify; unpack and hash; pack; hash and write.
func recompress(ctx context.Context, src layout.Source, dst layout.Sink, step Step, o Options) (blob buildcache.Blob, err error) {
	err = o.OnEvent.Track(string(Recompress), step.From.Digest, step.From.Size, func(done func(int64)) error {
		blob, err = recompressLayer(ctx, src, dst, step, o, done)
		return err
	})
	if err != nil {
		return blob, fmt.Errorf("recompress layer %s: %w", step.From.Digest, blame(ctx, src, step.From, err))
	}
	return blob, nil
}

// blame says why a layer could not be unpacked: mostly its bytes are not those of its digest, which decoders notice
// before the end.
func blame(ctx context.Context, src layout.Source, layer buildcache.Descriptor, err error) error {
	var unpack *compress.UnpackError
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
	ctx context.Context, src layout.Source, dst layout.Sink, step Step, o Options, done func(int64),
) (blob buildcache.Blob, err error) {
	if _, ok := src.(layout.RandomAccess); !ok && step.Packing.Compression == buildcache.Estargz {
		spooled, err := spool(ctx, src, step.From)
		if err != nil {
			return blob, err
		}
		defer func() { err = errors.Join(err, spooled.remove()) }()
		if step.Packing, err = Detect(ctx, spooled, step.From); err != nil {
			return blob, err
		}
		src = spooled
	}
	blob.Compression = o.Compression
	stored, err := dst.Ingest(ctx, func(w io.Writer) error {
		tar := sha256.New()
		packed, err := repack(ctx, src, step, o, done, tar, w)
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

// repack reads the layer of step, writes it to w in the wanted compression, and the tar inside to tarHash. It fails,
// after w has it all, where bytes or diffID are not those of the descriptor.
func repack(
	ctx context.Context, src layout.Source, step Step, o Options, done func(int64), tarHash, w io.Writer,
) (packed compress.Packed, err error) {
	raw, err := layout.OpenVerified(ctx, src, step.From)
	if err != nil {
		return packed, err
	}
	read, closeRead := stage(&progressReader{r: raw, done: done})
	defer func() { err = firstOf(err, closeRead(), raw.Close()) }()

	packing := step.Packing
	if _, ok := src.(layout.RandomAccess); !ok {
		// The bytes could not be looked at before.
		buffered := bufio.NewReader(read)
		head, err := buffered.Peek(4)
		if err != nil && !errors.Is(err, io.EOF) {
			return packed, err
		}
		packing, read = compress.Packing{Compression: compress.DetectHead(head)}, buffered
	}
	full := sha256.New()
	unpacked, err := compress.UnpackTar(read, packing, full)
	if err != nil {
		return packed, err
	}
	tar, closeTar := stage(io.TeeReader(unpacked, tarHash))
	defer func() { err = firstOf(err, closeTar(), unpacked.Close()) }()

	pr, pw := io.Pipe()
	written := make(chan error, 1)
	go func() {
		out, closeOut := stage(pr)
		_, err := io.Copy(w, out)
		_ = pr.CloseWithError(err) // always nil; the packer gets err
		written <- errors.Join(err, closeOut())
	}()
	packed, err = compress.Pack(pw, tar, o.Compression, o.Level)
	_ = pw.CloseWithError(err) // always nil; without an error the writer gets io.EOF
	if writeErr := <-written; err == nil {
		err = writeErr
	}
	if err != nil {
		return packed, err
	}
	return packed, checkDiffID(step.From, digest.NewDigest(digest.SHA256, full))
}

// firstOf returns the first error. Those of closing repeat what went wrong before.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkDiffID compares with what the descriptor promises. One that promises nothing gets its diffID by this.
func checkDiffID(layer buildcache.Descriptor, got digest.Digest) error {
	want := layer.DiffID()
	if want == "" || want == got {
		return nil
	}
	return &DiffIDError{Blob: layer.Digest, Want: want, Got: got}
}

// stage lets r be read in a goroutine of its own, ahead of whoever reads the result.
func stage(r io.Reader) (io.Reader, func() error) {
	ahead, err := readahead.NewReaderSize(r, stageBuffers, stageBufferSize)
	if err != nil {
		panic(err) // the two sizes are constants above zero
	}
	// Its WriteTo fails at the end of what was read to the end already, so it is hidden.
	return struct{ io.Reader }{ahead}, ahead.Close
}

type progressReader struct {
	r    io.Reader
	done func(bytes int64)
}

func (p *progressReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.done(int64(n))
	return n, err
}
