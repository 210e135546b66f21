package main

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/explain"
	"github.com/ocicache/ocicache/inspect"
	"github.com/ocicache/ocicache/layout"
)

// inspectedRoots are the roots that were looked into, each once: a root may have many tags, and be large.
type inspectedRoots struct {
	namer  *namer
	listed bool // the records are to be listed
	found  map[rootKey]inspectedRoot
}

// rootKey is a root as an entry names it: one that says another size is not read as the same.
type rootKey struct {
	digest digest.Digest
	size   int64
}

// inspectedRoot is what was found out about a root, or why that can't be told.
type inspectedRoot struct {
	detailed inspect.Detailed
	named    *explain.Named
	err      error
}

// of returns what is in the cache of an entry. The tags of a root share all of it but their name.
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
