package main

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// inspectedRoots are the roots inspected so far. Each is read once, because it may be large and have many tags.
type inspectedRoots struct {
	namer  *namer
	listed bool // list the records
	found  map[rootKey]inspectedRoot
}

// rootKey is a root as an entry names it. The same digest with another size counts as another root.
type rootKey struct {
	digest digest.Digest
	size   int64
}

// inspectedRoot is what was found out about a root, or why nothing was.
type inspectedRoot struct {
	detailed inspect.Detailed
	named    *explain.Named
	err      error
}

// of returns what is in the cache of an entry. The tags of a root share everything but their names.
func (r *inspectedRoots) of(ctx context.Context, src layout.Source, entry layout.Entry) inspectedRoot {
	key := rootKey{entry.Descriptor.Digest, entry.Descriptor.Size}
	root, known := r.found[key]
	if !known {
		root.detailed, root.named, root.err = r.namer.detail(ctx, src, entry, r.listed)
		r.found[key] = root
	}
	if root.err == nil {
		root.detailed.Summary = root.detailed.As(entry.Tag)
	}
	return root
}

// inspectOne returns what is in a cache, or why that can't be told.
func (a *app) inspectOne(ctx context.Context, from *places.Opened, entry layout.Entry, roots *inspectedRoots) inspectedCache {
	err := entry.Check(ctx, from.Source)
	if err == nil {
		root := roots.of(ctx, from.Source, entry)
		if root.err == nil {
			return inspectedCache{Summary: root.detailed.Summary, Steps: root.named, Remedy: a.remedyOf(from, root.detailed.Summary), detailed: root.detailed}
		}
		err = fmt.Errorf("%s: %w", inspectedName(from.Source.String(), entry.Tag), root.err)
	}
	unread := &inspect.Summary{Tag: entry.Tag, Digest: entry.Descriptor.Digest, MediaType: entry.Descriptor.MediaType}
	return inspectedCache{Summary: unread, Error: err.Error(), err: err}
}
