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

// ConflictError says that two caches describe one layer in ways of which only one can be true: their sizes in bytes, their
// compressions, their diffIDs or their estargz tables of contents differ.
type ConflictError struct {
	A, B Descriptor
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("the layer %s is described in two ways: %s of %d bytes with diffID %s, and %s of %d bytes with diffID %s",
		e.A.Digest, e.A.MediaType, e.A.Size, e.A.DiffID(), e.B.MediaType, e.B.Size, e.B.DiffID())
}

// MergeOptions say how caches are merged. The zero value folds what is the same byte for byte.
type MergeOptions struct {
	// Blobs are layers that are the same as others, by the digest that is replaced: mostly those that were recompressed.
	// That their content is the same is the caller's claim. It is one step: a blob that replaces is not replaced itself.
	Blobs map[digest.Digest]Blob
}

// Merged is what Merge makes of caches.
type Merged struct {
	Cache              // in the form Artifact; the root's Config points to the config's bytes, those of its MarshalJSON
	Superseded int     // results that gave way to a newer one of the same record
	Cut        int     // alternatives of inputs that would have led BuildKit in a circle
	Dropped    Dropped // what BuildKit would not have imported from one of the caches
}

// Merge makes one cache that serves the builds of all the given ones. BuildKit hits with it what it would hit after it
// had imported each of them into one.
//
//   - Layers are one where blob and parents are the same, once options.Blobs were put in place.
//   - Records are one where the digest and, recursively, the inputs (selector and link, in any order) are the same.
//     Those whose inputs only overlap stay as they are; BuildKit unites them when it imports them. Where it would thereby
//     make a record depend on itself, which ends the daemon of v0.34.2, the alternatives are cut that close the circle.
//   - Of several results of a record the newest stays, as in BuildKit's own exports: by createdAt, whose text never
//     changes, then the one whose topmost layer has the lower digest. A chain is a result like any other, and becomes
//     one on layers with parents, as BuildKit makes of it; one without layers stays a chain.
//   - Layers that no result needs are left out. The root has one descriptor for each blob.
//   - Unknown members stay, in the order of their names. Where two caches disagree about one, or about an annotation, the
//     greater text stays; of the root's own, those that every cache has in the same words.
//
// The order of the caches does not matter, nor whether one comes twice; merging in steps gives the bytes of merging at
// once. (But for two cases: what the caches say about a layer beside its facts differs, and a step left out the layer; or a
// step cut a circle.)
// Time and memory are n log n in the size of the caches.
//
// Merge fails with a *RefusedError for a cache that BuildKit would give up, or with a layer that it can't use; with a
// *ConflictError; and with ErrNoResults. With a *SizeError, where config or root (as an artifact) is larger than
// MaxImport, it returns the cache all the same: Prune makes it fit.
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

// checkSizes returns a *SizeError where BuildKit would not import the cache.
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

// merger is a cache that caches are added to. All is kept by identity; indexes are given at the end.
type merger struct {
	layers  map[identity]*mergedLayer
	records map[identity]*mergedRecord
	listed  map[digest.Digest]Descriptor // of the layers
	read    map[digest.Digest]*imported  // the cache of which the descriptor was taken over last
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
	top       identity // of its topmost layer, zero where it has none
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

// add takes over what BuildKit imports of a cache.
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

// addLayers adds a layer and its parents, and returns what became of it. Those in places were added before.
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

// list takes over what a cache's root says of a blob, once.
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

// uniteDescriptors returns what two descriptors say of one blob, or a *ConflictError. What is no fact about its bytes may
// differ: the greater text stays, and with it the media type of a layer that may be distributed.
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

// compare returns more than 0 if the result is to stay instead of other, and 0 if they are one.
func (r result) compare(other *result) int {
	if other == nil {
		return 1
	}
	return cmp.Or(r.createdAt.Compare(other.createdAt.Time), -cmp.Compare(r.blob, other.blob), -r.top.compare(other.top))
}
