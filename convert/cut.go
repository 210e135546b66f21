package convert

import (
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// Pruning says what rules left of a cache, and what each of them dropped. Sizes are in bytes.
type Pruning struct {
	Before buildcache.Extent  `json:"before"`
	Kept   buildcache.Extent  `json:"kept"`
	Freed  []buildcache.Freed `json:"freed"`
	// Undated is how many results no rule about age could judge. They stay.
	Undated int `json:"undated,omitempty"`
	// Exceeds is the size of the layers as written, if recompression made it larger than the rule about bytes allows, else 0. That
	// rule counts layers as the source has them, and so do all other numbers here.
	Exceeds int64 `json:"exceeds,omitempty"`
	// Estimated says that Fit may drop more once layers are recompressed, which a dry run can't know.
	Estimated bool `json:"estimated,omitempty"`

	blobs map[digest.Digest]bool // of the layers left after the result was cut down
	left  []int                  // number of results kept of each record, negative for a record that is dropped itself
}

// then returns the two prunings as one, with next after p.
func (p Pruning) then(next Pruning) Pruning {
	p.Kept, p.Undated, p.Freed = next.Kept, p.Undated+next.Undated, buildcache.AddFreed(p.Freed, next.Freed)
	return p
}

// EmptiedError says that the rules would drop all results of a cache. Nothing was written.
type EmptiedError struct {
	Results int
	buildcache.Emptied
}

func (e *EmptiedError) Error() string {
	text := fmt.Sprintf("the rules would drop all %d results", e.Results)
	if e.Results == 1 {
		text = "the rules would drop its only result"
	}
	switch e.Rule {
	case buildcache.PruneMaxRecords:
		text += fmt.Sprintf("; the newest result alone needs %d records", e.Needs.Records)
	case buildcache.PruneMaxBytes:
		text += fmt.Sprintf("; the newest result alone needs %d bytes of layers", e.Needs.Bytes)
	case buildcache.PruneBefore:
		text += "; the newest result was made at " + e.Created.UTC().Format(time.RFC3339)
	case buildcache.PruneUnneeded, buildcache.PruneLeaves, buildcache.PruneFit:
	}
	return text
}

// Unwrap returns buildcache.ErrNoResults.
func (e *EmptiedError) Unwrap() error { return buildcache.ErrNoResults }

// pruneValue drops results of a cache by rules. If none is left, it fails with an *EmptiedError, or ErrNoResults if there were none before.
func pruneValue(value buildcache.Cache, rules buildcache.PruneRules) (*buildcache.Pruned, error) {
	pruned, err := buildcache.Prune(value, rules)
	switch {
	case err != nil:
		return nil, err
	case pruned.Kept.Results > 0:
		return pruned, nil
	case pruned.Emptied == nil:
		return nil, buildcache.ErrNoResults
	}
	return nil, &EmptiedError{Results: resultsOf(value.Config), Emptied: *pruned.Emptied}
}

// cut drops results of a cache by rules, and returns what is left, sealed, or the same cache if nothing is dropped. It fails as
// pruneValue does.
func cut(cache *layout.Cache, rules buildcache.PruneRules) (*layout.Cache, Pruning, error) {
	pruned, err := pruneValue(buildcache.Cache{Root: cache.Root, Config: cache.Config}, rules)
	if err != nil {
		return nil, Pruning{}, err
	}
	pruning := Pruning{Before: extentOf(cache), Kept: pruned.Kept, Freed: pruned.Freed, Undated: pruned.Undated, left: pruned.Left}
	if !frees(pruned.Freed) {
		return cache, pruning, nil
	}
	left, err := seal(pruned.Cache)
	if err != nil {
		return nil, Pruning{}, err
	}
	left.Entry.Tag, left.Entry.Kind = cache.Entry.Tag, cache.Entry.Kind
	return left, pruning, nil
}

// frees reports whether any rule dropped anything.
func frees(freed []buildcache.Freed) bool {
	return slices.ContainsFunc(freed, func(f buildcache.Freed) bool { return f.Extent != (buildcache.Extent{}) })
}

// cut drops from a cache to be converted what the options' rules say. Without rules it drops nothing.
func (o Options) cut(cache *layout.Cache) (*layout.Cache, *Pruning, error) {
	if !o.prunes() {
		return cache, nil, nil
	}
	left, pruning, err := cut(cache, o.Prune)
	if err != nil {
		return nil, nil, fmt.Errorf("prune on the way: %w", err)
	}
	return left, &pruning, nil
}

// assemble is the function assemble, but with Fit it also drops what doesn't fit in the result: form and compression may have made
// that larger than it was when the rules were applied. pruning is nil if nothing had to be dropped.
func (o Options) assemble(cache *layout.Cache, p *plan) (result *layout.Cache, pruning *Pruning, err error) {
	result, err = assemble(cache, p)
	if err != nil || !o.Prune.Fit || len(result.RawRoot) <= buildcache.MaxImport && len(result.RawConfig) <= buildcache.MaxImport {
		return result, nil, err
	}
	left, more, err := cut(result, buildcache.PruneRules{Fit: true})
	if err != nil {
		return nil, nil, err
	}
	more.blobs = map[digest.Digest]bool{}
	for blob := range left.Root.LayersByDigest() {
		more.blobs[blob] = true
	}
	return left, &more, nil
}
