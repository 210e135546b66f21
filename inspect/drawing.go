package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ocicache/ocicache/internal/webpage"
)

// How far apart records are drawn, how many are drawn side by side, and how many lines at most.
const (
	stepX, stepY = 28, 40
	perRow       = 38
	maxEdges     = 20_000
	labelBelow   = 17 // how far a label is below the middle of its record
)

// drawing is the graph of records as a picture: records without inputs on top, each record below all its inputs.
type drawing struct {
	Width, Height int
	Dots          []dot
	Edges         string // the path of all lines
	EdgesLeft     int    // lines that are not drawn
}

// dot is a record in the drawing.
type dot struct {
	X, Y  int
	Index int
	Class string
	Title string
	Label string // below it
}

// Below returns the Y of the record's label.
func (d dot) Below() int { return d.Y + labelBelow }

// draw draws records.
func (g *graph) draw(nodes []node) *drawing {
	if len(nodes) == 0 {
		return nil
	}
	d := &drawing{Width: stepX * 4, Dots: make([]dot, len(nodes))}
	y := stepY / 2
	for _, level := range g.byLevel(nodes) {
		d.sort(level, nodes)
		for row := range slices.Chunk(level, perRow) {
			width := len(row) * stepX
			d.Width = max(d.Width, width)
			for i, n := range row {
				d.Dots[n] = newDot(nodes[n], (2*i+1)*stepX/2-width/2, y)
			}
			y += stepY
		}
	}
	d.Height = y - stepY/2
	for i := range d.Dots { // so far they are centered around 0
		d.Dots[i].X += d.Width / 2
	}
	d.connect(nodes)
	return d
}

// byLevel returns the indexes of nodes by level, lowest first, with those in circles or above one last.
func (g *graph) byLevel(nodes []node) [][]int {
	var rows [][]int
	var circles []int
	for i := range nodes {
		level := g.records.of[i]
		if level < 0 {
			circles = append(circles, i)
			continue
		}
		for level >= len(rows) {
			rows = append(rows, nil)
		}
		rows[level] = append(rows[level], i)
	}
	rows = append(rows, circles)
	return slices.DeleteFunc(rows, func(row []int) bool { return len(row) == 0 })
}

// sort orders the records of a level by the position of their inputs, so that fewer lines cross.
func (d *drawing) sort(level []int, nodes []node) {
	middle := make(map[int]float64, len(level))
	for _, n := range level {
		sum, count := 0, 0
		for _, input := range nodes[n].Inputs {
			if input < len(nodes) {
				sum += d.Dots[input].X
				count++
			}
		}
		middle[n] = float64(sum) / float64(max(count, 1))
	}
	slices.SortStableFunc(level, func(a, b int) int { return cmp.Compare(middle[a], middle[b]) })
}

func newDot(n node, x, y int) dot {
	at := dot{X: x, Y: y, Index: n.Index, Title: fmt.Sprintf("#%d %s, %s", n.Index, webpage.Short(n.Digest), resultsText(n)), Label: n.Name.line()}
	if n.Results > 0 {
		at.Class = "has"
	}
	if name := n.Name.String(); name != "" {
		at.Title = name + "\n" + at.Title
	}
	if n.Circle {
		at.Class += " lost"
	}
	return at
}

// connect draws the lines from inputs to the records that have them.
func (d *drawing) connect(nodes []node) {
	var path strings.Builder
	drawn := 0
	for i, n := range nodes {
		to := d.Dots[i]
		for _, input := range n.Inputs {
			if input >= len(nodes) || drawn == maxEdges {
				d.EdgesLeft++
				continue
			}
			drawn++
			from := d.Dots[input]
			fmt.Fprintf(&path, "M%d %dC%d %d %d %d %d %d", from.X, from.Y, from.X, from.Y+stepY/2, to.X, to.Y-stepY/2, to.X, to.Y)
		}
	}
	d.Edges = path.String()
}
