package volumes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/reedsolomon"

	"github.com/ocicache/ocicache/internal/durable"
)

const (
	// parityMemory is how many bytes of all volumes together are in memory while recovery volumes are computed.
	parityMemory = 32 << 20
	// blockAlign is the number of bytes that the sizes of blocks are multiples of.
	blockAlign = 4 << 10
)

// addRecovery computes the recovery volumes from the volumes.
func (w *splitWriter) addRecovery(ctx context.Context) (err error) {
	count, parity := len(w.data), len(w.list.recovery)
	coder, err := newCoder(count, parity)
	if err != nil {
		return err
	}
	inputs := make([]io.ReaderAt, count)
	for i, file := range w.data {
		opened, _, err := w.fs.OpenRegular(file.File().Name())
		if err != nil {
			return err
		}
		defer opened.Close() //nolint:errcheck // it was only read
		inputs[i] = opened
	}
	sums := make([]hash.Hash, parity)
	for i := range sums {
		sums[i] = sha256.New()
		w.list.recovery[i].payload = sumOf(nil) // of the length that the sum will have
	}
	head := make([]byte, len(w.list.marshalHead(1)))
	for range parity {
		file, err := w.fs.Create(w.work)
		if err != nil {
			return err
		}
		w.recovery = append(w.recovery, file)
		if _, err := file.Write(head); err != nil { // to be overwritten
			return err
		}
	}
	if err := w.encode(ctx, coder, inputs, sums); err != nil {
		return err
	}
	for i, sum := range sums {
		w.list.recovery[i].payload = hex.EncodeToString(sum.Sum(nil))
	}
	return w.writeHeads(ctx)
}

// newCoder returns the code of version 1 of recovery volumes: Reed-Solomon over GF(2^8), the Vandermonde matrix made
// systematic, one shard per volume. Another code would need another headVersion.
func newCoder(count, parity int) (reedsolomon.Encoder, error) {
	return reedsolomon.New(count, parity)
}

// blockSize returns how many bytes of each of count volumes, of size bytes, are held at once, with memory bytes for all together.
func blockSize(memory int64, count int, size int64) int {
	block := min(memory/int64(count), 1<<20) &^ (blockAlign - 1)
	return int(min(max(block, blockAlign), size))
}

// encode appends the payloads to the recovery volumes, and hashes them.
func (w *splitWriter) encode(ctx context.Context, coder reedsolomon.Encoder, inputs []io.ReaderAt, sums []hash.Hash) error {
	count := len(inputs)
	block := blockSize(parityMemory, count+len(sums), w.list.size)
	shards := reedsolomon.AllocAligned(count+len(sums), block)
	for offset := int64(0); offset < w.list.size; offset += int64(block) {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n := min(int64(block), w.list.size-offset)
		for i := range shards {
			shards[i] = shards[i][:n]
		}
		for i, input := range inputs {
			if err := readShard(input, shards[i], offset, w.list.volumeSize(i)); err != nil {
				return fmt.Errorf("read volume %d again: %w", i+1, err)
			}
		}
		if err := coder.Encode(shards); err != nil {
			return err
		}
		for i, file := range w.recovery {
			sums[i].Write(shards[count+i])
			if _, err := file.Write(shards[count+i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// readShard fills p with what is at offset in a volume of size bytes. The last volume counts as filled up with zeros.
func readShard(r io.ReaderAt, p []byte, offset, size int64) error {
	n := max(0, min(int64(len(p)), size-offset))
	clear(p[n:])
	if n == 0 {
		return nil
	}
	return readFull(r, p[:n], offset)
}

// readFull fills p. If there are fewer bytes, the error is not io.EOF, which would pass for the archive's end.
func readFull(r io.ReaderAt, p []byte, offset int64) error {
	n, err := r.ReadAt(p, offset)
	switch {
	case n == len(p):
		return nil
	case errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	default:
		return err
	}
}

// writeHeads writes the heads of the recovery volumes, now that the sums of all payloads are known, and hashes the files.
func (w *splitWriter) writeHeads(ctx context.Context) error {
	for i, file := range w.recovery {
		head := w.list.marshalHead(i + 1)
		opened := file.File()
		if err := w.fs.Check(durable.OpWrite, opened.Name()); err != nil {
			return err
		}
		if _, err := opened.WriteAt(head, 0); err != nil {
			return err
		}
		sum := sha256.New()
		section := io.NewSectionReader(opened, 0, int64(len(head))+w.list.size)
		if _, err := io.CopyBuffer(sum, &cancelReader{ctx: ctx, r: section}, make([]byte, chunkSize)); err != nil {
			return err
		}
		w.list.recovery[i].file = hex.EncodeToString(sum.Sum(nil))
		if err := finishFile(file, w.to.mode()); err != nil {
			return err
		}
	}
	return nil
}

// cancelReader fails once its context is done.
type cancelReader struct {
	ctx context.Context //nolint:containedctx // io.Reader has no place for one
	r   io.Reader
}

func (r *cancelReader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
