package archive

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/klauspost/reedsolomon"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/internal/durable"
)

// ErrSplit says that an archive can't be split as was asked for. Nothing has been written then.
var ErrSplit = errors.New("the archive can't be split so")

const (
	// volumeMode is the mode of volumes, recovery volumes and lists.
	volumeMode = 0o644
	// chunkSize is how much of an archive is handed from whoever packs it to whoever hashes and writes it, in bytes.
	chunkSize = 512 << 10
	// parityMemory is how much of all volumes together is in memory while recovery volumes are computed, in bytes.
	parityMemory = 32 << 20
	// blockAlign is what blocks of volumes are multiples of, in bytes.
	blockAlign = 4 << 10
)

// volumes is an archive in volumes that is being written. What is written to it is split, hashed and stored behind the
// caller's back; Commit tells what became of it. One of Commit and Discard must be called.
type volumes struct {
	fs   durable.FS
	dir  string // the work directory
	file string // FILE
	list *volumeList

	written int64 // bytes taken by Write
	pipe    *pipe

	// What follows belongs to the pipe until it is closed.
	current        *durable.File // nil between volumes
	left           int64         // bytes that current lacks
	sum            hash.Hash     // of current
	data, recovery []*durable.File
}

// newVolumes begins to write the archive id of total bytes to volumes of size bytes and parity recovery volumes, all
// named after file. Temporary files lie in dir, on the file system of file, which nobody else writes to meanwhile.
// It fails with ErrSplit where that makes too many volumes or too small ones.
func newVolumes(dir, file string, total int64, id digest.Digest, size int64, parity int, fsys durable.FS) (*volumes, error) {
	list, err := planVolumes(filepath.Base(file), total, id, size, parity)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", file, ErrSplit, err)
	}
	v := &volumes{fs: fsys, dir: dir, file: file, list: list, sum: sha256.New()}
	v.pipe = startPipe(v.store)
	return v, nil
}

// planVolumes returns the list of volumes, without sums.
func planVolumes(stem string, total int64, id digest.Digest, size int64, parity int) (*volumeList, error) {
	if err := checkStem(stem); err != nil {
		return nil, err
	}
	if total <= 0 || parity < 0 {
		return nil, fmt.Errorf("there can't be %d bytes, nor %d recovery volumes", total, parity)
	}
	if size < MinVolume {
		return nil, fmt.Errorf("a volume has %d bytes at least, not %d", MinVolume, size)
	}
	count := (total-1)/size + 1
	if err := checkCounts(count, parity); err != nil {
		return nil, err
	}
	return &volumeList{
		stem: stem, id: id, total: total, size: min(size, total),
		sums: make([]string, 0, count), recovery: make([]recoverySum, parity),
	}, nil
}

// Write takes the next bytes of the archive. It may fail for what an earlier call was given.
func (v *volumes) Write(p []byte) (int, error) {
	if int64(len(p)) > v.list.total-v.written {
		return 0, fmt.Errorf("%s: more than the %d bytes that were announced", v.file, v.list.total)
	}
	n, err := v.pipe.Write(p)
	v.written += int64(n)
	return n, err
}

// store appends to the current volume and begins the next one where it is full.
func (v *volumes) store(p []byte) error {
	for len(p) > 0 {
		if v.current == nil {
			file, err := v.fs.Create(v.dir)
			if err != nil {
				return fmt.Errorf("make volume %d of %s: %w", len(v.data)+1, v.file, err)
			}
			v.current, v.left = file, v.list.volumeSize(len(v.data))
			v.data = append(v.data, file)
			v.sum.Reset()
		}
		part := p[:min(int64(len(p)), v.left)]
		v.sum.Write(part)
		if _, err := v.current.Write(part); err != nil {
			return fmt.Errorf("write volume %d of %s: %w", len(v.data), v.file, err)
		}
		p, v.left = p[len(part):], v.left-int64(len(part))
		if v.left > 0 {
			continue
		}
		if err := finishFile(v.current); err != nil {
			return fmt.Errorf("write volume %d of %s: %w", len(v.data), v.file, err)
		}
		v.list.sums = append(v.list.sums, hex.EncodeToString(v.sum.Sum(nil)))
		v.current = nil
	}
	return nil
}

// finishFile makes what was written to a file last. It is closed, for there may be more volumes than open files; the
// lock that it loses by that is not needed in a directory of our own.
func finishFile(file *durable.File) error {
	if err := file.Sync(volumeMode); err != nil {
		return err
	}
	return file.File().Close()
}

// Discard removes what was written. After Commit it does nothing.
func (v *volumes) Discard() error {
	_ = v.pipe.Close() // what failed there does not matter any more
	var err error
	for _, file := range append(v.data, v.recovery...) {
		err = errors.Join(err, file.Discard())
	}
	v.data, v.recovery = nil, nil
	return err
}

// Commit computes the recovery volumes and gives all files their names, the list last; then it removes what earlier
// runs left under them. If it fails before the list has its name, none of the new files is there. A crash leaves a
// prefix of the volumes, or a mixture that the older list or the heads of recovery volumes tell from a whole set.
func (v *volumes) Commit(ctx context.Context) error {
	if err := v.prepare(ctx); err != nil {
		return errors.Join(err, v.Discard())
	}
	err := v.publish()
	return errors.Join(err, v.Discard())
}

// prepare brings everything to the disk, under temporary names.
func (v *volumes) prepare(ctx context.Context) error {
	if err := v.pipe.Close(); err != nil {
		return err
	}
	if v.written != v.list.total {
		return fmt.Errorf("%s: %d bytes were announced and %d came", v.file, v.list.total, v.written)
	}
	if len(v.list.recovery) > 0 {
		if err := v.addRecovery(ctx); err != nil {
			return fmt.Errorf("make recovery volumes of %s: %w", v.file, err)
		}
	}
	return context.Cause(ctx)
}

// publish gives the files their names. Where no older list is there to tell an older volume from a new one, the older
// volumes go first.
func (v *volumes) publish() error {
	list, err := v.writeList()
	if err != nil {
		return fmt.Errorf("write the list of %s: %w", v.file, err)
	}
	_, err = os.Lstat(v.file + listSuffix)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = removeOld(v.fs, v.file, []string{filepath.Base(v.file)})
	case err != nil:
		err = fmt.Errorf("look for an older list: %w", err)
	}
	var names []string
	if err == nil {
		names, err = v.rename()
	}
	if err == nil {
		err = list.Rename(v.file + listSuffix)
	}
	if err != nil {
		return errors.Join(err, list.Discard(), v.unpublish(names))
	}
	if err := errors.Join(v.fs.SyncDir(filepath.Dir(v.file)), list.Discard()); err != nil {
		return err
	}
	return removeOld(v.fs, v.file, append(names, filepath.Base(v.file)+listSuffix))
}

func (v *volumes) writeList() (*durable.File, error) {
	file, err := v.fs.Create(v.dir)
	if err != nil {
		return nil, err
	}
	if _, err = file.Write(v.list.marshal(false)); err == nil {
		err = finishFile(file)
	}
	if err != nil {
		return nil, errors.Join(err, file.Discard())
	}
	return file, nil
}

// rename gives recovery volumes and volumes their names, durably, and returns those that it gave. Recovery volumes are
// first, for their heads say what else there has to be.
func (v *volumes) rename() (names []string, err error) {
	stem, dir := filepath.Base(v.file), filepath.Dir(v.file)
	for i, file := range v.recovery {
		name := recoveryFile(stem, i+1)
		if err := file.Rename(filepath.Join(dir, name)); err != nil {
			return names, fmt.Errorf("name recovery volume %s: %w", name, err)
		}
		names = append(names, name)
	}
	for i, file := range v.data {
		name := v.list.volumeFile(stem, i)
		if err := file.Rename(filepath.Join(dir, name)); err != nil {
			return names, fmt.Errorf("name volume %s: %w", name, err)
		}
		names = append(names, name)
	}
	return names, v.fs.SyncDir(dir)
}

// unpublish removes files that have their names already.
func (v *volumes) unpublish(names []string) error {
	var errs []error
	for _, name := range names {
		err := os.Remove(filepath.Join(filepath.Dir(v.file), name))
		if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// addRecovery computes the recovery volumes from the volumes.
func (v *volumes) addRecovery(ctx context.Context) (err error) {
	count, parity := len(v.data), len(v.list.recovery)
	coder, err := newCoder(count, parity)
	if err != nil {
		return err
	}
	inputs := make([]io.ReaderAt, count)
	for i, file := range v.data {
		opened, err := os.Open(file.File().Name())
		if err != nil {
			return err
		}
		defer opened.Close() //nolint:errcheck // it was only read
		inputs[i] = opened
	}
	sums := make([]hash.Hash, parity)
	for i := range sums {
		sums[i] = sha256.New()
		v.list.recovery[i].payload = sumOf(nil) // of the length that the sum will have
	}
	head := make([]byte, len(v.list.marshalHead(1)))
	for range parity {
		file, err := v.fs.Create(v.dir)
		if err != nil {
			return err
		}
		v.recovery = append(v.recovery, file)
		if _, err := file.Write(head); err != nil { // to be overwritten
			return err
		}
	}
	if err := v.encode(ctx, coder, inputs, sums); err != nil {
		return err
	}
	for i, sum := range sums {
		v.list.recovery[i].payload = hex.EncodeToString(sum.Sum(nil))
	}
	return v.writeHeads(ctx)
}

// newCoder returns the code of version 1 of recovery volumes: Reed-Solomon over GF(2^8), the Vandermonde matrix made
// systematic, one shard a volume. Others would need another headVersion.
func newCoder(count, parity int) (reedsolomon.Encoder, error) {
	return reedsolomon.New(count, parity)
}

// blockSize is how much of each of count volumes is held at once, if memory bytes are there for all, and a volume has size.
func blockSize(memory int64, count int, size int64) int {
	block := min(memory/int64(count), 1<<20) &^ (blockAlign - 1)
	return int(min(max(block, blockAlign), size))
}

// encode appends the payloads to the recovery volumes, and hashes them.
func (v *volumes) encode(ctx context.Context, coder reedsolomon.Encoder, inputs []io.ReaderAt, sums []hash.Hash) error {
	count := len(inputs)
	block := blockSize(parityMemory, count+len(sums), v.list.size)
	shards := reedsolomon.AllocAligned(count+len(sums), block)
	for offset := int64(0); offset < v.list.size; offset += int64(block) {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n := min(int64(block), v.list.size-offset)
		for i := range shards {
			shards[i] = shards[i][:n]
		}
		for i, input := range inputs {
			if err := readShard(input, shards[i], offset, v.list.volumeSize(i)); err != nil {
				return fmt.Errorf("read volume %d again: %w", i+1, err)
			}
		}
		if err := coder.Encode(shards); err != nil {
			return err
		}
		for i, file := range v.recovery {
			sums[i].Write(shards[count+i])
			if _, err := file.Write(shards[count+i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// readShard fills p with what is at the offset of a volume of size bytes. The last volume counts as filled with zeros.
func readShard(r io.ReaderAt, p []byte, offset, size int64) error {
	n := max(0, min(int64(len(p)), size-offset))
	clear(p[n:])
	if n == 0 {
		return nil
	}
	return readFull(r, p[:n], offset)
}

// readFull reads all of p. That there is less is an error other than io.EOF, which would pass for the archive's end.
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
func (v *volumes) writeHeads(ctx context.Context) error {
	for i, file := range v.recovery {
		head := v.list.marshalHead(i + 1)
		opened := file.File()
		if err := v.fs.Check(durable.OpWrite, opened.Name()); err != nil {
			return err
		}
		if _, err := opened.WriteAt(head, 0); err != nil {
			return err
		}
		sum := sha256.New()
		section := io.NewSectionReader(opened, 0, int64(len(head))+v.list.size)
		if _, err := io.CopyBuffer(sum, &cancelReader{ctx: ctx, r: section}, make([]byte, chunkSize)); err != nil {
			return err
		}
		v.list.recovery[i].file = hex.EncodeToString(sum.Sum(nil))
		if err := finishFile(file); err != nil {
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

// errClosed says that something is written after the end.
var errClosed = errors.New("written to after it was closed")

// pipe hands what is written to it in large pieces to a goroutine of its own.
type pipe struct {
	current    []byte
	full, free chan []byte
	done       chan struct{}
	closed     bool
	failed     atomic.Bool
	err        error // of the goroutine, which ends its life with it
}

func startPipe(sink func([]byte) error) *pipe {
	const chunks = 4
	p := &pipe{full: make(chan []byte, chunks), free: make(chan []byte, chunks), done: make(chan struct{})}
	for range chunks {
		p.free <- make([]byte, 0, chunkSize)
	}
	p.current = <-p.free
	go func() {
		defer close(p.done)
		for chunk := range p.full {
			if p.err == nil {
				p.err = sink(chunk)
				p.failed.Store(p.err != nil)
			}
			p.free <- chunk[:0]
		}
	}()
	return p
}

// Write fails with the sink's error, as soon as it is known.
func (p *pipe) Write(data []byte) (int, error) {
	if p.closed {
		return 0, cmp.Or(p.err, errClosed)
	}
	written := 0
	for written < len(data) {
		if p.failed.Load() {
			return written, p.Close()
		}
		n := min(len(data)-written, cap(p.current)-len(p.current))
		p.current = append(p.current, data[written:written+n]...)
		written += n
		if len(p.current) == cap(p.current) {
			p.full <- p.current
			p.current = <-p.free
		}
	}
	return written, nil
}

// Close waits until everything has gone through the sink, and returns its error. It can be called again.
func (p *pipe) Close() error {
	if !p.closed {
		p.closed = true
		p.full <- p.current
		close(p.full)
	}
	<-p.done
	return p.err
}
