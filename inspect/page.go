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

// maxOnPage is how many layers, and how many records, a page lists in all. It says how many more there are.
const maxOnPage = 5000

// Page shows caches of a place in a browser.
type Page struct {
	Place       string
	Unreachable *Unreached // nil if they were not looked for
	Warning     string     // what could not be found out

	now             time.Time
	caches          []*pageCache
	layers, records int // how many more may be listed
}

// NewPage returns a page without caches. Ages are as of now.
func NewPage(place string, now time.Time) *Page {
	return &Page{Place: place, now: now, layers: maxOnPage, records: maxOnPage}
}

// pageCache is a cache on a page.
type pageCache struct {
	*Summary
	ID                      int
	Largest                 int64 // size of a layer
	Tree                    []branch
	Listed                  []Layer
	Nodes                   []node
	Drawing                 *drawing
	LayersLeft, RecordsLeft int
	Named                   bool // records have names
	Warnings                []string
	now                     time.Time
}

// Add puts a cache on the page. It keeps only the part of its config that it shows.
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

// WriteHTML writes the page, which is self-contained: it needs no network and no other file.
func (p *Page) WriteHTML(w io.Writer) error {
	return webpage.Write(w, webpage.Page{Title: "Caches in " + p.Place, Body: pageText, Sortable: true, Data: struct {
		*Page
		Caches []*pageCache
		Now    time.Time
	}{p, p.caches, p.now}})
}

// Name returns what the cache is called on the page.
func (c *pageCache) Name() string {
	if c.Tag == "" {
		return "untagged " + webpage.Short(c.Digest)
	}
	return c.Tag
}

// Share returns the size of a layer in percent of the largest one.
func (c *pageCache) Share(l Layer) string { return webpage.Share(l.Size, c.Largest) }

// Age returns the style's class for how old something is.
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

// state says what is wrong with a layer, or else how it is compressed.
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

// State says what is wrong with a layer, or else how it is compressed.
func (c *pageCache) State(l Layer) string {
	text, _ := l.state()
	return text
}

// Bad reports whether something is wrong with a layer.
func (c *pageCache) Bad(l Layer) bool {
	_, bad := l.state()
	return bad
}

// When says when something was created.
func (c *pageCache) When(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.Format("2006-01-02 15:04:05")
}

// shownInputs is how many inputs of a record its row lists.
const shownInputs = 8

// Inputs returns the inputs that a row lists; MoreInputs returns how many more there are. Only records on the page can be linked to.
func (c *pageCache) Inputs(n node) []int { return n.Inputs[:min(len(n.Inputs), shownInputs)] }

// MoreInputs returns how many inputs of a record its row does not list.
func (c *pageCache) MoreInputs(n node) int { return max(len(n.Inputs)-shownInputs, 0) }

// resultsText says how many results a record has, and the newest's size.
func resultsText(n node) string {
	if n.Results == 0 {
		return "no result"
	}
	return english.Plural(n.Results, "result", "") + ", " + webpage.Bytes(n.Bytes)
}
