package convert

import (
	"cmp"
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// SyncOptions say what a sync does. The zero value copies every cache under its own tag, unchanged.
type SyncOptions struct {
	Options
	// Match chooses caches by tag; nil chooses all.
	Match func(tag string) bool
	// Tag is the tag in the destination of all that is chosen, which must be one cache then; "" keeps tags.
	Tag string
	// FailFast stops after the first cache that fails.
	FailFast bool
	// OnEntry hears of each cache as it is done with.
	OnEntry func(SyncEntry)
}

// SyncEntry is what became of one cache. Moved is in bytes of layers.
type SyncEntry struct {
	From       string          `json:"from"` // tag in the source
	To         string          `json:"to"`   // tag in the destination
	FromDigest digest.Digest   `json:"fromDigest"`
	ToDigest   digest.Digest   `json:"toDigest,omitempty"`
	Form       buildcache.Form `json:"form,omitempty"`
	Moved      int64           `json:"moved"`
	Skipped    bool            `json:"skipped"` // the destination had it already
	Notes      []string        `json:"notes,omitempty"`
	Error      string          `json:"error,omitempty"`
	Err        error           `json:"-"`
}

// SyncResult is what a sync did.
type SyncResult struct {
	Caches []SyncEntry `json:"caches"`
	Others int         `json:"others"` // entries that are no caches, and were passed over
	Failed int         `json:"failed"`
	Moved  int64       `json:"moved"`
}

// Sync brings the caches of src to dst that are not there yet, converting them on the way if the options say so. It
// goes on after a cache that fails. An error means that it could not even begin, or was interrupted. For a dry run, dst
// may be nil: a place that is not there yet.
func Sync(ctx context.Context, src layout.Source, dst layout.Place, o SyncOptions) (*SyncResult, error) {
	result := &SyncResult{Caches: []SyncEntry{}}
	entries, err := chosen(ctx, src, o, result)
	if err != nil {
		return nil, err
	}
	there := map[string]layout.Entry{}
	if o.Holdings = (Holdings{}); dst != nil {
		if there, err = tagged(ctx, dst); err != nil {
			return nil, err
		}
		if o.Holdings, err = Collect(ctx, dst, o.Compression); err != nil {
			return nil, err
		}
	}
	for _, f := range entries {
		done := syncOne(ctx, src, f, dst, there, o)
		if err := context.Cause(ctx); err != nil {
			return result, err
		}
		if done.Err != nil {
			done.Error = done.Err.Error()
			result.Failed++
		}
		result.Caches = append(result.Caches, done)
		result.Moved += done.Moved
		if o.OnEntry != nil {
			o.OnEntry(done)
		}
		if done.Err != nil && o.FailFast {
			break
		}
	}
	return result, nil
}

// chosen returns the caches to sync, those that can't be read among them.
func chosen(ctx context.Context, src layout.Source, o SyncOptions, result *SyncResult) ([]layout.Found, error) {
	found, err := layout.Survey(ctx, src)
	if err != nil {
		return nil, err
	}
	var entries []layout.Found
	for _, f := range found {
		switch {
		case o.Match != nil && !o.Match(f.Tag):
		case f.Kind == layout.KindOther:
			result.Others++
		default:
			entries = append(entries, f)
		}
	}
	if o.Tag != "" && len(entries) > 1 {
		e := &layout.AmbiguousError{Place: fmt.Sprint(src)}
		for _, f := range entries {
			e.Tags = append(e.Tags, f.Tag)
		}
		return nil, e
	}
	return entries, nil
}

// tagged returns what has which tag in a place.
func tagged(ctx context.Context, place layout.Source) (map[string]layout.Entry, error) {
	entries, err := place.Entries(ctx)
	if err != nil {
		return nil, err
	}
	tags := make(map[string]layout.Entry, len(entries))
	for _, entry := range entries {
		if _, ok := tags[entry.Tag]; !ok {
			tags[entry.Tag] = entry
		}
	}
	return tags, nil
}

func syncOne(
	ctx context.Context, src layout.Source, f layout.Found, dst layout.Place, there map[string]layout.Entry, o SyncOptions,
) SyncEntry {
	entry := SyncEntry{From: f.Tag, To: cmp.Or(o.Tag, f.Tag, "latest"), FromDigest: f.Root.Digest}
	switch f.Kind {
	case layout.KindDangling:
		entry.Err = &layout.DanglingError{Place: fmt.Sprint(src), Tag: f.Tag, Root: f.Root.Digest, Err: f.Err}
		return entry
	case layout.KindInvalid:
		entry.Err = fmt.Errorf("root %s: %w", f.Root.Digest, f.Err)
		return entry
	case layout.KindCache, layout.KindOther:
	}
	if old, ok := there[entry.To]; ok {
		current, err := isCurrent(ctx, src, f.Entry, dst, old, o)
		if err != nil {
			entry.Err = err
			return entry
		}
		if current {
			entry.ToDigest, entry.Skipped = old.Root.Digest, true
			return entry
		}
	}
	result, err := Convert(ctx, src, f.Entry, dst, entry.To, o.Options)
	if err != nil {
		entry.Err = err
		return entry
	}
	o.Holdings.learn(result, o.Compression)
	entry.ToDigest, entry.Form, entry.Moved, entry.Notes = result.To.Digest, result.To.Form, result.Moved, result.Notes
	return entry
}

// isCurrent says whether the destination's old root is what the source's would become. With a conversion that is: the
// plan in which every layer is taken from the old root gives the old root. Nothing is written to find out.
func isCurrent(
	ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place, old layout.Entry, o SyncOptions,
) (bool, error) {
	if o.copies() {
		return entry.Root.Digest == old.Root.Digest, nil
	}
	theirs, err := layout.Load(ctx, dst, old)
	if err != nil {
		if ctx.Err() != nil {
			return false, err
		}
		return false, nil // what can't be read is not current
	}
	ours, err := layout.Load(ctx, src, entry)
	if err != nil {
		return false, err
	}
	known := knowledge{}
	if o.Compression != "" {
		if known.packing, err = packings(ctx, src, ours.Manifest); err != nil {
			return false, err
		}
	}
	plan := newPlan(ours, o.Options, known)
	if !plan.take(ours, theirs) {
		return false, nil
	}
	for _, form := range o.forms(ours.Manifest.Form) {
		plan.Form = form
		result, err := assemble(ours, plan)
		if err != nil {
			return false, err
		}
		if result.Entry.Root.Digest == old.Root.Digest {
			return true, nil
		}
	}
	return false, nil
}

// take fills every step that would recompress a layer with the blob that stands in the layer's place in another cache.
// It says whether there is one for each.
func (p *Plan) take(ours, theirs *layout.Cache) bool {
	if len(ours.Config.Layers) != len(theirs.Config.Layers) {
		return false
	}
	listed := theirs.Manifest.LayersByDigest()
	standsFor := map[digest.Digest]buildcache.Descriptor{}
	for i, layer := range ours.Config.Layers {
		standsFor[layer.Blob] = listed[theirs.Config.Layers[i].Blob]
	}
	for i := range p.Steps {
		step := &p.Steps[i]
		if step.Action == Keep {
			continue
		}
		blob, ok := p.blobOf(standsFor[step.From.Digest], step)
		if !ok {
			return false
		}
		step.Action, step.To = Reuse, &blob
	}
	return true
}

// blobOf reads a descriptor as the outcome of a step, if it can be that.
func (p *Plan) blobOf(d buildcache.Descriptor, step *Step) (buildcache.Blob, bool) {
	if assume(d).Compression != p.Compression {
		return buildcache.Blob{}, false
	}
	estargz := p.Compression == buildcache.Estargz || step.Packing.Compression == buildcache.Estargz
	if !estargz && d.DiffID() != step.From.DiffID() {
		return buildcache.Blob{}, false
	}
	return buildcache.BlobOf(d, p.Compression), true
}
