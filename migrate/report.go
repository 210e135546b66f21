package migrate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// Report is what states tell, taken together.
type Report struct {
	// Complete says that everything is there, by the state: nothing was looked at.
	Complete bool `json:"complete"`
	Runs     int  `json:"runs"`
	// Unended is how many runs did not end, and were not run again since: killed, or at work still.
	Unended int `json:"unended"`
	// Interrupted is how many runs were interrupted, and not run again since; CutOff when the last of them was, and NotReached how many
	// caches they had not come to, as far as they knew of them. These are in Remaining, too.
	Interrupted int       `json:"interrupted,omitempty"`
	CutOff      time.Time `json:"cutOff,omitzero"`
	NotReached  int       `json:"notReached,omitempty"`
	// Shards is how many shares the plan was cut into, ShardsSeen how many of them have run; 0 where all of it was run at once.
	Shards     int `json:"shards,omitempty"`
	ShardsSeen int `json:"shardsSeen,omitempty"`
	// Remaining is what the ends of the last runs say that is left, also of those that were interrupted.
	Remaining int `json:"remaining"`
	// Worked is how long runs were at work. Those at one time count once, and the time between them not at all.
	Worked  layout.Seconds `json:"seconds"`
	Begun   time.Time      `json:"begun,omitzero"`
	Ended   time.Time      `json:"ended,omitzero"` // the last line
	Caches  int            `json:"caches"`
	Done    int            `json:"done"`
	There   int            `json:"there"`
	Failed  int            `json:"failed"`
	Left    int            `json:"notTried"`
	Working int            `json:"working"` // begun, and not ended: at work, or killed
	Sources int            `json:"failedSources"`
	Moved   int64          `json:"moved"` // bytes
	Saved   int64          `json:"saved"` // bytes
	// Requests are those for caches, besides those for looking.
	Requests int64 `json:"requests"`
	// Freed is what rules dropped of caches on their way, by rule.
	Freed   []buildcache.Freed `json:"freed,omitempty"`
	Causes  []CauseGroup       `json:"causes,omitempty"`
	Slowest []Record           `json:"slowest"`
	// Throughput is what was done over time, in equal steps.
	Throughput []Step `json:"throughput"`
	// Skipped is how many lines are none of a state, such as torn ones.
	Skipped int `json:"skippedLines"`

	shard string // the one that was seen, where it is one
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
	// mostSteps is how many steps a report has at most, leastStep how long one is at least.
	mostSteps = 60
	leastStep = time.Second
)

// NewReport makes a report of a state.
func NewReport(s *State) *Report {
	r := &Report{Runs: len(s.Runs), Skipped: s.Skipped, Slowest: []Record{}, Throughput: []Step{}}
	for _, run := range s.Runs {
		r.span(run.Time)
		r.span(run.Last)
	}
	r.takeRuns(s.Runs)
	causes := groups{}
	var done []Record
	for _, c := range s.Caches() {
		r.span(c.Time)
		r.count(c, causes)
		if c.isOver() && c.Took > 0 {
			done = append(done, c)
		}
	}
	r.Complete = r.isComplete()
	r.Causes = causes.sorted()
	r.Throughput = r.steps(done)
	slices.SortStableFunc(done, func(a, b Record) int { return cmp.Compare(b.Took, a.Took) })
	r.Slowest = append(r.Slowest, done[:min(len(done), mostSlowest)]...)
	return r
}

// span takes the time of a line in.
func (r *Report) span(at time.Time) {
	if r.Begun.IsZero() || at.Before(r.Begun) {
		r.Begun = at
	}
	if at.After(r.Ended) {
		r.Ended = at
	}
}

func (r *Report) count(c Record, causes groups) {
	if c.isSource() {
		r.Sources++
		causes.add(c)
		return
	}
	r.Caches++
	r.Moved += c.Moved
	r.Saved += c.Saved
	r.Requests += c.Requests
	r.Freed = buildcache.AddFreed(r.Freed, c.Freed)
	switch c.Event {
	case EventDone:
		r.Done++
	case EventThere:
		r.There++
	case EventFailed:
		r.Failed++
		causes.add(c)
	case EventNotTried:
		r.Left++
		causes.add(c)
	case EventBegun:
		r.Working++
	case EventRun, EventEnded:
	}
}

// Took is how long it was from the first line to the last.
func (r *Report) Took() time.Duration { return r.Ended.Sub(r.Begun) }

// steps sorts what was done into steps of time.
func (r *Report) steps(done []Record) []Step {
	if len(done) == 0 {
		return []Step{}
	}
	step := max(leastStep, (r.Took()/mostSteps + leastStep).Truncate(leastStep))
	steps := make([]Step, min(int(r.Took()/step)+1, mostSteps))
	for i := range steps {
		steps[i].Begun = r.Begun.Add(time.Duration(i) * step)
	}
	for _, c := range done {
		at := &steps[min(max(int(c.Time.Sub(r.Begun)/step), 0), len(steps)-1)]
		at.Caches++
		at.Bytes += c.Moved
	}
	return steps
}

// Seconds is how long a cache took, for a table.
func (r Record) Seconds() float64 { return time.Duration(r.Took).Seconds() }

// Name returns the source with its tag.
func (r Record) Name() string {
	if r.Tag == "" || strings.HasSuffix(r.Source, ":"+r.Tag) {
		return r.Source
	}
	return r.Source + ":" + r.Tag
}
