package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// Run works on a plan. Neither a cache that fails nor a registry that is down stops it: the summary and its Err tell. An error
// means that the run was interrupted, or that Options.Record failed; the summary says what was done before.
func Run(ctx context.Context, plan *Plan, o Options) (*Summary, error) {
	return run(ctx, plan, o, false)
}

// Check looks at everything that Run would look at, and says what Run would do. It writes and records nothing.
func Check(ctx context.Context, plan *Plan, o Options) (*Summary, error) {
	o.Record = nil
	return run(ctx, plan, o, true)
}

// runner is what the migrations of a run share.
type runner struct {
	plan   *Plan
	o      Options
	dry    bool
	hosts  *hosts
	slots  *slots
	begun  time.Time
	caches chan struct{} // one for each cache that is being worked on
	fail   context.CancelCauseFunc

	recording sync.Mutex // held while a line is recorded

	mu      sync.Mutex
	summary *Summary
	causes  groups
	uses    uses
}

func run(ctx context.Context, plan *Plan, o Options, dry bool) (*Summary, error) {
	begun, outer := time.Now(), ctx
	o = o.withDefaults()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var looked atomic.Int64 // all requests of a check
	if dry {
		ctx = countRequests(ctx, &looked)
	}
	r := &runner{
		plan: plan, o: o, dry: dry, begun: begun, fail: fail, hosts: &hosts{giveUp: o.GiveUp, alive: o.alive(ctx)}, slots: newSlots(o.Jobs, plan.Registries),
		caches:  make(chan struct{}, o.Parallel),
		summary: &Summary{Shard: o.Shard.String(), Only: o.Only, Dry: dry, Plan: plan, Migrations: []*Result{}},
		causes:  groups{}, uses: uses{},
	}
	r.record(Record{Event: EventRun, Version: StateVersion, Ocicache: o.Version, Shard: o.Shard.String(), Only: o.Only, Args: o.Args})
	err := r.all(ctx)
	r.summary.Stopped = err != nil
	notReached := 0 // caches without a line
	for _, result := range r.summary.Migrations {
		if rest := result.rest(); err != nil {
			result.NotTried += rest
			notReached += rest
		}
		r.summary.add(result.Counts)
	}
	r.summary.Causes, r.summary.Took = r.causes.sorted(), layout.Seconds(time.Since(begun))
	if dry {
		r.summary.Registries, r.summary.Requests = r.uses.sorted(), looked.Load()
	}
	r.recordEnd(outer, err, notReached)
	if err == nil {
		err = context.Cause(ctx)
	}
	return r.summary, err
}

// recordEnd writes the last line of a run, even of an interrupted one, but not if lines can't be written.
func (r *runner) recordEnd(outer context.Context, err error, notReached int) {
	end := Record{Event: EventEnded, Shard: r.o.Shard.String(), Left: r.summary.Left()}
	switch {
	case err == nil:
	case outer.Err() == nil:
		return
	default:
		end.Interrupted, end.NotTried = true, notReached
	}
	r.record(end)
}

// all works on the migrations, several at once: first on those that have a target of their own. The others have to know about each
// other.
func (r *runner) all(ctx context.Context) error {
	group, _ := parallel.New(ctx, r.o.Parallel)
	works := r.works()
	for _, w := range works {
		group.Go(func() error {
			defer w.rivals.done()
			return w.unless(ctx, func() error { return w.prepare(ctx) })
		})
	}
	for _, w := range works {
		if w.rivals.members == 1 {
			continue
		}
		<-w.rivals.listed // they all end, if only because they are interrupted
		group.Go(func() error { return w.unless(ctx, func() error { return w.bringRivals(ctx) }) })
	}
	return group.Wait()
}

// unless does something for a migration, unless the run is interrupted, and records if its source failed.
func (w *work) unless(ctx context.Context, do func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := do()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil && w.isMeantSource(err) {
		w.failedSource(w.m, w.result, err)
	}
	return nil
}

// isMeantSource reports whether Options.Only includes a failure of the source: it has that cause itself, or keeps the run from caches that
// have. Too few tags are another matter.
func (w *work) isMeantSource(err error) bool {
	cause := causeOf(err)
	switch {
	case w.o.Only == "", w.o.Only == OnlyFailed, w.o.Only == cause:
		return true
	case cause == CauseTooFew:
		return false
	}
	return w.o.State.hasFailed(w.m.Source, w.o.Only)
}

// failedSource records that a source could not be worked on.
func (r *runner) failedSource(m Migration, result *Result, err error) {
	record := Record{Event: eventOf(err), Source: m.Source, Target: m.Target, As: m.Change.String(), Cause: causeOf(err), Error: brief(err), err: err}
	r.record(record)
	r.blame(err, record.Error)
	r.mu.Lock()
	defer r.mu.Unlock()
	result.Sources++
	result.Cause, result.Error = record.Cause, record.Error
	r.causes.add(record)
}

// eventOf returns the event for an error: a cache whose registry was given up was not tried, or not to the end.
func eventOf(err error) Event {
	var givenUp *GivenUpError
	if errors.As(err, &givenUp) {
		return EventNotTried
	}
	return EventFailed
}

// record writes a line of the state, or ends the run: what can't be recorded must not be done.
func (r *runner) record(record Record) {
	r.recording.Lock()
	defer r.recording.Unlock()
	record.Time = time.Now().UTC().Truncate(time.Second)
	if err := r.o.Record(record); err != nil {
		r.fail(err)
	}
}

// TooFewError says that a source has fewer tags with caches than the plan wants.
type TooFewError struct {
	Source string
	Found  int // tags that are chosen
	Others int // those of them that are not caches, or are gone
	Min    int
}

func (e *TooFewError) Error() string {
	text := fmt.Sprintf("%s: the plan chooses %s there", e.Source, english.Plural(e.Found, "tag", ""))
	if e.Others > 0 {
		text += fmt.Sprintf(", %d of which are no caches", e.Others)
	}
	return fmt.Sprintf("%s, and wants %d at least", text, e.Min)
}

// maxError bounds the text of an error in a state, in bytes.
const maxError = 2000

func brief(err error) string {
	text := err.Error()
	return text[:min(len(text), maxError)]
}
