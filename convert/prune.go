package convert

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// PruneOptions say how a cache is pruned.
type PruneOptions struct {
	Rules   buildcache.PruneRules
	DryRun  bool // write nothing
	OnEvent layout.Handler
	// Explain, unless nil, gets each cache before anything is dropped, and how many results are left to each of its records, negative
	// for a record that is dropped itself. It may be called again for a cache whose tag moves meanwhile: the last call counts.
	Explain func(ctx context.Context, cache *layout.Cache, left []int) error
}

// PruneResult says what became of a cache, or would become of it. Sizes are in bytes.
type PruneResult struct {
	Tag  string `json:"tag,omitempty"`
	From Root   `json:"from"`
	To   Root   `json:"to"`
	Pruning
	Unchanged bool `json:"unchanged"` // no rule dropped anything
	DryRun    bool `json:"dryRun,omitempty"`
	// Unnamed is how many bytes no tag reaches any more; layout.Dir.GC frees them.
	Unnamed int64          `json:"unnamed,omitempty"`
	Took    layout.Seconds `json:"seconds"`
	// Error is why this cache failed, if it is one of several to prune.
	Error string `json:"error,omitempty"`
	Err   error  `json:"-"`

	left *layout.Cache
}

// Moves returns what the tag would name if a dry run were carried out. ok is false if it names that now.
func (r *PruneResult) Moves() (move layout.Planned, ok bool) {
	if r.left == nil || r.Unchanged || r.Err != nil {
		return layout.Planned{}, false
	}
	move.Tagging = layout.Tagging{Tag: r.Tag, Root: r.left.Entry.Descriptor, Was: r.From.Digest}
	move.Writes = [][]byte{r.left.RawRoot, r.left.RawConfig}
	move.Reaches = append(move.Reaches, r.left.Root.Config.Digest)
	for blob := range r.left.Root.LayersByDigest() {
		move.Reaches = append(move.Reaches, blob)
	}
	return move, true
}

// rewriteAttempts bounds how often a cache is read and changed again because its tag moved meanwhile.
const rewriteAttempts = 8

// Prune drops results of a cache by the rules, and everything that no other result needs, as buildcache.Prune says, and moves its tag
// to what is left, in the same form. No layer is read or written. The tag moves last, after the result was proved to be what BuildKit
// imports in full. If it has moved meanwhile, what it names then is pruned, a bounded number of times. Layers that are no longer
// needed stay in the place until somebody deletes what nothing names.
//
// It fails with an *EmptiedError if the rules would leave nothing, otherwise as Convert does.
func Prune(ctx context.Context, place layout.Place, entry layout.Entry, o PruneOptions) (result *PruneResult, err error) {
	begun := time.Now()
	if locker, ok := place.(layout.Locker); ok && !o.DryRun {
		unlock, lockErr := locker.Lock(ctx)
		if lockErr != nil {
			return nil, lockErr
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	for attempt := 1; ; attempt++ {
		result, err = prune(ctx, place, entry, o)
		var moved *layout.TagMovedError
		if !errors.As(err, &moved) || attempt == rewriteAttempts || entry.Tag == "" {
			break
		}
		now, findErr := layout.Find(ctx, place, entry.Tag)
		if findErr != nil || now == nil || now.Kind != layout.KindCache {
			return nil, errors.Join(err, findErr)
		}
		entry = *now
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", MergeSource{place, entry}.name(), err)
	}
	result.Took = layout.Seconds(time.Since(begun))
	return result, nil
}

// PruneAll prunes classified caches of a place, one after the other. It continues after one that fails, which is in the results with its
// error; an error means that it could not continue: it was interrupted, or the place is locked.
func PruneAll(ctx context.Context, place layout.Place, entries []layout.Entry, o PruneOptions) ([]*PruneResult, error) {
	results := []*PruneResult{}
	checks := make([]error, len(entries)) // before pruning leaves roots unnamed that dangling tags never named
	for i, entry := range entries {
		checks[i] = entry.Check(ctx, place)
	}
	for i, entry := range entries {
		var done *PruneResult
		err := checks[i]
		if err == nil {
			done, err = Prune(ctx, place, entry, o)
		}
		var locked *layout.LockedError
		switch {
		case ctx.Err() != nil:
			return results, context.Cause(ctx)
		case errors.As(err, &locked):
			return results, err
		case err != nil:
			done = &PruneResult{
				Tag: entry.Tag, From: Root{Digest: entry.Descriptor.Digest}, Pruning: Pruning{Freed: []buildcache.Freed{}},
				DryRun: o.DryRun, Err: err, Error: err.Error(),
			}
		}
		results = append(results, done)
	}
	return results, nil
}

func prune(ctx context.Context, place layout.Place, entry layout.Entry, o PruneOptions) (*PruneResult, error) {
	cache, err := layout.Load(ctx, place, entry)
	if err != nil {
		return nil, err
	}
	left, pruning, err := cut(cache, o.Rules)
	if err != nil {
		return nil, err
	}
	if o.Explain != nil {
		if err := o.Explain(ctx, cache, pruning.left); err != nil {
			return nil, err
		}
	}
	result := &PruneResult{
		Tag: entry.Tag, From: describe(cache), To: describe(left), Pruning: pruning, DryRun: o.DryRun, Unchanged: left == cache, left: left,
	}
	if result.Unchanged {
		return result, nil
	}
	if o.DryRun {
		return result, proveImport(ctx, place, left, Options{Form: left.Root.Form})
	}
	result.Unnamed, err = rewrite(ctx, place, cache, left, o.OnEvent)
	return result, err
}

// rewrite replaces the cache that a tag names with another one, whose layers the place has. It returns how many bytes no tag
// reaches any more.
func rewrite(ctx context.Context, place layout.Place, old, now *layout.Cache, onEvent layout.Handler) (int64, error) {
	j := &job{
		src: place, dst: place, inPlace: true, tag: old.Entry.Tag, was: old.Entry.Descriptor.Digest, cache: old,
		plan: &plan{form: now.Root.Form}, o: Options{Form: now.Root.Form, OnEvent: onEvent},
	}
	done, err := j.publish(ctx, now)
	if err != nil {
		return 0, err
	}
	return done.Unnamed, nil
}
