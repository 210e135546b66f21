package convert

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// TooLargeError says that a result would be larger than BuildKit imports. Nothing was written.
type TooLargeError struct {
	Err error // a *buildcache.SizeError
	// Has is what it has, and Fits what would be left if the oldest results were dropped until it fits.
	Has, Fits buildcache.Extent
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("BuildKit would not import the result: the %v; it has %d records with %d results; %d records with the newest %d results would fit",
		e.Err, e.Has.Records, e.Has.Results, e.Fits.Records, e.Fits.Results)
}

// Unwrap returns what is too large.
func (e *TooLargeError) Unwrap() error { return e.Err }

// united is the cache that the sources become.
type united struct {
	merged *buildcache.Merged
	value  buildcache.Cache // what the rules leave of merged
	freed  []buildcache.Freed
	// extent and config are those of assemble's last result; undated are results that no rule about age could judge.
	extent  buildcache.Extent
	config  int64
	undated int
}

// unite merges the caches as values, in the first of the forms to try, and keeps their layers.
func (m *merger) unite(caches []*layout.Cache) (*united, error) {
	values := make([]buildcache.Cache, len(caches))
	for i, cache := range caches {
		values[i] = buildcache.Cache{Root: cache.Root, Config: cache.Config}
	}
	merged, err := buildcache.Merge(values, buildcache.MergeOptions{})
	var refused *buildcache.RefusedError
	if errors.As(err, &refused) && refused.Cache < len(m.sources) {
		return nil, fmt.Errorf("%s: %w", m.sources[refused.Cache].name(), err)
	}
	if err := unlessSize(err); err != nil {
		return nil, err
	}
	u := &united{merged: merged}
	rules := m.o.Prune
	if m.o.Compression != "" { // what fits is only known once equal layers have become one
		rules.Fit = false
	}
	root := merged.Root.WithForm(m.o.forms(buildcache.Artifact)[0])
	pruned, err := pruneValue(buildcache.Cache{Root: root, Config: merged.Config}, rules)
	if err != nil {
		return nil, fmt.Errorf("prune the result: %w", err)
	}
	u.value, u.freed, u.undated = pruned.Cache, pruned.Freed, pruned.Undated
	if m.o.Compression == "" {
		sealed, err := seal(u.value)
		if err != nil {
			return nil, err
		}
		return u, checkSize(sealed)
	}
	return u, nil
}

// unlessSize drops an error that says that a cache is too large, which is checked later.
func unlessSize(err error) error {
	var size *buildcache.SizeError
	if errors.As(err, &size) {
		return nil
	}
	return err
}

// checkSize fails with a *TooLargeError if a cache is too large for BuildKit to import.
func checkSize(cache *layout.Cache) error {
	size := &buildcache.SizeError{Limit: buildcache.MaxImport}
	switch {
	case len(cache.RawConfig) > buildcache.MaxImport:
		size.What, size.Size = "cache config", int64(len(cache.RawConfig))
	case len(cache.RawRoot) > buildcache.MaxImport:
		size.What, size.Size = "root", int64(len(cache.RawRoot))
	default:
		return nil
	}
	fit, err := buildcache.Prune(buildcache.Cache{Root: cache.Root, Config: cache.Config}, buildcache.PruneRules{Fit: true})
	if err != nil {
		return errors.Join(size, err)
	}
	return &TooLargeError{Err: size, Has: extentOf(cache), Fits: fit.Kept}
}

// assemble makes root and config of the united cache, with the layers that the plan has made.
func (m *merger) assemble(u *united, p *plan) (*layout.Cache, error) {
	value := u.value
	blobs := p.blobs()
	if len(blobs) > 0 {
		again, err := buildcache.Merge([]buildcache.Cache{value}, buildcache.MergeOptions{Blobs: blobs})
		if err := unlessSize(err); err != nil {
			return nil, err
		}
		value = again.Cache
	}
	value.Root = value.Root.WithForm(p.form)
	var freed []buildcache.Freed
	if m.o.Prune.Fit {
		fit, err := buildcache.Prune(value, buildcache.PruneRules{Fit: true})
		if err != nil {
			return nil, err
		}
		value, freed = fit.Cache, fit.Freed
	}
	cache, err := seal(value)
	if err != nil {
		return nil, err
	}
	u.extent, u.config = extentOf(cache), int64(len(cache.RawConfig))
	u.freed = buildcache.AddFreed(u.freed, slices.DeleteFunc(freed, func(f buildcache.Freed) bool { return f.Extent == buildcache.Extent{} }))
	return cache, checkSize(cache)
}

// result says what was done.
func (u *united) result(m *merger, caches []*layout.Cache, done *Result) *MergeResult {
	r := &MergeResult{
		Tag: m.tag, To: done.To, Config: u.config, Result: u.extent, Superseded: u.merged.Superseded, Cut: u.merged.Cut,
		Dropped: u.merged.Dropped, Freed: u.freed, Undated: u.undated, DryRun: m.o.DryRun, Layers: done.Layers, Effort: done.Effort,
	}
	for i, cache := range caches {
		source := m.sources[i]
		r.Sources = append(r.Sources, MergedCache{
			Place: source.Source.String(), Tag: source.Entry.Tag, Root: describe(cache), ConfigSize: int64(len(cache.RawConfig)), Extent: extentOf(cache),
		})
	}
	if m.o.WithTarget && !slices.ContainsFunc(m.sources, m.isTarget) {
		r.Notes = append(r.Notes, fmt.Sprintf("the tag %s does not exist yet, so it was skipped as a source", m.tag))
	}
	r.Notes = append(r.Notes, slices.DeleteFunc(done.Notes, func(note string) bool { return note == noteDigest })...)
	if most := m.o.Prune.MaxBytes; m.o.Compression != "" && most > 0 && u.extent.Bytes > most {
		r.Notes = append(r.Notes, fmt.Sprintf("after recompression, the layers have %s, which exceeds %s: that rule counts them as the sources have them",
			humanize.Bytes(uint64(u.extent.Bytes)), buildcache.PruneMaxBytes))
	}
	if blobs, bytes := twice(u.value.Root); blobs > 0 && m.o.Compression == "" {
		r.Notes = append(r.Notes, fmt.Sprintf("%s the same layers as others in another compression (%s); to keep each layer once, use --compression",
			english.Plural(blobs, "layer blob holds", "layer blobs hold"), humanize.Bytes(uint64(max(bytes, 0)))))
	}
	return r
}

// twice returns how many blobs of a root repeat the layer of another blob, by diffID, and what keeping only the smallest would save.
func twice(root *buildcache.Root) (blobs int, bytes int64) {
	smallest, all := map[digest.Digest]int64{}, map[digest.Digest]int64{}
	for _, layer := range root.LayersByDigest() {
		diffID := layer.DiffID()
		if least, ok := smallest[diffID]; !ok {
			smallest[diffID] = layer.Size
		} else {
			blobs++
			smallest[diffID] = min(least, layer.Size)
		}
		all[diffID] += layer.Size
	}
	for diffID, sum := range all {
		bytes += sum - smallest[diffID]
	}
	return blobs, bytes
}

// extentOf says how much is in a cache.
func extentOf(cache *layout.Cache) buildcache.Extent {
	e := buildcache.Extent{Records: len(cache.Config.Records), Layers: len(cache.Config.Layers)}
	e.Results = resultsOf(cache.Config)
	for _, layer := range cache.Root.LayersByDigest() {
		e.Blobs++
		e.Bytes += layer.Size
	}
	return e
}

// resultsOf counts the results of a config; chains are results.
func resultsOf(config *buildcache.Config) (n int) {
	for _, record := range config.Records {
		n += len(record.Results) + len(record.Chains)
	}
	return n
}
