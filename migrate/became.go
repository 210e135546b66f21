package migrate

import (
	"fmt"
	"strings"
)

// Became is how many caches became what: each counts by its newest line. It is the one place where lines become numbers, those of a run
// and those of a report.
type Became struct {
	Done   int `json:"done"`   // brought over
	There  int `json:"there"`  // there already
	Failed int `json:"failed"` // those that can't succeed among them
	// NotTried were not begun, or to no end, as a registry was given up; and those that an interrupted run did not come to.
	NotTried int `json:"notTried"`
	// Interrupted were begun, and did not end: the run was interrupted or killed, or is at work still.
	Interrupted int `json:"interrupted"`
	Sources     int `json:"failedSources"` // that could not be looked at, or have too few tags
}

// take counts what the newest line about a cache, or a source, says.
func (b *Became) take(r Record) {
	if r.isSource() {
		b.Sources++
		return
	}
	switch r.Event {
	case EventDone:
		b.Done++
	case EventThere:
		b.There++
	case EventFailed:
		b.Failed++
	case EventNotTried:
		b.NotTried++
	case EventBegun, EventInterrupted:
		b.Interrupted++
	case EventRun, EventEnded:
	}
}

func (b *Became) plus(o Became) {
	b.Done += o.Done
	b.There += o.There
	b.Failed += o.Failed
	b.NotTried += o.NotTried
	b.Interrupted += o.Interrupted
	b.Sources += o.Sources
}

// caches is how many caches are not at their targets.
func (b Became) caches() int { return b.Failed + b.NotTried + b.Interrupted }

// Left is how much is not at its target. A source that could not be looked at counts as one.
func (b Became) Left() int { return b.caches() + b.Sources }

// LeftInWords says how many caches are not at their targets for which reason, "0" for none.
func (b Became) LeftInWords() string {
	return inWords(b.Failed, b.NotTried, b.Interrupted)
}

// inWords says how many caches failed, were not tried and were interrupted, or "0".
func inWords(failed, notTried, interrupted int) string {
	var words []string
	for _, part := range []struct {
		n    int
		word string
	}{{failed, "failed"}, {notTried, "not tried"}, {interrupted, "interrupted"}} {
		if part.n > 0 {
			words = append(words, fmt.Sprintf("%d %s", part.n, part.word))
		}
	}
	if len(words) == 0 {
		return "0"
	}
	return strings.Join(words, ", ")
}
