package compress

import (
	"bufio"
	"errors"
	"io"
	"math"

	"github.com/klauspost/compress/zstd"
)

const (
	// MaxZstdWindow is the largest zstd window, in bytes, that BuildKit decodes.
	MaxZstdWindow = 512 << 20
	// freeWindow is the largest window, in bytes, that any stream may have at any time. The encoders of BuildKit and
	// ocicache never need more. A Decoder has larger windows one at a time.
	freeWindow = 16 << 20
)

func decodeZstd(raw io.Reader, large func() error) (io.ReadCloser, error) {
	frames := &windowGate{raw: bufio.NewReaderSize(raw, 256<<10), large: large}
	r, err := zstd.NewReader(frames, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(MaxZstdWindow))
	if err != nil {
		return nil, err
	}
	return r.IOReadCloser(), nil
}

// windowGate passes a zstd stream on as it is. Before a frame with a large window, for which a decoder takes memory as
// soon as it sees the frame's header, it calls large. What it does not understand, no decoder does.
type windowGate struct {
	raw      *bufio.Reader
	large    func() error
	left     int64 // bytes to pass on before next has to be called
	inFrame  bool  // a block follows
	checksum bool  // the frame ends with one
}

func (g *windowGate) Read(p []byte) (int, error) {
	if g.left == 0 {
		if err := g.next(); err != nil {
			return 0, err
		}
	}
	n, err := g.raw.Read(p[:min(int64(len(p)), g.left)])
	g.left -= int64(n)
	return n, err
}

// next looks at what follows: a frame's header, or a block (RFC 8878, 3.1.1).
func (g *windowGate) next() error {
	head, err := g.raw.Peek(zstd.HeaderMaxSize)
	if err != nil && (!errors.Is(err, io.EOF) || len(head) == 0) {
		return err
	}
	if g.inFrame && len(head) >= 3 {
		g.block(head)
		return nil
	}
	var header zstd.Header
	if g.inFrame || header.Decode(head) != nil {
		g.left = math.MaxInt64 // cut off, or not zstd: the decoder says so
		return g.large()
	}
	g.left = int64(header.HeaderSize)
	if header.Skippable {
		g.left += int64(header.SkippableSize)
		return nil
	}
	g.inFrame, g.checksum = true, header.HasCheckSum
	if header.WindowSize > freeWindow || header.SingleSegment && header.FrameContentSize > freeWindow {
		return g.large()
	}
	return nil
}

// block reads a block's header.
func (g *windowGate) block(head []byte) {
	header := uint32(head[0]) | uint32(head[1])<<8 | uint32(head[2])<<16
	const rle = 1
	if g.left = 3 + int64(header>>3); header>>1&3 == rle {
		g.left = 4 // one byte, to be repeated
	}
	if last := header&1 != 0; last {
		g.inFrame = false
		if g.checksum {
			g.left += 4
		}
	}
}
