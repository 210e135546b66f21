package compress

import (
	"errors"
	"fmt"
	"io"

	"github.com/ocicache/ocicache/buildcache"
)

// Encoding is how the bytes of one blob are encoded.
type Encoding struct {
	Compression buildcache.Compression
	// TOCOffset is where an estargz blob's table of contents begins, in bytes; 0 for the others.
	TOCOffset int64
}

// Detect finds out how a blob of the given size is encoded, from its first bytes and, if it is gzip, from its end. What looks
// like no compression is Uncompressed, as it is for BuildKit. Estargz is only a claim until DecodeTar has read the blob.
func Detect(blob io.ReaderAt, size int64) (Encoding, error) {
	head := make([]byte, min(size, HeadSize))
	n, err := blob.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Encoding{}, fmt.Errorf("read first bytes: %w", err)
	}
	encoding := Encoding{Compression: DetectHead(head[:n])}
	if encoding.Compression == buildcache.Gzip {
		if offset := findTOC(blob, size); offset > 0 {
			encoding = Encoding{Compression: buildcache.Estargz, TOCOffset: offset}
		}
	}
	return encoding, nil
}

// HeadSize is how many of a blob's first bytes DetectHead looks at.
const HeadSize = 4

// DetectStream returns the compression that the first bytes of a stream show, as DetectHead does. It reads these bytes and no more.
func DetectStream(r io.Reader) (buildcache.Compression, error) {
	head, err := io.ReadAll(io.LimitReader(r, HeadSize)) // unlike io.ReadFull, it tells a short stream from one that broke
	if err != nil {
		return "", err
	}
	return DetectHead(head), nil
}

// DetectHead returns the compression that a blob's first HeadSize bytes show, or Uncompressed. Estargz looks like Gzip here.
func DetectHead(head []byte) buildcache.Compression {
	for _, codec := range codecs() {
		if codec.begins != nil && codec.begins(head) {
			return codec.compression
		}
	}
	return buildcache.Uncompressed
}
