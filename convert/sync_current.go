package convert

import (
	"context"
	"errors"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// Checked says what a check covers.
type Checked string

// What is checked: whether the root is there, whether everything that it names is, or all bytes.
const (
	CheckedRoots Checked = "roots"
	CheckedBlobs Checked = "blobs"
	CheckedBytes Checked = "bytes"
)

// checked says how caches that are there already are checked.
func (s *syncer) checked() Checked {
	_, cheap := s.dst.(layout.RandomAccess)
	switch {
	case s.o.Deep:
		return CheckedBytes
	case s.o.Look || cheap:
		return CheckedBlobs
	default:
		return CheckedRoots
	}
}

// isCurrent reports whether the destination's old root is what the source's would become, with everything it names, as far as
// that is checked. For a conversion this means: a plan that takes every layer from the old root yields the old root. With
// pruning rules, it is what they leave of the source's cache now. Nothing is written to find out.
func (s *syncer) isCurrent(ctx context.Context, entry, old layout.Entry, onEvent layout.Handler) (bool, error) {
	same := entry.Descriptor.Digest == old.Descriptor.Digest
	switch {
	case s.o.copies() && !same:
		return false, nil
	case s.o.copies() && same && old.Kind == layout.KindCache && s.checked() == CheckedRoots:
		return true, nil // both places read it in order to list it
	}
	theirs, err := s.load(ctx, s.dst, old, s.o.Compression != "")
	if err != nil {
		if ctx.Err() != nil {
			return false, err
		}
		return false, nil // what can't be read is not current
	}
	if !s.o.copies() {
		if same, err := s.isOutcome(ctx, entry, theirs); err != nil || !same {
			return false, err
		}
	}
	if s.checked() == CheckedRoots {
		return true, nil
	}
	return s.isWhole(ctx, theirs, onEvent)
}

// load reads as much of a cache as is needed to compare it: without its config if that is not needed, and configs are not checked
// either.
func (s *syncer) load(ctx context.Context, src layout.Source, entry layout.Entry, config bool) (*layout.Cache, error) {
	if config || s.checked() != CheckedRoots {
		return layout.Load(ctx, src, entry)
	}
	raw, err := layout.ReadBlob(ctx, src, entry.Descriptor, buildcache.MaxRoot)
	if err != nil {
		return nil, err
	}
	root, err := buildcache.ParseRoot(raw)
	return &layout.Cache{Entry: entry, Root: root, RawRoot: raw}, err
}

// isOutcome reports whether a cache of the destination is what the source's would become.
func (s *syncer) isOutcome(ctx context.Context, entry layout.Entry, theirs *layout.Cache) (bool, error) {
	ours, err := s.load(ctx, s.src, entry, s.o.Compression != "" || s.o.prunes())
	if err != nil {
		return false, err
	}
	if ours, _, err = s.o.cut(ours); err != nil {
		return false, err
	}
	known := knowledge{}
	if s.o.Compression != "" {
		if known.encoding, err = encodings(ctx, s.src, ours.Root); err != nil {
			return false, err
		}
	}
	p := newPlan(ours, s.o.Options, known)
	if s.o.Compression != "" && !p.take(ours, theirs, s.o.Prune.Fit) {
		return false, nil
	}
	for _, form := range s.o.forms(ours.Root.Form) {
		p.form = form
		result, _, err := s.o.assemble(ours, p)
		if errors.Is(err, buildcache.ErrNoResults) {
			return false, nil // judged by theirs; a real conversion may leave some
		}
		if err != nil {
			return false, err
		}
		if result.Entry.Descriptor.Digest == theirs.Entry.Descriptor.Digest {
			return true, nil
		}
	}
	return false, nil
}

// isWhole reports whether all layers of a cache are in the destination, and with Deep whether their bytes are right.
func (s *syncer) isWhole(ctx context.Context, cache *layout.Cache, onEvent layout.Handler) (bool, error) {
	missing, err := absent(ctx, s.dst, cache.Root)
	if err != nil || len(missing) > 0 {
		return false, err
	}
	if !s.o.Deep {
		return true, nil
	}
	layers := cache.Root.LayersByDigest()
	announceHeld(layers, onEvent)
	for _, layer := range layers {
		err := readHeld(ctx, s.dst, layer, onEvent)
		if isBroken(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// take fills every step that would recompress a layer with the blob that another cache has in the layer's place. It reports
// whether there is one for each. With fit some may be missing, as the other cache may have been cut down to what fits: those are
// imagined.
func (p *plan) take(ours, theirs *layout.Cache, fit bool) bool {
	if len(ours.Config.Layers) != len(theirs.Config.Layers) && (!fit || len(ours.Config.Layers) < len(theirs.Config.Layers)) {
		return false
	}
	theirBlobs := standsFor(ours, theirs)
	for i := range p.steps {
		s := &p.steps[i]
		if s.action == Keep {
			continue
		}
		their, ok := theirBlobs[s.from.Digest]
		if !ok && fit {
			s.action, s.to = Reuse, p.imagined(s.from)
			continue
		}
		blob, ok := p.blobOf(their, s)
		if !ok {
			return false
		}
		s.action, s.to = Reuse, &blob
	}
	return true
}

// blobOf reads a descriptor as the outcome of a step, if it can be one.
func (p *plan) blobOf(d buildcache.Descriptor, s *step) (buildcache.Blob, bool) {
	if assume(d).Compression != p.compression {
		return buildcache.Blob{}, false
	}
	estargz := p.compression == buildcache.Estargz || s.encoding.Compression == buildcache.Estargz
	if !estargz && d.DiffID() != s.from.DiffID() {
		return buildcache.Blob{}, false
	}
	return buildcache.BlobOf(d, p.compression), true
}
