package migrate

import (
	"hash/maphash"
	"time"

	"github.com/ocicache/ocicache/layout"
)

// spent is what attempts took.
type spent struct {
	moved, lost, requests int64
	took                  layout.Seconds
	// begun is how many attempts were begun, ended how many lines say what an attempt took.
	begun, ended int32
}

// sending is how many bytes an attempt sent.
type sending struct {
	at    time.Time
	bytes int64
}

// lineKey identifies a line that says what an attempt took.
type lineKey struct {
	job
	time                  time.Time
	event                 Event
	moved, lost, requests int64
	took                  layout.Seconds
}

// spend adds what an attempt took, according to a line. A line that was also in another file counts once.
func (s *State) spend(k *known, r Record, at moment) {
	if s.lineOf != nil {
		key := maphash.Comparable(s.seed, lineKey{r.job(), r.Time, r.Event, r.Moved, r.Lost, r.Requests, r.Took})
		if reader, ok := s.lineOf[key]; ok && reader != at.reader {
			return
		}
		s.lineOf[key] = at.reader
	}
	switch {
	case r.Event == EventBegun:
		k.spent.begun++
	case !r.hasFailed() || r.Took > 0 || r.Requests > 0 || r.Moved > 0: // else it failed before it began
		k.spent.ended++
	}
	for _, sum := range []*spent{&k.spent, &s.sum} {
		sum.moved += r.Moved
		sum.lost += r.Lost
		sum.requests += r.Requests
		sum.took += r.Took
	}
	if r.Moved > 0 {
		s.sent = append(s.sent, sending{r.Time, r.Moved})
	}
}

// sentOf returns how many bytes earlier attempts at a cache have sent. Some that were not confirmed may have arrived nonetheless.
func (s *State) sentOf(j job) int64 {
	if k := s.find(j); k != nil {
		return k.spent.moved
	}
	return 0
}

// unmeasured returns how many attempts have no line that says what they took: they were killed, or are still at work.
func (s *State) unmeasured() (n int) {
	for k := range s.all() {
		n += int(max(k.spent.begun-k.spent.ended, 0))
	}
	return n
}
