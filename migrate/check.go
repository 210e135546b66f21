package migrate

import (
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// Requests for a cache, apart from its layers: its config is read in one, written in four, and read back in one; its root is written under
// its digest and its tag.
const (
	readsOfCache  = 1
	writesOfCache = 7
	// A layer is read in one request, and in four it is looked for and written.
	readsOfLayer  = 1
	writesOfLayer = 4
)

// forecast counts what bringing a cache over would mean for the registries. What the target already has of it, as far as a look at
// one cache tells, does not count in bytes, but does in requests. Layers that would be recompressed count as they are at the
// source.
func (t *transfer) forecast(k key, line Record, e convert.SyncEntry) {
	if line.Event != EventDone {
		return
	}
	layers := int64(0)
	for _, entry := range t.entries {
		if keyOf(entry) == k {
			layers = int64(entry.Layers)
		}
	}
	if e.Pruned != nil {
		layers = int64(e.Pruned.Kept.Blobs)
	}
	t.work.mu.Lock()
	defer t.work.mu.Unlock()
	if host := hostOf(t.source); host != "" {
		use := t.uses.of(host)
		use.Read++
		use.Bytes += line.Moved + e.Foreseen
		use.Requests += readsOfCache + layers*readsOfLayer
	}
	if host := hostOf(layout.Reference{Transport: t.dst.ref.Transport, Path: t.dst.ref.Path}); host != "" {
		use := t.uses.of(host)
		use.Write++
		use.Bytes += line.Moved + e.Foreseen
		use.Requests += writesOfCache + layers*writesOfLayer
	}
}
