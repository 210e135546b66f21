package inspect

import (
	_ "embed"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/ocicache/ocicache/internal/webpage"
)

//go:embed page.html
var pageText string

// maxOnPage is how many layers, and how many records, a page lists in all. Of what is more it says how many.
const maxOnPage = 5000

// Page shows caches of a place, for people with a browser.
type Page struct {
	Place       string
	Unreachable *Unreached // nil where that was not looked for
	Warning     string     // what can't be told

	now             time.Time
	caches          []*pageCache
	layers, records int // how many more are listed
}

// NewPage returns a page without caches. Ages are those at the time now.
func NewPage(place string, now time.Time) *Page {
	return &Page{Place: place, now: now, layers: maxOnPage, records: maxOnPage}
}

// pageCache is a cache on a page.
type pageCache struct {
	*Summary
	ID                      int
	Largest                 int64 // layer
	Tree                    []branch
	Listed                  []Layer
	Nodes                   []node
	Drawing                 *drawing
	LayersLeft, RecordsLeft int
	Named                   bool // records have names
	Warnings                []string
	now                     time.Time
}

// Add puts a cache on the page. Of its config it keeps what it shows.
func (p *Page) Add(d Detailed) {
	g := newGraph(d)
	c := &pageCache{Summary: d.Summary, ID: len(p.caches), Named: len(d.Names) > 0, Warnings: d.Warnings, now: p.now}
	c.Listed = d.Layers[:min(len(d.Layers), p.layers)]
	c.Tree = g.tree(len(c.Listed))
	c.Nodes = g.nodes(p.records)
	c.Drawing = g.draw(c.Nodes)
	c.LayersLeft, c.RecordsLeft = len(d.Layers)-len(c.Listed), d.Records-len(c.Nodes)
	p.layers -= len(c.Listed)
	p.records -= len(c.Nodes)
	for _, l := range c.Listed {
		c.Largest = max(c.Largest, l.Size)
	}
	p.caches = append(p.caches, c)
}

// WriteHTML writes the page, which needs nothing else: no network, no other file.
func (p *Page) WriteHTML(w io.Writer) error {
	return webpage.Write(w, webpage.Page{Title: "Caches in " + p.Place, Body: pageText, Sortable: true, Data: struct {
		*Page
		Caches []*pageCache
		Now    time.Time
	}{p, p.caches, p.now}})
}

// Name is what the cache is called on the page.
func (c *pageCache) Name() string {
	if c.Tag == "" {
		return "untagged " + webpage.Short(c.Digest)
	}
	return c.Tag
}

// Share is how large a layer is beside the largest one, in percent.
func (c *pageCache) Share(l Layer) string { return webpage.Share(l.Size, c.Largest) }

// Age says how old something is, in a class of the style.
func (c *pageCache) Age(at *time.Time) string {
	const day = 24 * time.Hour
	if at == nil {
		return "age4"
	}
	for i, limit := range []time.Duration{day, 7 * day, 30 * day} {
		if c.now.Sub(*at) < limit {
			return "age" + strconv.Itoa(i)
		}
	}
	return "age3"
}

// state says what is wrong with a layer, else how it is packed.
func (l Layer) state() (text string, bad bool) {
	switch {
	case l.Missing:
		return "MISSING", true
	case l.ActualSize != nil:
		return fmt.Sprintf("DAMAGED (%s)", webpage.Bytes(*l.ActualSize)), true
	case l.Unlisted:
		return string(l.Compression) + " (not in the root)", true
	}
	return string(l.Compression), false
}

// State says how a layer is packed, or what is wrong with it.
func (c *pageCache) State(l Layer) string {
	text, _ := l.state()
	return text
}

// Bad reports whether something is wrong with a layer.
func (c *pageCache) Bad(l Layer) bool {
	_, bad := l.state()
	return bad
}

// When says when something was made.
func (c *pageCache) When(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.Format("2006-01-02 15:04:05")
}

// shownInputs is how many inputs of a record its row lists.
const shownInputs = 8

// Inputs are those that a row lists; MoreInputs says how many there are besides. Only records on the page can be linked to.
func (c *pageCache) Inputs(n node) []int { return n.Inputs[:min(len(n.Inputs), shownInputs)] }

// MoreInputs is how many inputs of a record its row does not list.
func (c *pageCache) MoreInputs(n node) int { return max(len(n.Inputs)-shownInputs, 0) }

// resultsText says what a record has.
func resultsText(n node) string {
	if n.Results == 0 {
		return "no result"
	}
	return english.Plural(n.Results, "result", "") + ", " + webpage.Bytes(n.Bytes)
}
