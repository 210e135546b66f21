package buildcache

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// ErrNoResults says that no result would be left in a cache, so that nothing could hit it.
var ErrNoResults = errors.New("no results in it")

// ConflictError says that two caches describe one layer in ways that can't both be true: they differ in size, compression,
// diffID or estargz table of contents. Sizes are in bytes.
type ConflictError struct {
	A, B Descriptor
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("the layer %s is described in two ways: %s of %d bytes with diffID %s, and %s of %d bytes with diffID %s",
		e.A.Digest, e.A.MediaType, e.A.Size, e.A.DiffID(), e.B.MediaType, e.B.Size, e.B.DiffID())
}

// MergeOptions say how caches are merged. The zero value folds only what is the same byte for byte.
type MergeOptions struct {
	// Blobs has the replacements of layers, by the digest to replace: mostly layers that were recompressed. The caller vouches
	// that they have the same content. There is only one step: a replacement must not be replaced itself.
	Blobs map[digest.Digest]Blob
}

// Merged is what Merge makes out of caches.
type Merged struct {
	Cache              // in the form Artifact; the root's Config points to the bytes of the config's MarshalJSON
	Superseded int     // results that gave way to a newer one of the same record
	Cut        int     // alternatives of inputs that would have led BuildKit into a circle
	Dropped    Dropped // what BuildKit would not have imported from one of the caches
}

// Merge makes one cache that serves the builds of all the given ones. With it, BuildKit hits what it would hit after importing
// each of them.
//
//   - Layers become one if their blobs and parents are the same after options.Blobs is applied.
//   - Records become one if their digests and, recursively, their inputs (selector and link, in any order) are the same.
//     Those whose inputs only overlap stay as they are; BuildKit unites them when it imports them. Where that would make a
//     record depend on itself, which ends the daemon of v0.34.2, the alternatives that close the circle are cut.
//   - Of several results of a record, the newest stays, as in BuildKit's own exports: by createdAt, whose text never
//     changes, then the one whose topmost layer has the lower digest. Chains count as results, and become results on
//     layers with parents, as they do in BuildKit; a chain without layers stays a chain.
//   - Layers that no result needs are left out. The root has one descriptor for each blob.
//   - Unknown members stay, sorted by name. Where two caches disagree about one, or about an annotation, the greater text
//     wins. Of the root's own unknown members, only those that all caches have with the same value stay.
//
// Neither the order of the caches nor repetition matters, and merging in steps gives the same bytes as merging at once, with two
// exceptions: a step left out a layer of which the caches say different things beyond its facts, or a step cut a circle.
// Time and memory are n log n in the size of the caches.
//
// Merge fails with a *RefusedError for a cache that BuildKit would reject or that has a layer it can't use, with a
// *ConflictError, and with ErrNoResults. If config or root (as an artifact) is larger than MaxImport, it fails with a
// *SizeError, but returns the cache all the same: Prune makes it fit.
func Merge(caches []Cache, options MergeOptions) (*Merged, error) {
	for old, blob := range options.Blobs {
		if next, ok := options.Blobs[blob.Digest]; ok && next.Digest != blob.Digest {
			return nil, fmt.Errorf("the blob %s is to be replaced by %s, which is to be replaced itself", old, blob.Digest)
		}
	}
	m := newMerger()
	for i, cache := range caches {
		root, config := ReplaceLayers(cache.Root.WithForm(Artifact), cache.Config, options.Blobs)
		imported, err := importCache(Cache{root, config}, i, DigestInvalid, BlobSize, LayerMediaTypeBad, LayerNoDiffID, LayerCreatedAt)
		if err != nil {
			return nil, err
		}
		if err := m.add(imported); err != nil {
			return nil, err
		}
	}
	merged, err := m.cacheWithoutCircles()
	if err != nil {
		return nil, err
	}
	return merged, merged.checkSizes()
}

// checkSizes returns a *SizeError if the cache is larger than BuildKit imports.
func (c Cache) checkSizes() error {
	if size := c.Root.Config.Size; size > MaxImport {
		return &SizeError{What: "cache config", Size: size, Limit: MaxImport}
	}
	raw, err := c.Root.MarshalJSON()
	if err != nil {
		return fmt.Errorf("write root: %w", err)
	}
	if size := int64(len(raw)); size > MaxImport {
		return &SizeError{What: "root", Size: size, Limit: MaxImport}
	}
	return nil
}

// merger is a cache to which caches are added. Everything is kept by identity; indexes are assigned at the end.
type merger struct {
	layers  map[identity]*mergedLayer
	records map[identity]*mergedRecord
	listed  map[digest.Digest]Descriptor // of the layers
	read    map[digest.Digest]*imported  // the cache whose descriptor was merged last
	config  Extra
	root    *Extra // nil before the first cache
	results map[mergedResult]bool
	dropped Dropped
}

type mergedLayer struct {
	Layer
	id, below identity
	extra     gathered
	annotated gathered // members of the annotations
	used      bool
	index     int
}

type mergedRecord struct {
	id     identity
	digest digest.Digest
	inputs []map[identified]*gathered
	extra  gathered
	best   *result
	index  int
}

// result is a result or a chain of a record.
type result struct {
	top       identity // of its topmost layer, zero if it has none
	blob      digest.Digest
	createdAt Time
	extra     gathered
}

// mergedResult tells results apart, to count them.
type mergedResult struct {
	record, top identity
	sec, nsec   int64
}

func newMerger() *merger {
	return &merger{
		layers: map[identity]*mergedLayer{}, records: map[identity]*mergedRecord{},
		listed: map[digest.Digest]Descriptor{}, read: map[digest.Digest]*imported{}, results: map[mergedResult]bool{},
	}
}

// add adds what BuildKit imports from a cache.
func (m *merger) add(v *imported) error {
	m.dropped.add(v.dropped)
	m.config = uniteExtra(m.config, v.Config.Extra)
	if m.root == nil {
		m.root = &v.Root.Extra
	}
	common := commonExtra(*m.root, v.Root.Extra)
	m.root = &common
	places := make([]*mergedLayer, len(v.Config.Layers))
	for _, i := range v.order {
		record := m.addRecord(v, i)
		for _, r := range v.wholeResults(i) {
			top, err := m.addLayers(v, places, r.Layer)
			if err != nil {
				return err
			}
			m.addResult(record, result{top: top.id, blob: top.Blob, createdAt: r.CreatedAt}, r.Extra)
		}
		for _, c := range v.wholeChains(i) {
			top, err := m.addChain(v, c.Layers)
			if err != nil {
				return err
			}
			m.addResult(record, result{top: top.id, blob: top.Blob, createdAt: c.CreatedAt}, c.Extra)
		}
	}
	return nil
}

func (m *merger) addRecord(v *imported, i int) *mergedRecord {
	id, from := v.records[i], v.Config.Records[i]
	record, ok := m.records[id]
	if !ok {
		record = &mergedRecord{id: id, digest: from.Digest, index: i, inputs: make([]map[identified]*gathered, len(from.Inputs))}
		m.records[id] = record
	}
	record.extra.add(from.Extra)
	for slot, alternatives := range v.inputs(i) {
		if record.inputs[slot] == nil {
			record.inputs[slot] = make(map[identified]*gathered, len(alternatives))
		}
		for _, input := range alternatives {
			key := identified{input.Selector, v.records[input.Link]}
			if record.inputs[slot][key] == nil {
				record.inputs[slot][key] = &gathered{}
			}
			record.inputs[slot][key].add(input.Extra)
		}
	}
	return record
}

// addLayers adds a layer and its parents, and returns the merged layer. places has those that were already added.
func (m *merger) addLayers(v *imported, places []*mergedLayer, layer int) (*mergedLayer, error) {
	var missing []int
	below := &mergedLayer{}
	for i := layer; i != NoParent; i = v.Config.Layers[i].Parent {
		if places[i] != nil {
			below = places[i]
			break
		}
		missing = append(missing, i)
	}
	for _, i := range slices.Backward(missing) {
		added, err := m.addLayer(v, v.Config.Layers[i], below.id)
		if err != nil {
			return nil, err
		}
		places[i], below = added, added
	}
	return below, nil
}

// addChain adds the layers of a chain, each on the one before, and returns the topmost.
func (m *merger) addChain(v *imported, layers []int) (*mergedLayer, error) {
	top := &mergedLayer{}
	for _, i := range layers {
		added, err := m.addLayer(v, v.Config.Layers[i], top.id)
		if err != nil {
			return nil, err
		}
		top = added
	}
	return top, nil
}

func (m *merger) addLayer(v *imported, from Layer, below identity) (*mergedLayer, error) {
	if err := m.list(v, from.Blob); err != nil {
		return nil, err
	}
	id := identityOf(from.Blob).on(below)
	layer, ok := m.layers[id]
	if !ok {
		layer = &mergedLayer{Layer: Layer{Blob: from.Blob}, id: id, below: below}
		m.layers[id] = layer
	}
	layer.extra.add(from.Extra)
	if from.Annotations != nil {
		layer.Annotations = uniteAnnotations(layer.Annotations, from.Annotations)
		layer.annotated.add(from.Annotations.Extra)
	}
	return layer, nil
}

// list merges in what a cache's root says about a blob, once.
func (m *merger) list(v *imported, blob digest.Digest) error {
	if m.read[blob] == v {
		return nil
	}
	m.read[blob] = v
	descriptor := v.listed[blob]
	old, ok := m.listed[blob]
	if !ok {
		old = descriptor
	}
	united, err := uniteDescriptors(old, descriptor)
	if err == nil {
		m.listed[blob] = united
	}
	return err
}

// uniteDescriptors merges two descriptors of one blob, or returns a *ConflictError. What is not a fact about its bytes may
// differ: the greater text wins, and with it the media type of a layer that may be distributed.
func uniteDescriptors(a, b Descriptor) (Descriptor, error) {
	typeA, _ := parseLayerType(a.MediaType)
	typeB, _ := parseLayerType(b.MediaType)
	tocA, tocB := a.Annotations[AnnotationTOCDigest], b.Annotations[AnnotationTOCDigest]
	if a.Size != b.Size || typeA.name != typeB.name || a.DiffID() != b.DiffID() || tocA != tocB && tocA != "" && tocB != "" {
		return Descriptor{}, &ConflictError{A: a, B: b}
	}
	urls := slices.Concat(a.URLs, b.URLs)
	slices.Sort(urls)
	return Descriptor{
		MediaType: max(a.MediaType, b.MediaType), Digest: a.Digest, Size: a.Size,
		URLs:        slices.Compact(urls),
		Annotations: uniteStrings(a.Annotations, b.Annotations),
		Extra:       uniteExtra(a.Extra, b.Extra),
	}, nil
}

func (m *merger) addResult(record *mergedRecord, r result, extra Extra) {
	m.results[mergedResult{record.id, r.top, r.createdAt.Unix(), int64(r.createdAt.Nanosecond())}] = true
	switch order := r.compare(record.best); {
	case order == 0:
		record.best.createdAt = laterTime(record.best.createdAt, r.createdAt)
		record.best.extra.add(extra)
	case order > 0:
		r.extra.add(extra)
		record.best = &r
	}
}

// compare returns more than 0 if the result is to replace other, and 0 if they are the same.
func (r result) compare(other *result) int {
	if other == nil {
		return 1
	}
	return cmp.Or(r.createdAt.Compare(other.createdAt.Time), -cmp.Compare(r.blob, other.blob), -r.top.compare(other.top))
}
