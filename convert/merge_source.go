package convert

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// prepare finds out what there is to do for a merge, and refuses what would fail in the end anyway.
func (m *merger) prepare(ctx context.Context, caches []*layout.Cache, u *united, was digest.Digest) (*job, []buildcache.Problem, error) {
	cache, err := seal(u.value)
	if err != nil {
		return nil, nil, err
	}
	src, err := m.find(ctx, caches, cache.Root)
	if err != nil {
		return nil, nil, err
	}
	known, err := gather(ctx, src, m.dst, cache, m.o.Options)
	if err != nil {
		return nil, nil, err
	}
	p := m.planOf(cache, known)
	dropped, err := m.fitBefore(u, p)
	if err != nil {
		return nil, nil, err
	}
	if dropped {
		if cache, err = seal(u.value); err != nil {
			return nil, nil, err
		}
		p = m.planOf(cache, known)
	}
	warnings, err := preflight(cache, p, m.o.Options)
	if err != nil {
		return nil, nil, err
	}
	j := &job{src: src, dst: m.dst, tag: m.tag, was: was, cache: cache, plan: p, o: m.o.Options}
	j.finish = func(p *plan) (*layout.Cache, error) { return m.assemble(u, p) }
	return j, warnings, nil
}

// fold replaces every layer by another blob that already has it in the wanted compression, if there is one.
func (p *plan) fold(o Options) {
	if o.Compression == "" || o.Compression == buildcache.Estargz || o.Force {
		return
	}
	has := func(s step) bool { return s.action == Keep && s.encoding.Compression == o.Compression }
	best := map[digest.Digest]buildcache.Blob{}
	for _, s := range p.steps {
		id := s.from.DiffID()
		if !has(s) || buildcache.CheckDigest(id) != nil {
			continue
		}
		blob := buildcache.BlobOf(s.from, o.Compression)
		if other, ok := best[id]; !ok || better(blob, other) {
			best[id] = blob
		}
	}
	for i := range p.steps {
		s := &p.steps[i]
		blob, ok := best[s.from.DiffID()]
		if !ok || blob.Digest == s.from.Digest || s.encoding.Compression == buildcache.Estargz {
			continue
		}
		s.action, s.to, s.twin = Reuse, &blob, true
	}
}

// mergedSource presents the layers of several places as those of one.
type mergedSource struct {
	name string
	of   map[digest.Digest]layout.Source
}

// sourceOf returns the place that has a layer.
func sourceOf(src layout.Source, blob buildcache.Descriptor) layout.Source {
	if merged, ok := src.(*mergedSource); ok && merged.of[blob.Digest] != nil {
		return merged.of[blob.Digest]
	}
	return src
}

// find finds a place for every layer of root, if possible one that is read without a network. It fails with a
// *ProofError if no source has a layer.
func (m *merger) find(ctx context.Context, caches []*layout.Cache, root *buildcache.Root) (*mergedSource, error) {
	holders := map[digest.Digest][]layout.Source{}
	for i, cache := range caches {
		for blob := range cache.Root.LayersByDigest() {
			holders[blob] = append(holders[blob], m.sources[i].Source)
		}
	}
	src := &mergedSource{name: fmt.Sprintf("the %d sources", len(m.sources)), of: map[digest.Digest]layout.Source{}}
	layers := root.LayersByDigest()
	found, digests := make([]layout.Source, len(layers)), make([]digest.Digest, 0, len(layers))
	group, groupCtx := parallel.New(ctx, lookUps)
	for blob, layer := range layers {
		at := len(digests)
		digests = append(digests, blob)
		group.Go(func() (err error) {
			found[at], err = holder(groupCtx, holders[blob], layer)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, blob := range digests {
		src.of[blob] = found[i]
	}
	var problems []buildcache.Problem
	for i, layer := range root.Layers {
		if src.of[layer.Digest] == nil {
			p := buildcache.NewProblem(buildcache.BlobMissing, fmt.Sprintf("root.layers[%d]", i), "no source has the layer").On(layer.Digest)
			for _, place := range holders[layer.Digest] {
				is, err := lacks(ctx, place, layer, p.Where)
				if err != nil {
					return nil, err
				}
				if is.Kind != buildcache.BlobMissing {
					p = is
				}
			}
			problems = append(problems, p)
		}
	}
	if len(problems) > 0 {
		return nil, &ProofError{Problems: problems}
	}
	return src, nil
}

// holder returns the first place that has a layer, nil if none has it. Places reached over a network come last, and the last of those is
// returned without asking it.
func holder(ctx context.Context, places []layout.Source, layer buildcache.Descriptor) (layout.Source, error) {
	isNear := func(src layout.Source) int {
		if _, ok := src.(layout.RandomAccess); ok {
			return 0
		}
		return 1
	}
	places = slices.SortedStableFunc(slices.Values(places), func(a, b layout.Source) int { return cmp.Compare(isNear(a), isNear(b)) })
	for i, place := range places {
		if i == len(places)-1 && isNear(place) > 0 {
			return place, nil
		}
		if has, err := place.Has(ctx, layer); err != nil || has {
			return place, err
		}
	}
	return nil, nil
}

// String returns a name for all of them.
func (s *mergedSource) String() string { return s.name }

// Entries returns nothing: there are only layers.
func (s *mergedSource) Entries(context.Context) ([]layout.Entry, error) { return nil, nil }

// Has reports whether one of the places has a layer.
func (s *mergedSource) Has(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	src := s.of[blob.Digest]
	if src == nil {
		return false, nil
	}
	return src.Has(ctx, blob)
}

// Open returns the bytes of a layer.
func (s *mergedSource) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	src := s.of[blob.Digest]
	if src == nil {
		return nil, &layout.BlobError{Digest: blob.Digest, Place: s.name, Err: layout.ErrBlobMissing}
	}
	return src.Open(ctx, blob)
}
