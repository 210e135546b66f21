package layout

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// Memory is a place in memory, for tests and for programs that make caches or take them apart. It is safe for concurrent
// use. Use NewMemory to create one.
type Memory struct {
	name    string
	mu      sync.RWMutex
	entries []Entry
	blobs   map[digest.Digest][]byte
}

// NewMemory returns an empty place with a name for messages.
func NewMemory(name string) *Memory {
	return &Memory{name: name, blobs: map[digest.Digest][]byte{}}
}

// String returns the name.
func (m *Memory) String() string { return m.name }

// Entries returns what was tagged, in that order.
func (m *Memory) Entries(ctx context.Context) ([]Entry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Clone(m.entries), context.Cause(ctx)
}

func (m *Memory) blob(blob buildcache.Descriptor) ([]byte, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	data, ok := m.blobs[blob.Digest]
	return data, ok
}

// Has reports whether the blob is there with its size.
func (m *Memory) Has(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	if err := m.check(ctx, blob); err != nil {
		return false, err
	}
	data, ok := m.blob(blob)
	return ok && int64(len(data)) == blob.Size, nil
}

// check rejects malformed digests and finished contexts.
func (m *Memory) check(ctx context.Context, blob buildcache.Descriptor) error {
	if err := buildcache.CheckDigest(blob.Digest); err != nil {
		return &BlobError{Digest: blob.Digest, Place: m.name, Err: err}
	}
	return context.Cause(ctx)
}

// Open returns a blob's bytes.
func (m *Memory) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	section, err := m.OpenAt(ctx, blob)
	if err != nil {
		return nil, err
	}
	return section, nil
}

// OpenAt returns a blob for reading at any offset.
func (m *Memory) OpenAt(ctx context.Context, blob buildcache.Descriptor) (*Section, error) {
	if err := m.check(ctx, blob); err != nil {
		return nil, err
	}
	data, ok := m.blob(blob)
	if !ok {
		return nil, &BlobError{Digest: blob.Digest, Place: m.name, Err: ErrBlobMissing}
	}
	return &Section{io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data))), io.NopCloser(nil)}, nil
}

// Put stores a blob.
func (m *Memory) Put(ctx context.Context, blob buildcache.Descriptor, open OpenFunc) error {
	if has, err := m.Has(ctx, blob); err != nil || has {
		return err
	}
	raw, err := open()
	if err != nil {
		return err
	}
	data, err := readAllVerified(ctx, "", blob, raw)
	if err != nil {
		return err
	}
	m.store(blob.Digest, data)
	return nil
}

func (m *Memory) store(blob digest.Digest, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[blob] = data
}

// Ingest stores what write writes.
func (m *Memory) Ingest(ctx context.Context, write func(io.Writer) error) (buildcache.Descriptor, error) {
	var data bytes.Buffer
	if err := write(&data); err != nil {
		return buildcache.Descriptor{}, err
	}
	if err := context.Cause(ctx); err != nil {
		return buildcache.Descriptor{}, err
	}
	blob := buildcache.Descriptor{Digest: digest.FromBytes(data.Bytes()), Size: int64(data.Len())}
	m.store(blob.Digest, data.Bytes())
	return blob, nil
}

// Tag points tag to root, if it still points to was.
func (m *Memory) Tag(ctx context.Context, tag string, root buildcache.Descriptor, was digest.Digest) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	entries, err := Retag(m.name, m.entries, tag, root, was)
	if err == nil {
		m.entries = entries
	}
	return err
}
