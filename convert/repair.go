package convert

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// RepairOptions say how a cache is repaired. The zero value only says what would be done.
type RepairOptions struct {
	Write bool          // do it
	Root  digest.Digest // the root for a tag that is missing, or whose root is; "" for the newest root that nothing names
	// Tag is the tag to repair, "" for all of them. If it is set, no other tag is given to a root.
	Tag  string
	Base []layout.Source
	// Deep unpacks every layer and compares its diffID. Otherwise only layers without a diffID are unpacked.
	Deep bool
	// ByPosition also matches layers by their position in the list, if the config names them by their digests from before they were
	// recompressed and nothing else tells which they are. If the order has changed as well, builds get the wrong files.
	ByPosition bool
	OnEvent    layout.Handler

	decoder *compress.Decoder
}

// Repair is one thing that was repaired, or would be.
type Repair struct {
	Kind   buildcache.Kind `json:"kind"`
	Digest digest.Digest   `json:"digest,omitempty"` // the blob concerned
	What   string          `json:"what"`
}

// RepairResult says what became of a cache, or would become of it.
type RepairResult struct {
	Tag     string        `json:"tag,omitempty"`
	From    digest.Digest `json:"from"`
	To      digest.Digest `json:"to,omitempty"` // "" if it can't be repaired
	Repairs []Repair      `json:"repairs"`
	// Lost is what was dropped with layers that can't be found anywhere, and Rest what is left then.
	Lost buildcache.Extent  `json:"lost"`
	Rest *buildcache.Extent `json:"rest,omitempty"` // if something is lost
	// Checked says how layers were checked. Without Deep, a registry is only asked whether it has them, which finds no damage.
	Checked Checked `json:"checked"`
	// Left are the errors that can't be repaired.
	Left []buildcache.Problem `json:"left,omitempty"`
	// Kept are damaged blobs that stay because something else in the place names them too.
	Kept []digest.Digest `json:"kept,omitempty"`
	// Foreign says that the root is missing or unreadable, and that what is left of the entry points to something other than a cache.
	// Nothing is done about it.
	Foreign bool `json:"foreign,omitempty"`
	Written bool `json:"written"`
	// Error is why the repair failed, if it did.
	Error string `json:"error,omitempty"`
	Err   error  `json:"-"`

	sound map[digest.Digest]bool // whether layers in the place match their digests
}

// RepairCache repairs what can be repaired in a cache, and drops what is lost:
//
//   - A tag whose root is missing gets Root, or, if there is no other entry, the newest unnamed root; one that names an index
//     with only a cache in it gets that cache. What doesn't belong to a cache is left as it is.
//   - Missing or damaged blobs are taken from a base. Layers that can't be found anywhere are dropped with the results that need
//     them; records stay, as far as others depend on them. If a base has a layer, but the place won't replace its damaged copy, nothing
//     is done.
//   - Sizes, media types and diffIDs that are wrong or missing are measured.
//   - Layers that the config names by their digests from before they were recompressed are found by their diffIDs, or, if that is
//     not possible, by their positions with ByPosition.
//
// What is written was proved to be what BuildKit imports in full; the tag moves last. What can't be repaired is in the result.
func RepairCache(ctx context.Context, place layout.Place, entry layout.Entry, o RepairOptions) (result *RepairResult, err error) {
	o.decoder = compress.NewDecoder()
	if locker, ok := place.(layout.Locker); ok && o.Write {
		unlock, lockErr := locker.Lock(ctx)
		if lockErr != nil {
			return nil, lockErr
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	result = &RepairResult{Tag: entry.Tag, From: entry.Descriptor.Digest, Repairs: []Repair{}, Checked: CheckedBytes}
	if _, near := place.(layout.RandomAccess); !near && !o.Deep {
		result.Checked = CheckedBlobs
	}
	r := &repairer{place: place, o: o, result: result, based: map[digest.Digest]layout.Source{}}
	if err = r.repair(ctx, entry); err != nil {
		err = fmt.Errorf("%s: %w", MergeSource{place, entry}.name(), err)
		result.Error, result.Err = err.Error(), err
	}
	return result, err
}

// repairer repairs one cache.
type repairer struct {
	place   layout.Place
	o       RepairOptions
	result  *RepairResult
	discard []digest.Digest // damaged and no longer needed
	// guessable says that layers that the root doesn't list could be matched by position.
	guessable bool
	// based are the bases that would give blobs, if nothing is to be written.
	based map[digest.Digest]layout.Source
}

// readTries is how often something that looks damaged is read, so that nothing is given up because a transfer ended early.
const readTries = 2

// discarder is a place that can remove a blob with the wrong bytes.
type discarder interface {
	DiscardDamaged(ctx context.Context, blob digest.Digest) (kept bool, err error)
}

func (r *repairer) note(kind buildcache.Kind, blob digest.Digest, format string, args ...any) {
	r.result.Repairs = append(r.result.Repairs, Repair{Kind: kind, Digest: blob, What: fmt.Sprintf(format, args...)})
}

// leave says what can't be repaired.
func (r *repairer) leave(kind buildcache.Kind, where string, blob digest.Digest, detail string) {
	r.result.Left = append(r.result.Left, buildcache.NewProblem(kind, where, detail).On(blob))
}

func (r *repairer) repair(ctx context.Context, entry layout.Entry) error {
	found, err := r.findRoot(ctx, entry)
	if err != nil || found == nil {
		return err
	}
	broken, err := r.load(ctx, *found)
	if err != nil || broken == nil {
		return err
	}
	broken.Entry.Tag = entry.Tag
	now, err := r.mend(ctx, broken)
	if err != nil || now == nil {
		return err
	}
	if left := errorsOf(now); len(left) > 0 {
		r.result.Left = append(r.result.Left, left...)
		return nil
	}
	r.result.To = now.Entry.Descriptor.Digest
	if len(r.result.Repairs) == 0 {
		return nil
	}
	if !r.o.Write {
		return r.suppose(ctx, entry, now)
	}
	old := *broken
	old.Entry.Descriptor.Digest = entry.Descriptor.Digest // what the tag names now
	if _, err := rewrite(ctx, r.place, &old, now, r.o.OnEvent); err != nil {
		return err
	}
	r.result.Written = true
	return r.discardDamaged(ctx)
}

// discardDamaged removes what was damaged and is no longer needed, where that is possible.
func (r *repairer) discardDamaged(ctx context.Context) error {
	place, ok := r.place.(discarder)
	if !ok {
		return nil
	}
	for _, blob := range r.discard {
		if blob == r.result.To {
			continue // what was written there is right
		}
		kept, err := place.DiscardDamaged(ctx, blob)
		if err != nil {
			return fmt.Errorf("the tag points to the repaired cache, but then: %w", err)
		}
		if kept {
			r.result.Kept = append(r.result.Kept, blob)
		}
	}
	return nil
}

// suppose moves the tag in a view of the place, so that what is checked later is what there would be.
func (r *repairer) suppose(ctx context.Context, entry layout.Entry, now *layout.Cache) error {
	if view, ok := r.place.(restorer); !ok || !view.IsAssumed() || entry.Descriptor.Digest == now.Entry.Descriptor.Digest {
		return nil
	}
	return r.place.Tag(ctx, entry.Tag, now.Entry.Descriptor, entry.Descriptor.Digest)
}

// findRoot returns the root of the cache that a tag is to name, or nil if there is none.
func (r *repairer) findRoot(ctx context.Context, entry layout.Entry) (*layout.Entry, error) {
	switch entry.Kind {
	case layout.KindCache:
		return &entry, nil
	case layout.KindDangling:
		return r.findUnnamed(ctx, entry)
	case layout.KindIndex:
		return r.unwrap(ctx, entry)
	case layout.KindInvalid, layout.KindImage, layout.KindUnknown:
	}
	if err := notRead(entry); err != nil {
		return nil, err
	}
	found, err := r.rootFromBase(ctx, entry)
	if err != nil {
		return nil, err
	}
	if found == nil {
		if r.result.Foreign = entry.IsForeign(); !r.result.Foreign {
			r.leave(buildcache.RootInvalid, "root", entry.Descriptor.Digest, "the root can't be read as a cache, and no base has it")
		}
		return nil, nil
	}
	r.note(buildcache.RootDamaged, entry.Descriptor.Digest, "the root is taken from a base")
	return found, nil
}

// findUnnamed finds a root for a tag whose root is missing.
func (r *repairer) findUnnamed(ctx context.Context, entry layout.Entry) (*layout.Entry, error) {
	found, err := r.rootFromBase(ctx, entry)
	if err != nil {
		return nil, err
	}
	if found != nil {
		r.note(buildcache.RootMissing, entry.Descriptor.Digest, "the root is taken from a base")
		return found, nil
	}
	if r.result.Foreign = entry.IsForeign(); r.result.Foreign {
		return nil, nil
	}
	other, err := newest(ctx, r.place, r.o.Root)
	if err != nil {
		return nil, err
	}
	if other == nil {
		r.leave(buildcache.RootMissing, "root", entry.Descriptor.Digest, "the root is missing, no base has it, and there is no untagged root to take instead")
		return nil, nil
	}
	if alone, err := r.isAlone(ctx, entry); err != nil {
		return nil, err
	} else if !alone && r.o.Root == "" {
		r.leave(buildcache.RootMissing, "root", entry.Descriptor.Digest, fmt.Sprintf("the root is missing, and no base has it; as there are other entries, "+
			"it may have been an image, or a cache other than the untagged ones; to choose a root, use --root (the newest is %s)", other.Descriptor.Digest))
		return nil, nil
	}
	if err := r.o.checkFinished(ctx, r.place, other.Descriptor.Digest); err != nil {
		return nil, err
	}
	if entry.Descriptor.Digest == "" {
		r.note(buildcache.RootMissing, other.Descriptor.Digest, "the tag does not exist; the root %s gets it", other.Descriptor.Digest)
		return other, nil
	}
	r.note(buildcache.RootMissing, other.Descriptor.Digest, "the tag is pointed at the untagged root %s instead of %s, which is missing",
		other.Descriptor.Digest, entry.Descriptor.Digest)
	return other, nil
}

// isAlone reports whether a place has no entry under another tag. Nobody can tell what a missing root was: if there are other entries,
// the unnamed roots may be what those named before.
func (r *repairer) isAlone(ctx context.Context, entry layout.Entry) (bool, error) {
	entries, err := r.place.Entries(ctx)
	return !slices.ContainsFunc(entries, func(e layout.Entry) bool { return e.Tag != entry.Tag }), err
}

// unwrap returns the one cache in an index, if nothing else is in it.
func (r *repairer) unwrap(ctx context.Context, entry layout.Entry) (*layout.Entry, error) {
	cache, err := layout.CacheIn(ctx, r.place, entry)
	if cache != nil {
		r.note(buildcache.CacheInIndex, cache.Descriptor.Digest, "the tag points to an index with a cache in it; it is pointed at the cache")
	}
	return cache, err
}

// load reads root and config of a cache, even if what the root says about the config is wrong. It returns nil if there is nothing
// to work with.
func (r *repairer) load(ctx context.Context, entry layout.Entry) (*layout.Cache, error) {
	cache := &layout.Cache{Entry: entry}
	var err error
	src := r.sourceOf(entry.Descriptor.Digest)
	if cache.RawRoot, err = layout.ReadUnverified(ctx, src, entry.Descriptor, buildcache.MaxRoot); err != nil {
		return nil, fmt.Errorf("read root: %w", err)
	}
	if is := entry.Descriptor.Digest.Algorithm().FromBytes(cache.RawRoot); is != entry.Descriptor.Digest && src == layout.Source(r.place) {
		found, err := r.rootFromBase(ctx, entry)
		if err != nil {
			return nil, err
		}
		if found != nil {
			r.note(buildcache.RootDamaged, entry.Descriptor.Digest, "the root is taken from a base")
			return r.load(ctx, *found)
		}
		r.note(buildcache.RootDamaged, entry.Descriptor.Digest, "the root's bytes have another digest, %s; what they say about the layers is checked", is)
		r.o.Deep, r.result.Checked = true, CheckedBytes // nothing that such a root says is known to be true
		r.discard = append(r.discard, entry.Descriptor.Digest)
	}
	if cache.Root, err = buildcache.ParseRoot(cache.RawRoot); err != nil {
		r.leave(buildcache.RootInvalid, "root", entry.Descriptor.Digest, err.Error())
		return nil, nil
	}
	return cache, r.loadConfig(ctx, cache)
}

// loadConfig reads the config, from the place or a base. Without it, what is left of the cache is of no use.
func (r *repairer) loadConfig(ctx context.Context, cache *layout.Cache) error {
	config := cache.Root.Config
	raw, err := layout.ReadUnverified(ctx, r.place, config, buildcache.MaxConfig)
	var size *buildcache.SizeError
	if err != nil && !isBroken(err) && !errors.As(err, &size) && buildcache.CheckDigest(config.Digest) == nil {
		return err
	}
	kind := buildcache.ConfigMissing
	if err == nil && config.Digest.Algorithm().FromBytes(raw) != config.Digest {
		kind, err = buildcache.ConfigDamaged, layout.ErrBlobDamaged
	}
	if err != nil {
		if raw, err = r.configFromBase(ctx, config, kind); err != nil || raw == nil {
			return err
		}
	}
	if bytes := int64(len(raw)); bytes != config.Size {
		r.note(buildcache.BlobSize, config.Digest, "the cache config has %d bytes, but the root says %d", bytes, config.Size)
		cache.Root.Config.Size = bytes
	}
	cache.RawConfig = raw
	if cache.Config, err = buildcache.ParseConfig(raw); err != nil {
		r.leave(buildcache.ConfigInvalid, "config", config.Digest, err.Error())
	}
	return nil
}
