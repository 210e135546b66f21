package migrate

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// State is what became of caches, according to lines. If these come from several files, the order of reading does not matter.
type State struct {
	Runs []RunLines
	// Skipped is how many lines do not belong to a state: torn by a crash, or written to a log by another program.
	Skipped int

	last map[uint64]*known // by a hash of the job
	sum  spent             // of all attempts at all caches
	sent []sending         // in the order of the lines
	// lineOf is the reader of each line, by a hash: a file may be read twice, as it is and in a log. It is nil for a single file.
	lineOf map[uint64]int32
	seed   maphash.Seed
	at     map[uint64]*known // by a hash of the target, the newest first
	listed map[string]moment // when a source was last known to be listed, by listedKey

	words   []string // texts that many lines share
	numbers map[string]word

	reader, lines int
	run           int // the run that lines belong to, an index of Runs; negative for none
}

// RunLines are what lines say about a run.
type RunLines struct {
	Record           // of its beginning
	End    *Record   // nil if it did not end, or has not yet
	Cut    *Record   // the last line of a run that was interrupted, else nil
	Last   time.Time // of its last line

	at moment
}

// known is what is known of a job.
type known struct {
	line            // the last one
	at      moment  // of that line
	run     int32   // of that line, an index of Runs
	first   moment  // of the first line
	touched moment  // when it was last begun, or found at its target; the zero moment for never
	brought *effort // from the line that says it was brought there, if that is not the last one
	spent   spent   // of all attempts

	next   *known // with the same hash of the job
	beside *known // with the same hash of the target
}

// effort is what is kept of a line that brought something to its target.
type effort struct {
	time  time.Time
	from  digest.Digest
	saved int64
	freed []buildcache.Freed
}

// compare orders by time, and lines of one file with the same time as they stand there.
func (m moment) compare(o moment) int {
	if c := cmp.Compare(m.micros, o.micros); c != 0 || m.reader != o.reader {
		return c
	}
	return cmp.Compare(m.line, o.line)
}

// NewState returns the state of a migration that has not begun.
func NewState() *State {
	return &State{
		last: map[uint64]*known{}, at: map[uint64]*known{}, listed: map[string]moment{}, numbers: map[string]word{}, run: -1,
		lineOf: map[uint64]int32{}, seed: maphash.MakeSeed(),
	}
}

// next begins another file.
func (s *State) next() { s.reader, s.run = s.reader+1, -1 }

// Add adds what a line says.
func (s *State) Add(r Record) {
	s.lines++
	at := momentOf(r.Time, s.reader, s.lines)
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

// end records the end of a run: the last one of the file, and of the same shard, that has not ended.
func (s *State) end(r Record) {
	for i := len(s.Runs) - 1; i >= 0; i-- {
		run := &s.Runs[i]
		if int(run.at.reader) == s.reader && run.End == nil && run.Cut == nil && run.Shard == r.Shard {
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

// add takes in a line about a cache or a source.
func (s *State) add(r Record, at moment) {
	if s.run >= 0 {
		s.Runs[s.run].Last = latest(s.Runs[s.run].Last, r.Time)
	}
	k := s.find(r.job())
	switch {
	case k == nil:
		k = s.begin(r, at)
	case s.isLater(at, r, k):
		k.keepBrought(s.record(&k.line, k.at))
		k.line, k.at, k.run = s.newLine(r), at, int32(s.run) //nolint:gosec // nobody has as many
	default:
		k.keepBrought(r)
	}
	s.spend(k, r, at)
	if at.compare(k.first) < 0 {
		k.first = at
	}
	if (r.Event == EventBegun || r.isOver()) && k.touched.compare(at) < 0 {
		k.touched = at
	}
	if !r.isSource() {
		if key := s.listedKey(s.run, r.Source, r.As); s.listed[key].compare(at) < 0 {
			s.listed[key] = at
		}
	}
}

// begin takes in the first line about a job.
func (s *State) begin(r Record, at moment) *known {
	k := &known{line: s.newLine(r), at: at, run: int32(s.run), first: at} //nolint:gosec // nobody has as many
	j := maphash.Comparable(s.seed, r.job())
	k.next, s.last[j] = s.last[j], k
	target := maphash.String(s.seed, r.Target)
	k.beside, s.at[target] = s.at[target], k
	return k
}

// find returns what is known of a job, or nil.
func (s *State) find(j job) *known {
	k := s.last[maphash.Comparable(s.seed, j)]
	for k != nil && !s.isOf(&k.line, j) {
		k = k.next
	}
	return k
}

// all returns what is known of each job.
func (s *State) all() iter.Seq[*known] {
	return func(yield func(*known) bool) {
		for _, k := range s.last {
			for ; k != nil; k = k.next {
				if !yield(k) {
					return
				}
			}
		}
	}
}

// keepBrought keeps a line that is not the last one, if it says that something was brought to its target.
func (k *known) keepBrought(r Record) {
	if r.Event == EventDone && (k.brought == nil || !r.Time.Before(k.brought.time)) {
		k.brought = &effort{r.Time, r.From, r.Saved, r.Freed}
	}
}

// isLater reports whether a line counts instead of the known one. If files disagree about the same second, the line that says
// more counts.
func (s *State) isLater(at moment, r Record, k *known) bool {
	if c := at.compare(k.at); c != 0 {
		return c > 0
	}
	before := s.record(&k.line, k.at)
	return cmp.Or(cmp.Compare(rank(r.Event), rank(before.Event)), strings.Compare(string(r.From+r.To), string(before.From+before.To))) > 0
}

func rank(e Event) int {
	return slices.Index([]Event{EventBegun, EventInterrupted, EventNotTried, EventFailed, EventDone, EventThere}, e)
}

// of returns what a run may rely on. What was brought to a target does not count if something else was begun there since: that
// may have replaced it.
func (s *State) of(j job) (Record, bool) {
	k := s.find(j)
	if k == nil {
		return Record{}, false
	}
	r := s.record(&k.line, k.at)
	if !r.isOver() {
		return r, true
	}
	for other := s.at[maphash.String(s.seed, j.target)]; other != nil; other = other.beside {
		if other != k && s.isAt(&other.line, j.target) && k.at.compare(other.touched) < 0 {
			r.Event = EventBegun
		}
	}
	return r, true
}

// hasFailed reports whether something of a source has failed for a cause.
func (s *State) hasFailed(source string, cause Cause) bool {
	for k := range s.all() {
		if r := s.record(&k.line, k.at); r.Source == source && !r.isOver() && r.Cause == cause {
			return true
		}
	}
	return false
}

// Caches returns the last line of each cache, with what all attempts took together, and of each source that could not be listed, in the
// order in which they were begun. It leaves out what a later plan replaced, and sources that were listed later.
func (s *State) Caches() []Record {
	type begun struct {
		Record
		first moment
	}
	var all []begun
	newest := s.newest()
	for k := range s.all() {
		r := s.record(&k.line, k.at)
		if newest.replaced(r, k.at) || r.isSource() && s.wasListed(r, k) {
			continue
		}
		r.Moved, r.Lost, r.Requests, r.Took = k.spent.moved, k.spent.lost, k.spent.requests, k.spent.took
		if before := k.brought; r.Event == EventThere && before != nil && before.from == r.From {
			r.Time, r.Saved, r.Freed = before.time, before.saved, before.freed
		}
		all = append(all, begun{r, k.first})
	}
	byLine := func(begun, begun) int { return 0 }
	if s.reader <= 1 {
		byLine = func(a, b begun) int { return a.first.compare(b.first) }
	}
	slices.SortFunc(all, func(a, b begun) int {
		return cmp.Or(cmp.Compare(a.first.micros, b.first.micros), byLine(a, b), strings.Compare(a.Source, b.Source), strings.Compare(a.Tag, b.Tag),
			strings.Compare(a.Target, b.Target), strings.Compare(a.As, b.As))
	})
	records := make([]Record, len(all))
	for i, b := range all {
		records[i] = b.Record
	}
	return records
}

// newest is when jobs were last heard of: of all about one cache and its target, whatever it becomes, and of all that brought
// a cache to one target.
type newest struct {
	of map[job]moment // without Record.As
	at map[string]moment
}

func (s *State) newest() newest {
	n := newest{of: map[job]moment{}, at: map[string]moment{}}
	for k := range s.all() {
		r := s.record(&k.line, k.at)
		if before, ok := n.of[r.anyJob()]; !ok || before.compare(k.at) < 0 {
			n.of[r.anyJob()] = k.at
		}
		if before, ok := n.at[r.Target]; r.isOver() && (!ok || before.compare(k.at) < 0) {
			n.at[r.Target] = k.at
		}
	}
	return n
}

// anyJob is what lines about one cache and its target have in common, whatever the cache becomes.
func (r Record) anyJob() job { return job{source: r.Source, tag: r.Tag, target: r.Target} }

// replaced reports whether what is known of a job no longer holds: the plan makes something else of the cache, or something else
// was brought to its target.
func (n newest) replaced(r Record, at moment) bool {
	return at.compare(n.of[r.anyJob()]) < 0 || r.isOver() && at.compare(n.at[r.Target]) < 0
}

// wasListed reports whether a source that could not be worked on could be later, by the same shard: there are lines about its caches
// since, or a run since that ended without reporting the source again.
func (s *State) wasListed(r Record, k *known) bool {
	if listed, ok := s.listed[s.listedKey(int(k.run), r.Source, r.As)]; ok && k.at.compare(listed) < 0 {
		return true
	}
	return slices.ContainsFunc(s.Runs, func(run RunLines) bool {
		looked := run.isWhole() || run.Only == r.Cause
		return run.End != nil && looked && k.at.compare(run.at) < 0 && k.run >= 0 && run.of() == s.Runs[k.run].of()
	})
}

// listedKey combines who works on a source, the source, and what its caches become.
func (s *State) listedKey(run int, source, as string) string {
	who := ""
	if run >= 0 {
		who = s.Runs[run].of()
	}
	return who + "\x00" + source + "\x00" + as
}

// of identifies who works on what: a shard, whatever file its lines are in, or the runs of one file.
func (r RunLines) of() string {
	if r.Shard != "" {
		return r.Shard
	}
	return fmt.Sprint("file ", r.at.reader)
}

// isWhole reports whether the run covered all of its shard.
func (r RunLines) isWhole() bool { return r.Only == "" || r.Only == OnlyFailed }
