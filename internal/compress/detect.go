package compress

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/stargz-snapshotter/estargz"

	"github.com/ocicache/ocicache/buildcache"
)

// Packing is how the bytes of one blob are packed.
type Packing struct {
	Compression buildcache.Compression
	// TOCOffset is where an estargz blob's table of contents begins, in bytes; 0 for the others.
	TOCOffset int64
}

// Detect looks at a blob of the given size: at its first bytes and, if it is gzip, at its end. What is neither gzip nor
// zstd is Uncompressed, as it is for BuildKit.
func Detect(blob io.ReaderAt, size int64) (Packing, error) {
	head := make([]byte, min(size, 4))
	if _, err := blob.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return Packing{}, fmt.Errorf("read first bytes: %w", err)
	}
	compression := DetectHead(head)
	if compression != buildcache.Gzip {
		return Packing{Compression: compression}, nil
	}
	if offset := findTOC(blob, size); offset > 0 {
		return Packing{Compression: buildcache.Estargz, TOCOffset: offset}, nil
	}
	return Packing{Compression: buildcache.Gzip}, nil
}

// DetectHead tells gzip, zstd and Uncompressed apart by a blob's first four bytes. Estargz looks like Gzip here. A
// zstd stream may begin with a skippable frame (RFC 8878, 3.1.2).
func DetectHead(head []byte) buildcache.Compression {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return buildcache.Gzip
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}),
		len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}):
		return buildcache.Zstd
	default:
		return buildcache.Uncompressed
	}
}

// findTOC returns the offset of an estargz blob's table of contents, or 0 if the blob is none. As for BuildKit, a
// footer alone does not make one: the table must be there, and be the last entry.
func findTOC(blob io.ReaderAt, size int64) int64 {
	offset, _, err := estargz.OpenFooter(io.NewSectionReader(blob, 0, size))
	if err != nil || offset <= 0 || offset >= size {
		return 0
	}
	toc, err := new(estargz.GzipDecompressor).Reader(io.NewSectionReader(blob, offset, size-offset))
	if err != nil {
		return 0
	}
	defer func() { _ = toc.Close() }() // it was only read
	entries := tar.NewReader(toc)
	header, err := entries.Next()
	if err != nil || header.Name != estargz.TOCTarName {
		return 0
	}
	if _, err := entries.Next(); !errors.Is(err, io.EOF) {
		return 0
	}
	return offset
}
