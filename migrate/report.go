package migrate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// Report is what states say, taken together.
type Report struct {
	// Complete says that everything is there according to the state: the places were not looked at.
	Complete bool `json:"complete"`
	Runs     int  `json:"runs"`
	// Unended is how many runs did not end, and have not been repeated: killed, or still at work.
	Unended int `json:"unended"`
	// Cut is how many runs were interrupted and have not been repeated, CutOff when the last of them was, and NotReached how many caches
	// they had not reached, as far as they knew of them. These are also in Remaining, and count as not tried.
	Cut        int       `json:"cut,omitempty"`
	CutOff     time.Time `json:"cutOff,omitzero"`
	NotReached int       `json:"notReached,omitempty"`
	// Again are the program's arguments for continuing runs that left something, as far as states tell.
	Again [][]string `json:"again,omitempty"`
	// Shards is how many shards the plan was divided into, ShardsSeen how many of them have run; 0 if it was run as a whole.
	Shards     int `json:"shards,omitempty"`
	ShardsSeen int `json:"shardsSeen,omitempty"`
	// Remaining is how much is left according to the ends of the last runs, interrupted ones included.
	Remaining int `json:"remaining"`
	// Worked is how long runs were at work. Time that several share counts once, time between them not at all.
	Worked layout.Seconds `json:"seconds"`
	Begun  time.Time      `json:"begun,omitzero"`
	Ended  time.Time      `json:"ended,omitzero"` // the last line
	Caches int            `json:"caches"`
	Became
	// Moved and Requests are what all attempts at all caches took, as far as lines say: without looking at them, and without the Unmeasured
	// attempts, which were killed or are still at work. Lost is how many bytes of Moved were not confirmed.
	Moved      int64 `json:"moved"`
	Lost       int64 `json:"lost,omitempty"`
	Requests   int64 `json:"requests"`
	Unmeasured int   `json:"unmeasured,omitempty"`
	// Saved is how many bytes did not have to be sent, and had not been sent before for the same cache.
	Saved int64 `json:"saved"`
	// Freed is what rules dropped from caches on their way, by rule.
	Freed  []buildcache.Freed `json:"freed,omitempty"`
	Causes []CauseGroup       `json:"causes,omitempty"`
	// Unfinished are the newest lines of all caches and sources that are not at their targets. Those without a line are missing.
	Unfinished []Record `json:"unfinished"`
	Slowest    []Record `json:"slowest"`
	// Throughput is what was done over time, in equal steps.
	Throughput []Step `json:"throughput"`
	// Skipped is how many lines do not belong to a state, such as torn ones.
	Skipped int `json:"skippedLines"`

	shard string // the shard that was seen, if there is only one
}

// Step is a step of time.
type Step struct {
	Begun  time.Time `json:"begun"`
	Caches int       `json:"caches"`
	Bytes  int64     `json:"bytes"`
}

const (
	// mostSlowest is how many of the slowest caches a report names.
	mostSlowest = 10
	// mostSteps is the highest number of steps in a report, leastStep the shortest length of one.
	mostSteps = 60
	leastStep = time.Second
)

// NewReport makes a report of a state.
func NewReport(s *State) *Report {
	r := &Report{Runs: len(s.Runs), Skipped: s.Skipped, Unfinished: []Record{}, Slowest: []Record{}, Throughput: []Step{}}
	for _, run := range s.Runs {
		r.span(run.Time)
		r.span(run.Last)
	}
	r.takeRuns(s.Runs)
	r.Caches, r.NotTried = r.NotReached, r.NotReached
	r.Moved, r.Lost, r.Requests, r.Unmeasured = s.sum.moved, s.sum.lost, s.sum.requests, s.unmeasured()
	causes := groups{}
	var done []Record
	for _, c := range s.Caches() {
		r.span(c.Time)
		r.count(c, causes)
		if c.isOver() && c.Took > 0 {
			done = append(done, c)
		}
	}
	slices.SortStableFunc(r.Unfinished, func(a, b Record) int { return cmp.Compare(a.Name(), b.Name()) })
	r.Complete = r.isComplete()
	r.Causes = causes.sorted()
	r.Throughput = r.steps(done, s.sent)
	slices.SortStableFunc(done, func(a, b Record) int { return cmp.Compare(b.Took, a.Took) })
	r.Slowest = append(r.Slowest, done[:min(len(done), mostSlowest)]...)
	return r
}

// span extends the time of the report to that of a line.
func (r *Report) span(at time.Time) {
	if r.Begun.IsZero() || at.Before(r.Begun) {
		r.Begun = at
	}
	if at.After(r.Ended) {
		r.Ended = at
	}
}

func (r *Report) count(c Record, causes groups) {
	if r.take(c); c.isSource() || c.hasFailed() {
		causes.add(c)
	}
	if !c.isOver() {
		r.Unfinished = append(r.Unfinished, c)
	}
	if c.isSource() {
		return
	}
	r.Caches++
	r.Saved += c.Saved
	r.Freed = buildcache.AddFreed(r.Freed, c.Freed)
}

// Took returns the time from the first line to the last.
func (r *Report) Took() time.Duration { return r.Ended.Sub(r.Begun) }

// steps sorts what was done, and what was sent, into steps of time.
func (r *Report) steps(done []Record, sent []sending) []Step {
	if len(done)+len(sent) == 0 {
		return []Step{}
	}
	step := max(leastStep, (r.Took()/mostSteps + leastStep).Truncate(leastStep))
	steps := make([]Step, min(int(r.Took()/step)+1, mostSteps))
	for i := range steps {
		steps[i].Begun = r.Begun.Add(time.Duration(i) * step)
	}
	at := func(when time.Time) *Step { return &steps[min(max(int(when.Sub(r.Begun)/step), 0), len(steps)-1)] }
	for _, c := range done {
		at(c.Time).Caches++
	}
	for _, s := range sent {
		at(s.at).Bytes += s.bytes
	}
	return steps
}

// Seconds returns how many seconds a cache took, for a table.
func (r Record) Seconds() float64 { return time.Duration(r.Took).Seconds() }

// Name returns the source with its tag.
func (r Record) Name() string {
	if r.Tag == "" || strings.HasSuffix(r.Source, ":"+r.Tag) {
		return r.Source
	}
	return r.Source + ":" + r.Tag
}
