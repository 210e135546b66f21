package migrate

import (
	_ "embed"
	"io"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/ocicache/ocicache/internal/webpage"
)

//go:embed page.html
var pageText string

// chartWidth and chartHeight are the size of a chart on the page.
const chartWidth, chartHeight = 720.0, 160.0

// bar is a step of the chart.
type bar struct {
	X, Y, Width, Height float64
	Title               string
}

// page is the data for the page.
type page struct {
	*Report
	Title, WorkedText   string
	Width, Height       float64
	PerCaches, PerBytes []bar
	MostCaches          int
	MostBytes           string
	StepText            string
	MostCause           int
}

// WriteHTML writes the report as a page that needs nothing else: no network, no other file.
func (r *Report) WriteHTML(w io.Writer) error {
	p := r.page()
	return webpage.Write(w, webpage.Page{Title: p.Title, Body: pageText, Data: p})
}

func (r *Report) page() page {
	p := page{Report: r, Width: chartWidth, Height: chartHeight, Title: "Migration: " + r.Headline()}
	p.WorkedText = time.Duration(r.Worked).Round(time.Second).String()
	var mostBytes int64
	for _, s := range r.Throughput {
		p.MostCaches, mostBytes = max(p.MostCaches, s.Caches), max(mostBytes, s.Bytes)
	}
	p.MostBytes = webpage.Bytes(mostBytes)
	for i, s := range r.Throughput {
		at := s.Begun.UTC().Format(time.TimeOnly)
		p.PerCaches = append(p.PerCaches, r.bar(i, float64(s.Caches), float64(p.MostCaches), at+": "+english.Plural(s.Caches, "cache", "")))
		p.PerBytes = append(p.PerBytes, r.bar(i, float64(s.Bytes), float64(mostBytes), at+": "+webpage.Bytes(s.Bytes)))
	}
	if len(r.Throughput) > 1 {
		p.StepText = r.Throughput[1].Begun.Sub(r.Throughput[0].Begun).String()
	}
	for _, c := range r.Causes {
		p.MostCause = max(p.MostCause, c.Count)
	}
	return p
}

// bar returns the bar of a step. Its height is the step's share of the highest.
func (r *Report) bar(i int, value, most float64, title string) bar {
	width := chartWidth / float64(len(r.Throughput))
	height := chartHeight * value / max(most, 1)
	return bar{X: float64(i) * width, Y: chartHeight - height, Width: max(width-1, 1), Height: height, Title: title}
}
