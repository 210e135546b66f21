package compress

import (
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// Encoded is what Encode made, apart from the bytes.
type Encoded struct {
	// TOCDigest, FullDigest and FullSize are for estargz only: the digest of the table of contents, and digest and
	// size in bytes of everything that was encoded. For the others they are zero.
	TOCDigest  digest.Digest
	FullDigest digest.Digest
	FullSize   int64
}

// Encode writes tar to w. Level 0 is the default. For estargz, tar must be one that Go can read, and must not have a
// table of contents of its own.
func Encode(w io.Writer, tar io.Reader, c buildcache.Compression, level int) (Encoded, error) {
	codec, err := codecOf(c)
	if err != nil {
		return Encoded{}, err
	}
	return codec.encode(w, tar, level)
}

func encodeNothing(w io.Writer, tar io.Reader, _ int) (Encoded, error) {
	_, err := io.Copy(w, tar)
	return Encoded{}, err
}

// The levels that are used if none is asked for: the codecs' own defaults.
const (
	gzipLevel = 5
	zstdLevel = 3
)

func isGzipDefault(level int) bool { return level == gzipLevel }

func isZstdDefault(level int) bool {
	return zstd.EncoderLevelFromZstd(level) == zstd.EncoderLevelFromZstd(zstdLevel)
}

func encodeGzip(w io.Writer, tar io.Reader, level int) (Encoded, error) {
	if level == 0 {
		level = gzipLevel
	}
	enc, err := gzip.NewWriterLevel(w, level)
	if err != nil {
		return Encoded{}, err
	}
	return Encoded{}, copyAndClose(enc, tar)
}

func encodeZstd(w io.Writer, tar io.Reader, level int) (Encoded, error) {
	if level == 0 {
		level = zstdLevel
	}
	// One goroutine per encoder: several layers at once keep the machine busy at less cost.
	enc, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true), zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)))
	if err != nil {
		return Encoded{}, err
	}
	return Encoded{}, copyAndClose(enc, tar)
}

func copyAndClose(enc io.WriteCloser, tar io.Reader) error {
	if _, err := io.Copy(onlyWriter{enc}, tar); err != nil {
		return err
	}
	return enc.Close()
}

// onlyWriter hides ReadFrom, so that encoders see writes of the reader's size and errors of the reader stay apart.
type onlyWriter struct{ io.Writer }
