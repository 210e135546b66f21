package volumes

import (
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/reedsolomon"
)

const (
	// rebuildMemory is how many bytes of all volumes together are in memory to rebuild one block.
	rebuildMemory = 16 << 20
	// rebuildAtOnce is how many blocks are rebuilt at once.
	rebuildAtOnce = 2
	// rebuiltMemory is how many rebuilt bytes are kept.
	rebuiltMemory = 16 << 20
)

// rebuilder rebuilds lost volumes, block by block.
type rebuilder struct {
	volumes, recovery []shard
	size, total       int64 // of a volume, of the archive

	coder reedsolomon.Encoder
	block int           // bytes of a block
	kept  int           // how many blocks are kept
	from  []int         // the shards, volumes first, that are read to rebuild
	slots chan [][]byte // memory to read shards into; nil until it is used

	mu     sync.Mutex
	blocks map[blockKey]*block
	recent []blockKey // of blocks, the oldest first
}

// blockKey is the place of a block.
type blockKey struct {
	volume int
	number int64
}

// block is a rebuilt block, once done is closed.
type block struct {
	done chan struct{}
	data []byte
	err  error
}

// start prepares it for reading.
func (r *rebuilder) start() (err error) {
	if r.coder, err = newCoder(len(r.volumes), len(r.recovery)); err != nil {
		return fmt.Errorf("rebuild volumes: %w", err)
	}
	for i, s := range slices.Concat(r.volumes, r.recovery) {
		if !s.lost() && len(r.from) < len(r.volumes) {
			r.from = append(r.from, i)
		}
	}
	r.block = blockSize(rebuildMemory, len(r.volumes), r.size)
	r.kept = rebuiltMemory / r.block
	r.slots = make(chan [][]byte, rebuildAtOnce)
	for range rebuildAtOnce {
		r.slots <- nil
	}
	r.blocks = map[blockKey]*block{}
	return nil
}

// read fills p with what is at offset in the lost volume.
func (r *rebuilder) read(volume int, p []byte, offset int64) error {
	for len(p) > 0 {
		number := offset / int64(r.block)
		data, err := r.get(blockKey{volume: volume, number: number})
		if err != nil {
			return fmt.Errorf("rebuild it: %w", err)
		}
		n := copy(p, data[offset-number*int64(r.block):])
		p, offset = p[n:], offset+int64(n)
	}
	return nil
}

// get returns a block, which the first caller rebuilds. If that fails, the next caller tries again.
func (r *rebuilder) get(key blockKey) ([]byte, error) {
	r.mu.Lock()
	b, ok := r.blocks[key]
	if ok {
		i := slices.Index(r.recent, key)
		r.recent = append(slices.Delete(r.recent, i, i+1), key)
		r.mu.Unlock()
		<-b.done
		return b.data, b.err
	}
	b = &block{done: make(chan struct{})}
	r.blocks[key] = b
	r.recent = append(r.recent, key)
	if len(r.recent) > r.kept {
		delete(r.blocks, r.recent[0])
		r.recent = slices.Delete(r.recent, 0, 1)
	}
	r.mu.Unlock()

	b.data, b.err = r.make(key)
	if b.err != nil {
		r.forget(key, b)
	}
	close(b.done)
	return b.data, b.err
}

func (r *rebuilder) forget(key blockKey, b *block) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.blocks[key] != b {
		return
	}
	delete(r.blocks, key)
	r.recent = slices.DeleteFunc(r.recent, func(other blockKey) bool { return other == key })
}

// make rebuilds a block.
func (r *rebuilder) make(key blockKey) ([]byte, error) {
	memory := <-r.slots
	defer func() { r.slots <- memory }()
	if memory == nil {
		memory = reedsolomon.AllocAligned(len(r.volumes), r.block)
	}
	offset := key.number * int64(r.block)
	n := min(int64(r.block), r.size-offset)
	shards := make([][]byte, len(r.volumes)+len(r.recovery))
	for i, from := range r.from {
		shards[from] = memory[i][:n]
		if err := r.readShard(from, shards[from], offset); err != nil {
			return nil, err
		}
	}
	wanted := make([]bool, len(r.volumes))
	wanted[key.volume] = true
	if err := r.coder.ReconstructSome(shards, wanted); err != nil {
		return nil, err
	}
	return shards[key.volume], nil
}

func (r *rebuilder) readShard(i int, p []byte, offset int64) error {
	if i < len(r.volumes) {
		if err := readShard(&r.volumes[i], p, offset, r.volumes[i].size); err != nil {
			return fmt.Errorf("read volume %d: %w", i+1, err)
		}
		return nil
	}
	if err := readShard(&r.recovery[i-len(r.volumes)], p, offset, r.size); err != nil {
		return fmt.Errorf("read recovery volume %d: %w", i-len(r.volumes)+1, err)
	}
	return nil
}
