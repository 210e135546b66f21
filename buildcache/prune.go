package buildcache

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// PruneRules say which results of a cache are dropped. They are applied in the order of the fields, but Newest before Fit, each
// to what the previous one has left. The zero value of a rule drops nothing.
type PruneRules struct {
	// Before drops results created before this time: by their createdAt or, where that is zero, as in inline caches, by when
	// their topmost layer was created. Results of unknown age stay.
	Before time.Time
	// Leaves keeps only the results that a build ends with: those of records on which no other record with results depends.
	// mode=min would have exported the same. A build in which one step has changed then runs the steps before it again.
	Leaves bool
	// The other rules drop results, those of unknown age first, then the oldest, until what is left is small enough. Of results
	// of the same age, the last one goes first.
	MaxRecords int   // at most this many records, with and without results
	MaxBytes   int64 // at most this many bytes of layer blobs, each counted once
	Fit        bool  // config and root at most MaxImport, so that BuildKit imports them
	// Newest keeps at most this many results, for callers that already know how many fit; it counts as Fit.
	Newest int
}

// PruneRule names the rule that dropped something, as the flags of ocicache prune do.
type PruneRule string

// The rules. PruneUnneeded always applies: it drops what BuildKit does not import, and what no result needs.
const (
	PruneUnneeded   PruneRule = "unneeded"
	PruneBefore     PruneRule = "older-than"
	PruneLeaves     PruneRule = "leaves"
	PruneMaxRecords PruneRule = "keep-records"
	PruneMaxBytes   PruneRule = "keep-bytes"
	PruneFit        PruneRule = "fit"
)

// Extent is how much there is in a cache, or how much is gone from one.
type Extent struct {
	Results int   `json:"results"` // chains are results
	Records int   `json:"records"`
	Layers  int   `json:"layers"` // of the config
	Blobs   int   `json:"blobs"`  // of layers, each counted once
	Bytes   int64 `json:"bytes"`  // of the blobs, as the root says
}

func (e Extent) minus(other Extent) Extent {
	return Extent{
		e.Results - other.Results, e.Records - other.Records, e.Layers - other.Layers, e.Blobs - other.Blobs, e.Bytes - other.Bytes,
	}
}

func (e Extent) plus(other Extent) Extent {
	return Extent{
		e.Results + other.Results, e.Records + other.Records, e.Layers + other.Layers, e.Blobs + other.Blobs, e.Bytes + other.Bytes,
	}
}

// Freed is what one rule dropped: results, and all that nothing else needed.
type Freed struct {
	Rule PruneRule `json:"rule"`
	Extent
}

// AddFreed adds what rules dropped from one more cache, rule by rule. The sum is in the order in which rules are applied.
func AddFreed(all, more []Freed) []Freed {
	sum := slices.Clone(all)
	for _, f := range more {
		at := slices.IndexFunc(sum, func(of Freed) bool { return of.Rule == f.Rule })
		if at < 0 {
			sum = append(sum, f)
			continue
		}
		sum[at].Extent = sum[at].plus(f.Extent)
	}
	order := []PruneRule{PruneUnneeded, PruneBefore, PruneLeaves, PruneMaxRecords, PruneMaxBytes, PruneFit}
	slices.SortStableFunc(sum, func(a, b Freed) int { return cmp.Compare(slices.Index(order, a.Rule), slices.Index(order, b.Rule)) })
	return sum
}

// Pruned is what Prune leaves of a cache.
type Pruned struct {
	Cache          // in the same form; the root's Config points to the bytes of the config's MarshalJSON
	Kept    Extent // zero if no result is left
	Freed   []Freed
	Undated int // results of unknown age, which Before therefore kept
	Emptied *Emptied
	// Left says how many results each record of the given cache has left, less than 0 if the record itself is gone.
	Left []int
}

// Emptied says which rule left no result at all, and what the newest of the results that it dropped needs: with a lower limit
// than that, nothing is left.
type Emptied struct {
	Rule    PruneRule
	Created time.Time // zero if not known
	Needs   Extent
}

// Prune drops results by the rules, and with them exactly what no other result needs: records, layers, and the root's
// descriptors of blobs. What is left keeps its order and unknown members, and a cache from which nothing is dropped keeps its
// bytes.
//
// What is left is hit as before. A record without results is needed if one with results depends on it, through any of the
// alternatives of its inputs, or if BuildKit may unite it with a needed record because they share a digest and an alternative
// of every input: what hits one then hits the other. An alternative that nothing can hit is removed, and so is a record with an
// input that has no alternative left.
//
// Pruning again by the same rules changes nothing. Time and memory are n log n in the size of the cache. Prune fails with a
// *RefusedError for a cache that BuildKit would reject, and with a *SizeError if unknown members would make even a cache
// without results too large.
func Prune(cache Cache, rules PruneRules) (*Pruned, error) {
	v, err := importCache(cache, 0)
	if err != nil {
		return nil, err
	}
	p := &pruner{imported: v, families: v.families(), out: &Pruned{}}
	p.extent = v.all()
	p.kept = p.datedResults()
	p.count(PruneUnneeded)
	if !rules.Before.IsZero() {
		p.dropBefore(rules.Before)
	}
	if rules.Leaves {
		p.dropInner()
	}
	if rules.MaxRecords > 0 {
		p.shrink(PruneMaxRecords, func(e Extent) bool { return e.Records <= rules.MaxRecords })
	}
	if rules.MaxBytes > 0 {
		p.shrink(PruneMaxBytes, func(e Extent) bool { return e.Bytes <= rules.MaxBytes })
	}
	if rules.Newest > 0 {
		p.kept = p.kept[:min(len(p.kept), rules.Newest)]
		p.count(PruneFit)
	}
	if rules.Fit {
		if err := p.fit(); err != nil {
			return nil, err
		}
	}
	p.out.Kept = p.extent
	n := p.needs(p.kept)
	p.out.Left = n.left()
	p.out.Cache, err = p.write(n)
	return p.out, err
}

// resultAt says where a result is: in which record, and at which index among its results or chains.
type resultAt struct {
	record, result int
	chain          bool
}

type dated struct {
	resultAt
	created time.Time // zero if not known
}

type pruner struct {
	*imported
	families families
	kept     []dated // newest first
	newest   []dated // the newest that the previous rule has kept, or none
	extent   Extent  // of what kept needs
	out      *Pruned
}

// datedResults returns the results that BuildKit imports, newest first.
func (p *pruner) datedResults() []dated {
	var all []dated
	for i, record := range p.Config.Records {
		if !p.hit[i] {
			continue
		}
		for j, r := range record.Results {
			if p.whole.walk(r.Layer) == chainWhole {
				all = append(all, dated{resultAt{i, j, false}, p.age(r.CreatedAt, r.Layer)})
			}
		}
		for j, c := range record.Chains {
			if _, outcome := p.whole.each(c.Layers); outcome == chainWhole {
				all = append(all, dated{resultAt{i, j, true}, p.age(c.CreatedAt, c.Layers...)})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b dated) int { return b.created.Compare(a.created) })
	return all
}

// age returns when a result was created, according to itself or else to its topmost layer.
func (p *pruner) age(createdAt Time, layers ...int) time.Time {
	if !createdAt.IsZero() || len(layers) == 0 {
		return createdAt.Time
	}
	top := p.Config.Layers[layers[len(layers)-1]]
	created, err := p.listed[top.Blob].CreatedAt()
	if err != nil {
		return time.Time{} // an age that can't be read is unknown
	}
	return created
}

// count records what a rule dropped since the last call.
func (p *pruner) count(rule PruneRule) {
	was := p.extent
	p.extent = p.needs(p.kept).extent
	if len(p.kept) == 0 && len(p.newest) > 0 {
		p.out.Emptied = &Emptied{rule, p.newest[0].created, p.needs(p.newest).extent}
	}
	p.newest = slices.Clone(p.kept[:min(len(p.kept), 1)])
	p.out.Freed = append(p.out.Freed, Freed{rule, was.minus(p.extent)})
}

func (p *pruner) dropBefore(t time.Time) {
	p.kept = slices.DeleteFunc(p.kept, func(r dated) bool {
		if r.created.IsZero() {
			p.out.Undated++
		}
		return !r.created.IsZero() && r.created.Before(t)
	})
	p.count(PruneBefore)
}

// dropInner drops the results of records on which other records with results depend, directly or through records without
// results.
func (p *pruner) dropInner() {
	needed := make([]bool, len(p.Config.Records))
	for _, r := range p.kept {
		needed[r.record] = true
	}
	inner := make([]bool, len(needed))
	for _, i := range slices.Backward(p.order) {
		if !needed[i] {
			continue
		}
		for _, alternatives := range p.inputs(i) {
			for _, input := range alternatives {
				needed[input.Link], inner[input.Link] = true, true
			}
		}
	}
	p.kept = slices.DeleteFunc(p.kept, func(r dated) bool { return inner[r.record] })
	p.count(PruneLeaves)
}

// shrink keeps as many of the newest results as fit. It stops at the first that does not.
func (p *pruner) shrink(rule PruneRule, fits func(Extent) bool) {
	n := p.needs(nil)
	for i, r := range p.kept {
		if n.add(r); !fits(n.extent) {
			p.kept = p.kept[:i]
			break
		}
	}
	p.count(rule)
}

// fit keeps as many of the newest results as BuildKit imports. What they need grows with their number, so a binary search finds
// how many.
func (p *pruner) fit() error {
	tooLarge := func(results int) error {
		cache, err := p.write(p.needs(p.kept[:results]))
		return cmp.Or(err, cache.checkSizes())
	}
	all := len(p.kept)
	if tooLarge(all) == nil {
		p.count(PruneFit)
		return nil
	}
	low, high := 0, all // low results fit, unless low is 0; high do not
	for high-low > 1 {
		if middle := (low + high) / 2; tooLarge(middle) == nil {
			low = middle
		} else {
			high = middle
		}
	}
	p.kept = p.kept[:low]
	p.count(PruneFit)
	return tooLarge(low)
}

// write returns what is needed, as a cache.
func (p *pruner) write(n *needs) (Cache, error) {
	config, root := n.config(), *p.Root
	root.Layers = n.rootLayers(config)
	raw, err := config.MarshalJSON()
	if err != nil {
		return Cache{}, fmt.Errorf("write cache config: %w", err)
	}
	root.SetConfig(raw)
	return Cache{&root, config}, nil
}
