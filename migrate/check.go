package migrate

import (
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// What a cache takes besides its layers, in requests: its config is read, and written in four steps; its root is written under its
// digest and to its tag.
const (
	readsOfCache  = 1
	writesOfCache = 6
	// A layer is read in one request, and looked for and written in four.
	readsOfLayer  = 1
	writesOfLayer = 4
)

// forecast counts what a cache that would be brought over means for the registries. What the target has of it, as far as a look
// at one cache tells, is not counted in bytes; in requests it is. Layers that would be recompressed count as they are
// at the source.
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
