package buildcache

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/opencontainers/go-digest"
)

// identity identifies a record or a layer across caches, whatever its index: a record by its digest and, recursively, its
// inputs; a layer by its blob and the layers below it. It is a hash of exactly that. The zero value means no layer.
type identity [sha256.Size]byte

func (i identity) compare(other identity) int { return slices.Compare(i[:], other[:]) }

// on returns the identity of a layer on the layers below it.
func (i identity) on(below identity) identity { return sha256.Sum256(append(below[:], i[:]...)) }

func identityOf(d digest.Digest) identity { return sha256.Sum256([]byte(d)) }

// imported is a cache as BuildKit's importer sees it: without the records that nothing can hit, and without the results on
// layers that the root does not list. Nothing in it loops, and every index that is left is valid.
type imported struct {
	Cache
	listed  map[digest.Digest]Descriptor
	order   []int      // the records that can be hit, each after those that it links to
	hit     []bool     // whether a record is among them
	records []identity // of those in order
	whole   *chainWalker
	dropped Dropped
}

// Dropped counts what BuildKit does not import from a cache.
type Dropped struct {
	Records int `json:"records"` // nothing can hit them
	Results int `json:"results"` // those of such records, and those on layers that the root does not list
}

func (d *Dropped) add(other Dropped) {
	d.Records += other.Records
	d.Results += other.Results
}

// rejecting are the kinds of problems for which BuildKit rejects a config as a whole.
var rejecting = []Kind{RecordLinkRange, RecordLoop, RecordEmptyInput, RecordRandomLink, LayerIndexRange, LayerLoop}

// importCache reads a cache as BuildKit does. It refuses what BuildKit rejects, and also errors of the refused kinds. place is
// the index of the cache among the arguments.
func importCache(cache Cache, place int, refused ...Kind) (*imported, error) {
	read := *cache.Root
	read.Config.Digest = digest.FromString("") // the config was read, whatever its descriptor says
	problems := slices.DeleteFunc(Validate(&read, 0, cache.Config), func(p Problem) bool {
		return p.Severity != SeverityError || !slices.Contains(rejecting, p.Kind) && !slices.Contains(refused, p.Kind)
	})
	if len(problems) > 0 {
		return nil, &RefusedError{Cache: place, Problems: problems}
	}
	v := &imported{Cache: cache, listed: cache.Root.LayersByDigest()}
	v.whole = newChainWalker(cache.Config.Layers, v.listed)
	v.hit = make([]bool, len(cache.Config.Records))
	v.records = make([]identity, len(cache.Config.Records))
	for _, i := range inputsFirst(cache.Config.Records) {
		v.meet(i)
	}
	v.whole.follow(cache.Config.Records, func(record, _ int, outcome chainOutcome) {
		if !v.hit[record] || outcome != chainWhole {
			v.dropped.Results++
		}
	})
	return v, nil
}

// meet takes in record i unless nothing can hit it. The records that it links to must have been met.
func (v *imported) meet(i int) {
	record := v.Config.Records[i]
	v.hit[i] = !record.isRandom() && CheckDigest(record.Digest) == nil
	for _, alternatives := range v.inputs(i) {
		v.hit[i] = v.hit[i] && len(alternatives) > 0
	}
	if !v.hit[i] {
		v.dropped.Records++
		return
	}
	v.order = append(v.order, i)
	v.records[i] = v.identify(i)
}

// inputs returns the inputs of record i without the alternatives that nothing can hit.
func (v *imported) inputs(i int) [][]Input {
	inputs := slices.Clone(v.Config.Records[i].Inputs)
	cannotHit := func(input Input) bool { return !v.hit[input.Link] }
	for slot, alternatives := range inputs {
		if slices.ContainsFunc(alternatives, cannotHit) {
			inputs[slot] = slices.DeleteFunc(slices.Clone(alternatives), cannotHit)
		}
	}
	return inputs
}

// identify returns the identity of record i. The order of alternatives does not matter, and neither do repeated ones.
func (v *imported) identify(i int) identity {
	var preimage []byte
	write := func(text string) {
		preimage = binary.AppendUvarint(preimage, uint64(len(text)))
		preimage = append(preimage, text...)
	}
	write(v.Config.Records[i].Digest.String())
	for _, alternatives := range v.inputs(i) {
		links := make([]identified, len(alternatives))
		for j, input := range alternatives {
			links[j] = identified{input.Selector, v.records[input.Link]}
		}
		slices.SortFunc(links, identified.compare)
		links = slices.Compact(links)
		preimage = binary.AppendUvarint(preimage, uint64(len(links)))
		for _, link := range links {
			write(link.selector)
			preimage = append(preimage, link.record[:]...)
		}
	}
	return sha256.Sum256(preimage)
}

// identified is an input that links to an identity instead of an index.
type identified struct {
	selector string
	record   identity
}

func (a identified) compare(b identified) int {
	return cmp.Or(cmp.Compare(a.selector, b.selector), a.record.compare(b.record))
}

// inputsFirst returns the indexes of records, each after those that it links to. The links must not loop. It has an explicit
// stack, because links may go as deep as the config is long.
func inputsFirst(records []Record) []int {
	order := make([]int, 0, len(records))
	met := make([]bool, len(records))
	type frame struct {
		record int
		links  []int
	}
	for start := range records {
		if met[start] {
			continue
		}
		met[start] = true
		stack := []frame{{start, records[start].links()}}
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if len(top.links) == 0 {
				order = append(order, top.record)
				stack = stack[:len(stack)-1]
				continue
			}
			next := top.links[0]
			top.links = top.links[1:]
			if !met[next] {
				met[next] = true
				stack = append(stack, frame{next, records[next].links()})
			}
		}
	}
	return order
}

// links returns the records that the record links to.
func (r Record) links() []int {
	var links []int
	for _, alternatives := range r.Inputs {
		for _, input := range alternatives {
			links = append(links, input.Link)
		}
	}
	return links
}

// wholeResults returns the results of record i whose layers are all listed.
func (v *imported) wholeResults(i int) []Result {
	return slices.DeleteFunc(slices.Clone(v.Config.Records[i].Results), func(r Result) bool {
		return v.whole.walk(r.Layer) != chainWhole
	})
}

// wholeChains returns the chains of record i whose layers are all listed.
func (v *imported) wholeChains(i int) []Chain {
	return slices.DeleteFunc(slices.Clone(v.Config.Records[i].Chains), func(c Chain) bool {
		_, outcome := v.whole.each(c.Layers)
		return outcome != chainWhole
	})
}
