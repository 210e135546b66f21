package buildcache

import (
	"cmp"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Difference is what has changed from cache A to cache B. Both are taken as BuildKit imports them, without what it drops.
// Everything is sorted by digest, so that it depends only on what the caches say. Lists may be empty, but are never nil.
type Difference struct {
	Layers  LayerDifference  `json:"layers"`
	Records RecordDifference `json:"records"`
	ToA     Transfer         `json:"toA"` // what B has and A lacks
	ToB     Transfer         `json:"toB"` // what A has and B lacks
}

// LayerDifference compares layers by position. Two positions are the same if the layer and those below it have the same
// content: the same diffIDs or, where a descriptor has none, the same blobs.
type LayerDifference struct {
	Gone         []LayerAt     `json:"gone"`         // in A only
	New          []LayerAt     `json:"new"`          // in B only
	Recompressed []LayerChange `json:"recompressed"` // in the same position, as another blob
	Moved        []LayerChange `json:"moved"`        // the same content, on other layers
}

// LayerAt is a layer in its position.
type LayerAt struct {
	Blob   digest.Digest `json:"blob"`
	DiffID digest.Digest `json:"diffID,omitempty"`
	Size   int64         `json:"size"`            // of the blob in bytes, as the root says
	Below  digest.Digest `json:"below,omitempty"` // the blob it lies on; "" for the lowest
}

// LayerChange is a layer in A and what it is in B.
type LayerChange struct {
	A LayerAt `json:"a"`
	B LayerAt `json:"b"`
}

// RecordDifference compares records: those with the same digest and, recursively, the same inputs are the same.
type RecordDifference struct {
	Gone    []RecordAt     `json:"gone"`    // in A only
	New     []RecordAt     `json:"new"`     // in B only
	Changed []RecordChange `json:"changed"` // in both, with other results
}

// RecordAt is a record in one of the caches. If several are the same, it is one of them.
type RecordAt struct {
	Digest digest.Digest `json:"digest"`
	Index  int           `json:"index"` // in Config.Records
}

// RecordChange is a record in both caches, and how its result changed; of several results, the newest.
type RecordChange struct {
	A      RecordAt     `json:"a"`
	B      RecordAt     `json:"b"`
	Result ResultChange `json:"result"`
}

// ResultChange says how the results of a record differ.
type ResultChange string

// The ways in which results differ.
const (
	ResultNew          ResultChange = "new"
	ResultGone         ResultChange = "gone"
	ResultContent      ResultChange = "content"      // other layers: the step produced something else
	ResultRecompressed ResultChange = "recompressed" // the same content in other blobs
	ResultCreatedAt    ResultChange = "created-at"   // the same blobs, created at another time
)

// Transfer is what has to be moved to a place that has one cache, so that it has all blobs of the other too. The root itself is
// not counted, as nothing says its size.
type Transfer struct {
	Blobs int   `json:"blobs"` // layers and the cache config
	Bytes int64 `json:"bytes"` // as the descriptors say
}

// Same reports whether the two have the same layers, records and results. Their roots and the order of what is in them
// may differ.
func (d *Difference) Same() bool {
	l, r := d.Layers, d.Records
	return len(l.Gone)+len(l.New)+len(l.Recompressed)+len(l.Moved)+len(r.Gone)+len(r.New)+len(r.Changed) == 0
}

// Diff compares two caches. Only layers that a result needs count. Time and memory are n log n in their size. It fails with a
// *RefusedError for a cache that BuildKit would reject.
func Diff(a, b Cache) (*Difference, error) {
	sideA, err := newSide(a, 0)
	if err != nil {
		return nil, err
	}
	sideB, err := newSide(b, 1)
	if err != nil {
		return nil, err
	}
	return &Difference{
		Layers: diffLayers(sideA, sideB), Records: diffRecords(sideA, sideB),
		ToA: transfer(b.Root, a.Root), ToB: transfer(a.Root, b.Root),
	}, nil
}

// transfer counts the blobs that from lists and to does not.
func transfer(from, to *Root) Transfer {
	has := to.LayersByDigest()
	has[to.Config.Digest] = to.Config
	wanted := from.LayersByDigest()
	wanted[from.Config.Digest] = from.Config
	var t Transfer
	for blob, d := range wanted {
		if _, ok := has[blob]; !ok {
			t.Blobs++
			t.Bytes = addSizes(t.Bytes, d.Size)
		}
	}
	return t
}

// side is one of the caches, with its layers by content.
type side struct {
	*merger
	places map[identity]identity      // the content of a layer and of those below, by the layer's own identity
	layers map[identity][]LayerAt     // by place
	in     map[digest.Digest][]placed // by content
}

// placed is a layer that the other side does not have in this position.
type placed struct {
	place identity
	LayerAt
}

func newSide(cache Cache, at int) (*side, error) {
	v, err := importCache(cache, at)
	if err != nil {
		return nil, err
	}
	s := &side{merger: newMerger(), places: map[identity]identity{}, layers: map[identity][]LayerAt{}, in: map[digest.Digest][]placed{}}
	if err := s.add(v); err != nil {
		return nil, err
	}
	for _, layer := range s.merger.layers {
		at := LayerAt{Blob: layer.Blob, DiffID: s.listed[layer.Blob].DiffID(), Size: s.listed[layer.Blob].Size}
		if below := s.merger.layers[layer.below]; below != nil {
			at.Below = below.Blob
		}
		place := s.place(layer)
		s.layers[place] = append(s.layers[place], at)
	}
	return s, nil
}

// content identifies what a layer has in it, however it is compressed.
func (l LayerAt) content() digest.Digest { return cmp.Or(l.DiffID, l.Blob) }

// place returns the position of a layer. It goes down to the first one whose position is known, and back up.
func (s *side) place(layer *mergedLayer) identity {
	var missing []*mergedLayer
	for ; layer != nil; layer = s.merger.layers[layer.below] {
		if _, ok := s.places[layer.id]; ok {
			break
		}
		missing = append(missing, layer)
	}
	var place identity
	if layer != nil {
		place = s.places[layer.id]
	}
	for _, l := range slices.Backward(missing) {
		content := cmp.Or(s.listed[l.Blob].DiffID(), l.Blob)
		place = identityOf(content).on(place)
		s.places[l.id] = place
	}
	return place
}

// diffLayers pairs the layers of both sides: first those in the same position, then those with the same content.
func diffLayers(a, b *side) LayerDifference {
	d := LayerDifference{Gone: []LayerAt{}, New: []LayerAt{}, Recompressed: []LayerChange{}, Moved: []LayerChange{}}
	for place, inA := range a.layers {
		onlyA, onlyB := onlyIn(inA, b.layers[place]), onlyIn(b.layers[place], inA)
		n := min(len(onlyA), len(onlyB))
		for i := range n {
			d.Recompressed = append(d.Recompressed, LayerChange{onlyA[i], onlyB[i]})
		}
		a.leave(place, onlyA[n:])
		b.leave(place, onlyB[n:])
	}
	for place, inB := range b.layers {
		if _, ok := a.layers[place]; !ok {
			b.leave(place, inB)
		}
	}
	for content, inA := range a.in {
		inB := b.in[content]
		n := min(len(inA), len(inB))
		sortPlaced(inA)
		sortPlaced(inB)
		for i := range n {
			d.Moved = append(d.Moved, LayerChange{inA[i].LayerAt, inB[i].LayerAt})
		}
		d.Gone = appendLayers(d.Gone, inA[n:])
		d.New = appendLayers(d.New, inB[n:])
	}
	for content, inB := range b.in {
		if _, ok := a.in[content]; !ok {
			d.New = appendLayers(d.New, inB)
		}
	}
	slices.SortFunc(d.Gone, LayerAt.compare)
	slices.SortFunc(d.New, LayerAt.compare)
	slices.SortFunc(d.Recompressed, LayerChange.compare)
	slices.SortFunc(d.Moved, LayerChange.compare)
	return d
}

// onlyIn returns the layers of a whose blob is not in b, sorted.
func onlyIn(a, b []LayerAt) []LayerAt {
	has := map[digest.Digest]bool{}
	for _, layer := range b {
		has[layer.Blob] = true
	}
	only := slices.DeleteFunc(slices.Clone(a), func(l LayerAt) bool { return has[l.Blob] })
	slices.SortFunc(only, LayerAt.compare)
	return only
}

// leave records the layers that the other side does not have in this position.
func (s *side) leave(place identity, layers []LayerAt) {
	for _, layer := range layers {
		s.in[layer.content()] = append(s.in[layer.content()], placed{place, layer})
	}
}

func sortPlaced(layers []placed) {
	slices.SortFunc(layers, func(a, b placed) int { return cmp.Or(a.LayerAt.compare(b.LayerAt), a.place.compare(b.place)) })
}

func appendLayers(to []LayerAt, layers []placed) []LayerAt {
	for _, layer := range layers {
		to = append(to, layer.LayerAt)
	}
	return to
}

func (l LayerAt) compare(other LayerAt) int {
	return cmp.Or(cmp.Compare(l.Blob, other.Blob), cmp.Compare(l.Below, other.Below))
}

func (c LayerChange) compare(other LayerChange) int {
	return cmp.Or(c.A.compare(other.A), c.B.compare(other.B))
}
