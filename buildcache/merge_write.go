package buildcache

import (
	"cmp"
	"fmt"
	"slices"
)

// cacheWithoutCircles writes what was added, and cuts circles until there are none. It folds what is the same after a cut.
func (m *merger) cacheWithoutCircles() (*Merged, error) {
	merged, err := m.cache()
	if err != nil {
		return nil, err
	}
	for range maxCuts {
		v, err := importCache(merged.Cache, 0)
		if err != nil {
			return nil, err
		}
		cut := v.cutCircles()
		if cut == 0 {
			return merged, nil
		}
		again, err := folded(v.Cache)
		if err != nil {
			return nil, err
		}
		again.Dropped, again.Superseded, again.Cut = merged.Dropped, merged.Superseded, merged.Cut+cut
		merged = again
	}
	return nil, fmt.Errorf("records depend on each other in more ways than anybody builds; %d alternatives were cut", merged.Cut)
}

// folded returns a cache in which everything that is the same is folded.
func folded(cache Cache) (*Merged, error) {
	v, err := importCache(cache, 0)
	if err != nil {
		return nil, err
	}
	m := newMerger()
	if err := m.add(v); err != nil {
		return nil, err
	}
	return m.cache()
}

// cache writes what was added, in an order that depends only on what was added.
func (m *merger) cache() (*Merged, error) {
	merged := &Merged{Dropped: m.dropped, Superseded: len(m.results)}
	config := &Config{Extra: m.config}
	for _, record := range m.records {
		if record.best != nil {
			merged.Superseded--
			m.use(record.best.top)
		}
	}
	if len(m.results) == 0 {
		return nil, ErrNoResults
	}
	root := &Root{Form: Artifact, MediaType: MediaTypeOCIManifest, Extra: *m.root, version: 2}
	for _, layer := range m.sortedLayers() {
		config.Layers = append(config.Layers, layer.Layer)
		// Layers with the same blob are adjacent, and share one descriptor.
		if n := len(root.Layers); n == 0 || root.Layers[n-1].Digest != layer.Blob {
			root.Layers = append(root.Layers, m.listed[layer.Blob])
		}
	}
	for _, record := range m.sortedRecords() {
		config.Records = append(config.Records, m.write(record))
	}
	raw, err := config.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("write cache config: %w", err)
	}
	root.Config.MediaType = MediaTypeConfig
	root.SetConfig(raw)
	merged.Cache = Cache{root, config}
	return merged, nil
}

// use marks a layer and those below it as needed.
func (m *merger) use(id identity) {
	for layer := m.layers[id]; layer != nil && !layer.used; layer = m.layers[layer.below] {
		layer.used = true
	}
}

// sortedLayers returns the layers in use in the order of writing: by blob, as BuildKit does, then by the layers
// below. It sets their indexes and parents.
func (m *merger) sortedLayers() []*mergedLayer {
	var layers []*mergedLayer
	for _, layer := range m.layers {
		if layer.used {
			layers = append(layers, layer)
		}
	}
	slices.SortFunc(layers, func(a, b *mergedLayer) int { return cmp.Or(cmp.Compare(a.Blob, b.Blob), a.id.compare(b.id)) })
	for i, layer := range layers {
		layer.index = i
	}
	for _, layer := range layers {
		layer.Extra = layer.extra.extra()
		if layer.Annotations != nil {
			layer.Annotations.Extra = layer.annotated.extra()
		}
		layer.Parent = NoParent
		if parent := m.layers[layer.below]; parent != nil {
			layer.Parent = parent.index
		}
	}
	return layers
}

// sortedRecords returns the records in the order of writing, and sets their indexes: by digest and number of inputs, as
// BuildKit does; then those with more alternatives first, because BuildKit unites overlapping records as it meets them, and
// only in part if one that overlaps two others comes last; then by the inputs.
func (m *merger) sortedRecords() []*mergedRecord {
	records := make([]*mergedRecord, 0, len(m.records))
	for _, record := range m.records {
		records = append(records, record)
	}
	slices.SortFunc(records, func(a, b *mergedRecord) int {
		return cmp.Or(cmp.Compare(a.digest, b.digest), cmp.Compare(len(a.inputs), len(b.inputs)),
			-cmp.Compare(a.alternatives(), b.alternatives()), a.id.compare(b.id))
	})
	for i, record := range records {
		record.index = i
	}
	return records
}

// alternatives returns how many alternatives the inputs have in all.
func (r *mergedRecord) alternatives() int {
	n := 0
	for _, slot := range r.inputs {
		n += len(slot)
	}
	return n
}

func (m *merger) write(from *mergedRecord) Record {
	record := Record{Digest: from.digest, Extra: from.extra.extra()}
	switch best := from.best; {
	case best == nil:
	case best.top == identity{}:
		record.Chains = []Chain{{Layers: []int{}, CreatedAt: best.createdAt, Extra: best.extra.extra()}}
	default:
		record.Results = []Result{{Layer: m.layers[best.top].index, CreatedAt: best.createdAt, Extra: best.extra.extra()}}
	}
	for _, alternatives := range from.inputs {
		var slot []Input
		for input, extra := range alternatives {
			slot = append(slot, Input{Selector: input.selector, Link: m.records[input.record].index, Extra: extra.extra()})
		}
		slices.SortFunc(slot, func(a, b Input) int {
			return cmp.Or(cmp.Compare(a.Link, b.Link), cmp.Compare(a.Selector, b.Selector))
		})
		record.Inputs = append(record.Inputs, slot)
	}
	return record
}
