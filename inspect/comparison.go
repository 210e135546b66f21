package inspect

import (
	"cmp"
	_ "embed"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/webpage"
)

//go:embed comparison.html
var comparisonText string

// Comparison shows in a browser what has changed from cache A to cache B.
type Comparison struct {
	A, B Side
	*buildcache.Difference
	Warnings []string
}

// name returns the name of a record that is in A, in B, or in both.
func (c Comparison) name(a, b int) RecordName {
	return cmp.Or(nameAt(c.A.Names, a), nameAt(c.B.Names, b))
}

// Named reports whether any records have names.
func (c Comparison) Named() bool { return len(c.A.Names)+len(c.B.Names) > 0 }

// Side is one of the two caches.
type Side struct {
	Name   string
	Digest digest.Digest
	Form   buildcache.Form
	// Names are those of its config's records, or empty if they are not known.
	Names []RecordName
}

// comparisonPage is the data of the page.
type comparisonPage struct {
	Comparison
	Gone, New, Recompressed, Moved changes // of layers
	Layers                         []layerChange
	Records                        []recordChange
	LayersLeft, RecordsLeft        int // how many rows are not on the page
}

// changes count layers.
type changes struct {
	Count    int
	From, To int64 // bytes in A and in B
	What     string
}

// layerChange is a row in the table of layers. A side without the layer is nil.
type layerChange struct {
	What string
	A, B *buildcache.LayerAt
}

// Delta returns how many more bytes B has.
func (c layerChange) Delta() int64 {
	var delta int64
	if c.B != nil {
		delta += max(c.B.Size, 0)
	}
	if c.A != nil {
		delta -= max(c.A.Size, 0)
	}
	return delta
}

// recordChange is a row in the table of records. The index in a side without the record is -1.
type recordChange struct {
	What   string
	Digest digest.Digest
	A, B   int
	Result string
	Name   RecordName
}

// resultWords say how the results of a record differ.
var resultWords = map[buildcache.ResultChange]string{
	buildcache.ResultNew: "only in B", buildcache.ResultGone: "only in A", buildcache.ResultContent: "other layers",
	buildcache.ResultRecompressed: "the same content in other blobs", buildcache.ResultCreatedAt: "the same blobs, made at another time",
}

// WriteHTML writes the comparison as a self-contained page: it needs no network and no other file.
func (c Comparison) WriteHTML(w io.Writer) error {
	p := comparisonPage{Comparison: c}
	p.addLayers(c.Difference.Layers)
	p.addRecords(c.Difference.Records)
	title := "Caches differ"
	if c.Same() {
		title = "Caches are the same"
	}
	return webpage.Write(w, webpage.Page{Title: title, Body: comparisonText, Sortable: true, Data: p})
}

func (p *comparisonPage) addLayers(d buildcache.LayerDifference) {
	p.Gone, p.New = changes{What: "gone"}, changes{What: "new"}
	p.Recompressed, p.Moved = changes{What: "recompressed"}, changes{What: "moved"}
	for i := range d.Gone {
		p.addLayer(&p.Gone, &d.Gone[i], nil)
	}
	for i := range d.New {
		p.addLayer(&p.New, nil, &d.New[i])
	}
	for i := range d.Recompressed {
		p.addLayer(&p.Recompressed, &d.Recompressed[i].A, &d.Recompressed[i].B)
	}
	for i := range d.Moved {
		p.addLayer(&p.Moved, &d.Moved[i].A, &d.Moved[i].B)
	}
}

func (p *comparisonPage) addLayer(to *changes, a, b *buildcache.LayerAt) {
	to.Count++
	if a != nil {
		to.From = addSize(to.From, a.Size)
	}
	if b != nil {
		to.To = addSize(to.To, b.Size)
	}
	if len(p.Layers) == maxOnPage {
		p.LayersLeft++
		return
	}
	p.Layers = append(p.Layers, layerChange{to.What, a, b})
}

func (p *comparisonPage) addRecords(d buildcache.RecordDifference) {
	for _, at := range d.Gone {
		p.addRecord(recordChange{What: "gone", Digest: at.Digest, A: at.Index, B: -1})
	}
	for _, at := range d.New {
		p.addRecord(recordChange{What: "new", Digest: at.Digest, A: -1, B: at.Index})
	}
	for _, c := range d.Changed {
		p.addRecord(recordChange{What: "changed", Digest: c.B.Digest, A: c.A.Index, B: c.B.Index, Result: resultWords[c.Result]})
	}
}

func (p *comparisonPage) addRecord(c recordChange) {
	if len(p.Records) == maxOnPage {
		p.RecordsLeft++
		return
	}
	c.Name = p.name(c.A, c.B)
	p.Records = append(p.Records, c)
}
