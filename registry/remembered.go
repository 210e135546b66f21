package registry

import (
	"bytes"

	"github.com/opencontainers/go-digest"
)

// maxRemembered bounds the manifests that are remembered, in bytes. Each is wanted again soon after it was read, or never.
const maxRemembered = 8 << 20

// remembered are manifests of a repository that were read, the newest of them.
type remembered struct {
	bytes int
	raw   map[digest.Digest][]byte
	order []digest.Digest // the oldest first; what was forgotten may still be in it
}

func (m *remembered) add(d digest.Digest, raw []byte) {
	if _, ok := m.raw[d]; ok || len(raw) > maxRemembered {
		return
	}
	if m.raw == nil {
		m.raw = map[digest.Digest][]byte{}
	}
	m.raw[d], m.order = bytes.Clone(raw), append(m.order, d) // what it was read into may be much larger
	for m.bytes += len(raw); m.bytes > maxRemembered; m.order = m.order[1:] {
		m.forget(m.order[0])
	}
}

func (m *remembered) forget(d digest.Digest) {
	m.bytes -= len(m.raw[d])
	delete(m.raw, d)
}
