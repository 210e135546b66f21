package layouttest

import "github.com/ocicache/ocicache/layout"

// Amounts are what events add up to: what was planned, in blobs and bytes, and what was done of it.
type Amounts struct {
	Blobs, Done  int
	Total, Bytes int64
}

// Take adds what an event says.
func (a *Amounts) Take(e layout.Event) {
	switch e.Kind {
	case layout.EventPlan:
		a.Blobs += e.Count
		a.Total += e.Total
	case layout.EventBytes:
		a.Bytes += e.Bytes
	case layout.EventDone:
		if e.Err == nil {
			a.Done++
		}
	case layout.EventStart, layout.EventRetry:
	}
}
