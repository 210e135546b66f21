package migrate

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// State is what lines say that became of caches. Where they come from several files, it is the same in whatever order these are read.
type State struct {
	Runs []RunLines
	// Skipped is how many lines are none of a state: torn by a crash, or of another program in a log.
	Skipped int

	last map[job]*known
	all  spent     // by all attempts at all caches
	sent []sending // in the order of the lines
	// lineOf is the reader of each line, by a hash: a file may be read twice, as it is and in a log.
	lineOf map[uint64]int
	seed   maphash.Seed
	at     map[string][]job  // by target
	listed map[string]moment // when a source was last known to be listed, by listedKey

	words map[string]string // those that lines repeat, once each

	reader, lines int
	run           int // the one that lines belong to, an index of Runs; less than 0 for none
}

// RunLines are what lines say of a run.
type RunLines struct {
	Record           // of its beginning
	End    *Record   // nil where it did not end, or has not yet
	Cut    *Record   // where it did not end because it was interrupted, what it said then
	Last   time.Time // of its last line

	at moment
}

// known is what is known of a job.
type known struct {
	Record          // the last line
	at      moment  // of that line
	run     int     // of that line, an index of Runs
	first   moment  // of the first line
	touched moment  // when it was last begun, or found at its target; the zero moment for never
	brought *effort // by the line that it was brought there
	spent   spent   // by all attempts
}

// effort is what a line says that brought something to its target.
type effort struct {
	time  time.Time
	from  digest.Digest
	saved int64
	freed []buildcache.Freed
}

// word returns the one copy of a text that many lines have. There are many lines, and each was read into memory of its own.
func (s *State) word(text string) string {
	if known, ok := s.words[text]; ok {
		return known
	}
	s.words[text] = text
	return text
}

// moment says when a line was written. Those of one second have the order of their file.
type moment struct {
	time         time.Time
	reader, line int
}

// compare compares by time, and lines of one file by their order.
func (m moment) compare(o moment) int {
	if c := m.time.Compare(o.time); c != 0 || m.reader != o.reader {
		return c
	}
	return cmp.Compare(m.line, o.line)
}

// NewState returns the state of what has not begun.
func NewState() *State {
	return &State{
		last: map[job]*known{}, at: map[string][]job{}, listed: map[string]moment{}, words: map[string]string{}, run: -1,
		lineOf: map[uint64]int{}, seed: maphash.MakeSeed(),
	}
}

// next begins another file.
func (s *State) next() { s.reader, s.run = s.reader+1, -1 }

// Add adds what a line says.
func (s *State) Add(r Record) {
	s.lines++
	at := moment{r.Time, s.reader, s.lines}
	switch r.Event {
	case EventRun:
		s.run = len(s.Runs)
		s.Runs = append(s.Runs, RunLines{Record: r, Last: r.Time, at: at})
	case EventEnded:
		s.end(r)
	case EventBegun, EventDone, EventThere, EventFailed, EventNotTried, EventInterrupted:
		s.add(r, at)
	}
}

// end takes note of the end of a run: the last one of the file that has not ended, of the same shard.
func (s *State) end(r Record) {
	for i := len(s.Runs) - 1; i >= 0; i-- {
		run := &s.Runs[i]
		if run.at.reader == s.reader && run.End == nil && run.Cut == nil && run.Shard == r.Shard {
			if run.Last = latest(run.Last, r.Time); r.Interrupted {
				run.Cut = &r
			} else {
				run.End = &r
			}
			return
		}
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// add takes a line about a cache, or a source, in.
func (s *State) add(r Record, at moment) {
	if s.run >= 0 {
		s.Runs[s.run].Last = latest(s.Runs[s.run].Last, r.Time)
	}
	r.Source, r.As, r.Event = s.word(r.Source), s.word(r.As), Event(s.word(string(r.Event)))
	r.Form, r.Cause = buildcache.Form(s.word(string(r.Form))), Cause(s.word(string(r.Cause)))
	if r.To == r.From {
		r.To = r.From
	}
	j := r.job()
	k := s.last[j]
	if k != nil {
		r.Tag, r.Target = k.Tag, k.Target
	} else {
		k = &known{Record: r, at: at, run: s.run, first: at}
		s.last[j] = k
		s.at[r.Target] = append(s.at[r.Target], j)
	}
	s.spend(k, r, at)
	if at.compare(k.first) < 0 {
		k.first = at
	}
	if later(at, r, k) {
		k.Record, k.at, k.run = r, at, s.run
	}
	if r.Event == EventBegun || r.isOver() {
		if k.touched.compare(at) < 0 {
			k.touched = at
		}
	}
	if r.Event == EventDone && (k.brought == nil || !r.Time.Before(k.brought.time)) {
		k.brought = &effort{r.Time, r.From, r.Saved, r.Freed}
	}
	if !r.isSource() {
		if key := s.listedKey(s.run, r); s.listed[key].compare(at) < 0 {
			s.listed[key] = at
		}
	}
}

// later reports whether a line counts rather than the one that is known. Where files disagree about one second, that counts which
// says more.
func later(at moment, r Record, k *known) bool {
	if c := at.compare(k.at); c != 0 {
		return c > 0
	}
	return cmp.Or(cmp.Compare(rank(r.Event), rank(k.Event)), strings.Compare(string(r.From+r.To), string(k.From+k.To))) > 0
}

func rank(e Event) int {
	return slices.Index([]Event{EventBegun, EventInterrupted, EventNotTried, EventFailed, EventDone, EventThere}, e)
}

// of returns what a run may go by. What was brought to a target counts for nothing where something else was begun there since: that
// may have replaced it.
func (s *State) of(j job) (Record, bool) {
	k := s.last[j]
	if k == nil {
		return Record{}, false
	}
	r := k.Record
	if !r.isOver() {
		return r, true
	}
	for _, other := range s.at[r.Target] {
		if touched := s.last[other].touched; other != j && k.at.compare(touched) < 0 {
			r.Event = EventBegun
		}
	}
	return r, true
}

// hasFailed reports whether something of a source has failed for a cause.
func (s *State) hasFailed(source string, cause Cause) bool {
	for _, k := range s.last {
		if k.Source == source && !k.isOver() && k.Cause == cause {
			return true
		}
	}
	return false
}

// Caches returns the last line of each cache, with what all attempts took together, and of each source that could not be listed, in the order in which they were begun. What
// became another's, by a later plan, is left out, and so are sources that were listed later.
func (s *State) Caches() []Record {
	var all []*known
	newest := s.newest()
	for _, k := range s.last {
		if newest.replaced(k) || k.isSource() && s.wasListed(k) {
			continue
		}
		all = append(all, k)
	}
	byLine := func(*known, *known) int { return 0 }
	if s.reader <= 1 {
		byLine = func(a, b *known) int { return a.first.compare(b.first) }
	}
	slices.SortFunc(all, func(a, b *known) int {
		return cmp.Or(a.first.time.Compare(b.first.time), byLine(a, b), strings.Compare(a.Source, b.Source), strings.Compare(a.Tag, b.Tag), strings.Compare(a.Target, b.Target),
			strings.Compare(a.As, b.As))
	})
	records := make([]Record, len(all))
	for i, k := range all {
		records[i] = k.Record
		records[i].Moved, records[i].Lost, records[i].Requests, records[i].Took = k.spent.moved, k.spent.lost, k.spent.requests, k.spent.took
		if before := k.brought; k.Event == EventThere && before != nil && before.from == k.From {
			records[i].Time, records[i].Saved, records[i].Freed = before.time, before.saved, before.freed
		}
	}
	return records
}

// newest are the jobs that count, of those about one cache and its target, and of those whose caches were brought to one target.
type newest struct {
	of map[job]*known // without Record.As
	at map[string]*known
}

func (s *State) newest() newest {
	n := newest{of: map[job]*known{}, at: map[string]*known{}}
	for _, k := range s.last {
		j := k.job()
		j.as = ""
		if before := n.of[j]; before == nil || before.at.compare(k.at) < 0 {
			n.of[j] = k
		}
		if before := n.at[k.Target]; k.isOver() && (before == nil || before.at.compare(k.at) < 0) {
			n.at[k.Target] = k
		}
	}
	return n
}

// replaced reports whether what is known of a job is true no more: the plan makes something else of the cache, or something else was
// brought to its target.
func (n newest) replaced(k *known) bool {
	j := k.job()
	j.as = ""
	if k.at.compare(n.of[j].at) < 0 {
		return true
	}
	return k.isOver() && k.at.compare(n.at[k.Target].at) < 0
}

// wasListed reports whether a source that could not be worked on could be later, by the same shard: it has lines of caches since, or
// there is a run since that ended without saying so again.
func (s *State) wasListed(k *known) bool {
	if listed, ok := s.listed[s.listedKey(k.run, k.Record)]; ok && k.at.compare(listed) < 0 {
		return true
	}
	return slices.ContainsFunc(s.Runs, func(run RunLines) bool {
		looked := run.isWhole() || run.Only == k.Cause
		return run.End != nil && looked && k.at.compare(run.at) < 0 && k.run >= 0 && run.of() == s.Runs[k.run].of()
	})
}

// listedKey is a source at a target, and who works on it.
func (s *State) listedKey(run int, r Record) string {
	who := ""
	if run >= 0 {
		who = s.Runs[run].of()
	}
	return who + "\x00" + r.Source + "\x00" + r.As
}

// of tells apart who works on what: a shard, wherever its lines are, or the runs of one file.
func (r RunLines) of() string {
	if r.Shard != "" {
		return r.Shard
	}
	return fmt.Sprint("file ", r.at.reader)
}

// isWhole reports whether the run was about all of its shard.
func (r RunLines) isWhole() bool { return r.Only == "" || r.Only == OnlyFailed }
