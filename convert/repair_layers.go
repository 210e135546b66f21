package convert

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// mend returns a cache as it should be, or nil if it can't be repaired. If nothing is wrong, it keeps its bytes.
func (r *repairer) mend(ctx context.Context, cache *layout.Cache) (*layout.Cache, error) {
	if cache.Config == nil || len(r.result.Left) > 0 {
		return nil, nil
	}
	facts, err := r.measureAll(ctx, cache.Root)
	if err != nil {
		return nil, err
	}
	r.result.sound = soundIn(facts)
	before := len(r.result.Repairs)
	if err := r.relist(ctx, cache, facts); err != nil {
		return nil, err
	}
	r.describe(cache.Root, facts)
	if len(r.result.Left) > 0 {
		return nil, nil
	}
	problems := errorsOf(cache)
	if len(r.result.Repairs) == before && len(problems) == 0 && isAsRead(cache) {
		return cache, nil // only the tag or blobs need repair, if anything
	}
	pruned, err := buildcache.Prune(buildcache.Cache{Root: cache.Root, Config: cache.Config}, buildcache.PruneRules{})
	var refused *buildcache.RefusedError
	if errors.As(err, &refused) {
		r.result.Left = append(r.result.Left, refused.Problems...)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if pruned.Kept.Results == 0 {
		r.leave(buildcache.NoResults, "records", "", "without the missing layers, no result is left"+r.guess())
		return nil, nil
	}
	for _, f := range pruned.Freed {
		r.result.Lost, r.result.Rest = f.Extent, &pruned.Kept // of the one rule that always applies
	}
	r.tellDropped(cache.Config, facts, problems)
	pruned.Root = pruned.Root.WithForm(pruned.Root.Form)
	return seal(pruned.Cache)
}

// tellDropped notes what is dropped for a reason other than a layer that can't be found anywhere.
func (r *repairer) tellDropped(config *buildcache.Config, facts map[digest.Digest]*fact, problems []buildcache.Problem) {
	unlisted := false
	for _, p := range problems {
		unlisted = unlisted || p.Kind == buildcache.LayerUnlisted
		if p.Kind == buildcache.RecordDigest {
			r.note(p.Kind, p.Digest, "%s: %s; it is dropped", p.Where, p.Detail)
		}
	}
	told := map[digest.Digest]bool{}
	for _, layer := range config.Layers {
		if unlisted && facts[layer.Blob] == nil && !told[layer.Blob] {
			told[layer.Blob] = true
			r.note(buildcache.LayerUnlisted, layer.Blob, "the root does not list the layer; results that need it are dropped%s", r.guess())
		}
	}
}

// guess says that layers could be matched by position, if they could and were not.
func (r *repairer) guess() string {
	if !r.guessable || r.o.ByPosition {
		return ""
	}
	return "; to match layers by their position in the root, use --by-position, which is wrong if their order has changed"
}

// isAsRead reports whether a root's bytes have its digest, and still state the size of its config.
func isAsRead(cache *layout.Cache) bool {
	root, err := buildcache.ParseRoot(cache.RawRoot)
	return err == nil && root.Config.Size == cache.Root.Config.Size && cache.Entry.Descriptor.Digest.Algorithm().FromBytes(cache.RawRoot) == cache.Entry.Descriptor.Digest
}

// describe corrects the root's descriptors, and drops those of layers that can't be found anywhere.
func (r *repairer) describe(root *buildcache.Root, facts map[digest.Digest]*fact) {
	told := map[digest.Digest]bool{}
	var layers []buildcache.Descriptor
	for _, layer := range root.Layers {
		f := facts[layer.Digest]
		if f == nil { // a config, which is handled elsewhere
			layers = append(layers, layer)
			continue
		}
		if !told[layer.Digest] {
			told[layer.Digest] = true
			r.tell(root.LayersByDigest()[layer.Digest], f)
		}
		if f.there {
			layers = append(layers, f.Descriptor)
		}
	}
	root.Layers = layers
}

// tell notes what is wrong with a layer.
func (r *repairer) tell(was buildcache.Descriptor, f *fact) {
	switch {
	case !f.there && f.err != nil:
		r.note(buildcache.LayerUnreadable, f.Digest, "the layer can't be unpacked; it is dropped, with the results that need it: %v", f.err)
		return
	case f.held:
		r.leave(buildcache.BlobDamaged, "layer", f.Digest, "the layer is damaged; a base has it intact, but the registry keeps its damaged copy: have an administrator "+
			"delete that, or copy the cache from the base to another registry; only without a base, what needs the layer is dropped")
		return
	case !f.there && f.damaged:
		r.discard = append(r.discard, f.Digest)
		r.note(buildcache.BlobDamaged, f.Digest, "the layer is damaged; it is dropped, with the results that need it")
		return
	case !f.there:
		r.note(buildcache.BlobMissing, f.Digest, "the layer is missing; it is dropped, with the results that need it")
		return
	case f.based && f.damaged:
		r.note(buildcache.BlobDamaged, f.Digest, "the layer is damaged; it is taken from a base")
	case f.based:
		r.note(buildcache.BlobMissing, f.Digest, "the layer is missing; it is taken from a base")
	}
	if was.Size != f.Size {
		r.note(buildcache.BlobSize, f.Digest, "the layer has %d bytes, but its descriptor says %d", f.Size, was.Size)
	}
	if was.MediaType != f.MediaType {
		r.note(buildcache.LayerMislabelled, f.Digest, "the layer's bytes are %s, but its descriptor says %s", f.MediaType, was.MediaType)
	}
	if was.DiffID() != f.DiffID() {
		kind := buildcache.LayerDiffID
		if was.DiffID() == "" {
			kind = buildcache.LayerNoDiffID
		}
		r.note(kind, f.Digest, "the layer's diffID is %s, but its descriptor says %q", f.DiffID(), was.DiffID())
	}
	if _, err := was.CreatedAt(); err != nil {
		delete(f.Annotations, buildcache.AnnotationCreatedAt)
		r.note(buildcache.LayerCreatedAt, f.Digest, "the layer's creation time is invalid; it is left out")
	}
}

// relist points the config to the layers that the root lists, if it names them by their digests from before they were
// recompressed.
func (r *repairer) relist(ctx context.Context, cache *layout.Cache, facts map[digest.Digest]*fact) error {
	unlisted := map[digest.Digest]bool{}
	for _, layer := range cache.Config.Layers {
		if facts[layer.Blob] == nil {
			unlisted[layer.Blob] = true
		}
	}
	if len(unlisted) == 0 {
		return nil
	}
	known, err := r.diffIDsOf(ctx, unlisted)
	if err != nil {
		return err
	}
	byDiffID, byPlace := byDiffIDs(facts), placesOf(cache, facts)
	told := map[digest.Digest]bool{}
	for i := range cache.Config.Layers {
		old := cache.Config.Layers[i].Blob
		if !unlisted[old] {
			continue
		}
		now, how := byDiffID[known[old]], "by its diffID"
		if now == "" && known[old] == "" {
			now, how = r.byPosition(byPlace[i]), "only by its position in the list"
		}
		if now == "" {
			continue // BuildKit drops what is not found
		}
		cache.Config.Layers[i].Blob = now
		if !told[old] {
			r.note(buildcache.LayerUnlisted, old, "the cache config references a layer that the root lists as %s (found %s)", now, how)
			told[old] = true
		}
	}
	if len(told) == 0 {
		return nil
	}
	raw, err := cache.Config.MarshalJSON()
	if err != nil {
		return fmt.Errorf("write cache config: %w", err)
	}
	cache.Root.SetConfig(raw)
	return nil
}

// byPosition returns the layer at the position of one that nothing else identifies, if that is wanted.
func (r *repairer) byPosition(layer digest.Digest) digest.Digest {
	r.guessable = r.guessable || layer != ""
	if !r.o.ByPosition {
		return ""
	}
	return layer
}

// byDiffIDs returns one layer for each diffID, always the same one if there are several.
func byDiffIDs(facts map[digest.Digest]*fact) map[digest.Digest]digest.Digest {
	by := map[digest.Digest]digest.Digest{}
	for blob, f := range facts {
		if id := f.DiffID(); f.there && id != "" && (by[id] == "" || blob < by[id]) {
			by[id] = blob
		}
	}
	return by
}

// diffIDsOf finds the diffIDs of layers that the root doesn't list: from roots that nothing names, or from the layers' bytes if they
// are still there.
func (r *repairer) diffIDsOf(ctx context.Context, blobs map[digest.Digest]bool) (map[digest.Digest]digest.Digest, error) {
	known := map[digest.Digest]digest.Digest{}
	if unnamer, ok := r.place.(layout.Unnamer); ok {
		roots, err := unnamer.UnnamedRoots(ctx)
		if err != nil {
			return nil, err
		}
		for _, root := range roots {
			r.addDiffIDs(ctx, root, blobs, known)
		}
	}
	files, ok := r.place.(layout.RandomAccess)
	if !ok {
		return known, nil
	}
	for blob := range blobs {
		if known[blob] != "" || buildcache.CheckDigest(blob) != nil {
			continue
		}
		file, err := files.OpenAt(ctx, buildcache.Descriptor{Digest: blob})
		if err != nil {
			continue
		}
		sums, err := sumTar(ctx, r.place, buildcache.Descriptor{Digest: blob, Size: file.Size()}, r.o.decoder, func(int64) {})
		if err = errors.Join(err, file.Close()); err == nil {
			known[blob] = sums.tar
		}
	}
	return known, context.Cause(ctx)
}

// addDiffIDs adds the diffIDs that another root states. A root that can't be read states none.
func (r *repairer) addDiffIDs(ctx context.Context, root digest.Digest, blobs map[digest.Digest]bool, known map[digest.Digest]digest.Digest) {
	raw, err := layout.ReadUnverified(ctx, r.place, buildcache.Descriptor{Digest: root}, buildcache.MaxRoot)
	if err != nil {
		return
	}
	old, err := buildcache.ParseRoot(raw)
	if err != nil {
		return
	}
	for blob, layer := range old.LayersByDigest() {
		if blobs[blob] && known[blob] == "" && buildcache.CheckDigest(layer.DiffID()) == nil {
			known[blob] = layer.DiffID()
		}
	}
}

// placesOf returns the root's layer at the position of each of the config's layers, if the two lists have the same length
// and agree on everything they have in common.
func placesOf(cache *layout.Cache, facts map[digest.Digest]*fact) map[int]digest.Digest {
	listed := slices.DeleteFunc(slices.Clone(cache.Root.Layers), func(d buildcache.Descriptor) bool { return facts[d.Digest] == nil })
	if len(listed) != len(cache.Config.Layers) {
		return nil
	}
	at := map[int]digest.Digest{}
	for i, layer := range cache.Config.Layers {
		if facts[layer.Blob] != nil && listed[i].Digest != layer.Blob {
			return nil
		}
		if facts[listed[i].Digest].there {
			at[i] = listed[i].Digest
		}
	}
	return at
}
