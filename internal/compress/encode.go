package compress

import (
	"compress/flate"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// CheckLevel says whether a compression has the level. 0 stands for its default, which every compression has.
func CheckLevel(c buildcache.Compression, level int) error {
	highest := 9
	switch c {
	case buildcache.Uncompressed:
		highest = 0
	case buildcache.Zstd:
		highest = 22
	case buildcache.Gzip, buildcache.Estargz:
	}
	if level < 0 || level > highest {
		if highest == 0 {
			return fmt.Errorf("%s has no levels", c)
		}
		return fmt.Errorf("%s has the levels 1 to %d, not %d", c, highest, level)
	}
	return nil
}

// Packed is what Pack made beside the bytes.
type Packed struct {
	// TOCDigest, FullDigest and FullSize are for estargz only: the digest of the table of contents, and digest and
	// size in bytes of everything that was packed. For the others these are the tar's own.
	TOCDigest  digest.Digest
	FullDigest digest.Digest
	FullSize   int64
}

// Pack writes tar to w. Level 0 is the default. For estargz, tar must be one that Go can read, and must not have a
// table of contents of its own.
func Pack(w io.Writer, tar io.Reader, c buildcache.Compression, level int) (Packed, error) {
	switch c {
	case buildcache.Gzip:
		if level == 0 {
			level = gzip.DefaultCompression
		}
		enc, err := gzip.NewWriterLevel(w, level)
		if err != nil {
			return Packed{}, err
		}
		return Packed{}, copyAndClose(enc, tar)
	case buildcache.Zstd:
		if level == 0 {
			level = 3
		}
		// One goroutine an encoder: several layers at once keep the machine busy at less cost.
		enc, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)))
		if err != nil {
			return Packed{}, err
		}
		return Packed{}, copyAndClose(enc, tar)
	case buildcache.Estargz:
		return packEstargz(w, tar, level)
	default:
		_, err := io.Copy(w, tar)
		return Packed{}, err
	}
}

func copyAndClose(enc io.WriteCloser, tar io.Reader) error {
	if _, err := io.Copy(onlyWriter{enc}, tar); err != nil {
		return err
	}
	return enc.Close()
}

// onlyWriter hides ReadFrom, so that encoders see writes of the reader's size and errors of the reader stay apart.
type onlyWriter struct{ io.Writer }

// packEstargz makes the estargz blob that BuildKit would make: losslessly, so that the tar can be had back. What was
// written is unpacked again beside it, for digest and size of the whole.
func packEstargz(w io.Writer, tar io.Reader, level int) (Packed, error) {
	if level == 0 {
		level = flate.DefaultCompression
	}
	pr, pw := io.Pipe()
	full := make(chan unpackedSum, 1)
	go func() {
		sum := sumUnpacked(pr)
		_ = pr.CloseWithError(sum.err) // always nil; the writer gets sum.err
		full <- sum
	}()
	packed, err := writeEstargz(io.MultiWriter(w, pw), tar, level)
	_ = pw.CloseWithError(err) // always nil; without an error the reader gets io.EOF
	sum := <-full
	if err == nil {
		err = sum.err
	}
	if err != nil {
		return Packed{}, err
	}
	packed.FullDigest, packed.FullSize = sum.digest, sum.size
	return packed, nil
}

// writeEstargz keeps the errors of w and tar, which estargz hands on as mere text.
func writeEstargz(w io.Writer, tar io.Reader, level int) (packed Packed, err error) {
	in, out := &errorKeeper{r: tar}, &writeErrorKeeper{w: w}
	defer func() {
		switch {
		case err == nil:
			return
		case in.err != nil && !errors.Is(in.err, io.EOF):
			err = in.err
		case out.err != nil:
			err = out.err
		}
		err = fmt.Errorf("make estargz: %w", err)
	}()
	enc := estargz.NewWriterLevel(out, level)
	if err := enc.AppendTarLossLess(in); err != nil {
		return Packed{}, err
	}
	toc, err := enc.Close()
	return Packed{TOCDigest: toc}, err
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

type unpackedSum struct {
	digest digest.Digest
	size   int64
	err    error
}

func sumUnpacked(raw io.Reader) unpackedSum {
	r, err := Unpack(raw, buildcache.Gzip)
	if err != nil {
		return unpackedSum{err: err}
	}
	hash := sha256.New()
	n, err := io.Copy(hash, r)
	return unpackedSum{digest.NewDigest(digest.SHA256, hash), n, errors.Join(err, r.Close())}
}
