package migrate

import (
	"fmt"
	"strings"
)

// Became counts what became of caches, each by its newest line. This is the one place where lines become numbers, both for a run and for
// a report.
type Became struct {
	Done   int `json:"done"`   // brought over
	There  int `json:"there"`  // already there
	Failed int `json:"failed"` // including those that can't succeed
	// NotTried were not begun, or not finished, because a registry was given up; or an interrupted run did not reach them.
	NotTried int `json:"notTried"`
	// Interrupted were begun and did not end: the run was interrupted or killed, or is still at work.
	Interrupted int `json:"interrupted"`
	Sources     int `json:"failedSources"` // sources that could not be looked at, or have too few tags
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

// caches returns how many caches are not at their targets.
func (b Became) caches() int { return b.Failed + b.NotTried + b.Interrupted }

// Left returns how many caches are not at their targets. A source that could not be looked at counts as one.
func (b Became) Left() int { return b.caches() + b.Sources }

// LeftInWords says how many caches are not at their targets, by reason, or "0" if there are none.
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
