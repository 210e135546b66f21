package convert

import (
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
)

// Tries remember what syncs have reported about caches that are tried again, so that each counts once in the total, and each of its
// layers is done once. The zero value has nothing reported.
type Tries struct {
	mu    sync.Mutex
	parts map[tried]*layout.Part
}

// tried identifies an entry of a source.
type tried struct {
	tag  string
	root digest.Digest
}

func triedOf(entry layout.Entry) tried { return tried{entry.Tag, entry.Descriptor.Digest} }

// planned returns how much there can be to do for a cache.
func planned(entry layout.Entry) layout.Event {
	return layout.Event{Kind: layout.EventPlan, Verb: "convert", Count: entry.Layers, Total: entry.LayerBytes}
}

// announce says how much there can be to do for all that were not announced before. What turns out to be there is taken back,
// one cache at a time.
func (t *Tries) announce(whole layout.Handler, entries []layout.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.parts == nil {
		t.parts = map[tried]*layout.Part{}
	}
	total := planned(layout.Entry{})
	for _, entry := range entries {
		if t.parts[triedOf(entry)] == nil {
			t.parts[triedOf(entry)] = whole.NewPart(planned(entry))
			total.Count += entry.Layers
			total.Total += entry.LayerBytes
		}
	}
	whole.Send(total)
}

// begin starts an attempt at a cache, and returns its handler and a function to end it: for good, or to be tried again.
func (t *Tries) begin(entry layout.Entry) (part layout.Handler, end func(over bool)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.parts[triedOf(entry)]
	return p.Begin(), func(over bool) {
		p.End(over)
		if over {
			t.mu.Lock()
			defer t.mu.Unlock()
			delete(t.parts, triedOf(entry))
		}
	}
}
