package migrate

import (
	"context"
	"errors"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// layouts are what the tags of layouts name. Each is read when it is first asked for.
type layouts struct {
	mu   sync.Mutex
	tags map[layout.Reference]map[string]digest.Digest
}

// isStill reports whether a target still has what the state says was brought there. It looks only where that is cheap, in a layout:
// registries are trusted to keep what they have.
func (w *work) isStill(ctx context.Context, last Record) bool {
	ref, err := w.targetOf(last.Tag)
	if err != nil || hostOf(ref) != "" {
		return true
	}
	tag := ref.Tag
	ref.Tag = ""
	w.layouts.mu.Lock()
	defer w.layouts.mu.Unlock()
	tags, ok := w.layouts.tags[ref]
	if !ok {
		if tags, err = w.tagsIn(ctx, ref); err != nil {
			return false // whoever brings the cache there will see what is wrong
		}
		if w.layouts.tags == nil {
			w.layouts.tags = map[layout.Reference]map[string]digest.Digest{}
		}
		w.layouts.tags[ref] = tags
	}
	return tags[tag] == last.To
}

// tagsIn returns what the tags of a layout name.
func (w *work) tagsIn(ctx context.Context, ref layout.Reference) (tags map[string]digest.Digest, err error) {
	src, err := places.Open(ctx, ref, w.o.places(w.plan, ref))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	entries, err := src.Entries(ctx)
	tags = map[string]digest.Digest{}
	for _, entry := range entries {
		if _, ok := tags[entry.Tag]; !ok { // the first one counts
			tags[entry.Tag] = entry.Descriptor.Digest
		}
	}
	return tags, err
}
