package migrate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dustin/go-humanize/english"

	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// Run works on a plan. A cache that fails stops nothing, and neither does a registry that is down: the summary tells, and its
// Err. An error means that it was interrupted, or that Options.Record failed; the summary says what was done before.
func Run(ctx context.Context, plan *Plan, o Options) (*Summary, error) {
	return run(ctx, plan, o, false)
}

// Check looks at all that Run would look at, and says what it would do. Nothing is written, and nothing recorded.
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
	caches chan struct{} // one for each cache that is worked on
	fail   context.CancelCauseFunc

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
	r := &runner{
		plan: plan, o: o, dry: dry, begun: begun, fail: fail, hosts: &hosts{giveUp: o.GiveUp, alive: o.alive(ctx)}, slots: newSlots(o.Jobs, plan.Registries),
		caches:  make(chan struct{}, o.Parallel),
		summary: &Summary{Shard: o.Shard.String(), Only: o.Only, Dry: dry, Plan: plan, Migrations: []*Result{}},
		causes:  groups{}, uses: uses{},
	}
	r.record(Record{Event: EventRun, Version: StateVersion, Ocicache: o.Version, Shard: o.Shard.String(), Only: o.Only, Args: o.Args})
	err := r.all(ctx)
	r.summary.Stopped = err != nil
	notReached := 0 // no line says anything of these
	for _, result := range r.summary.Migrations {
		if rest := result.rest(); err != nil {
			result.NotTried += rest
			notReached += rest
		}
		r.summary.add(result.Counts)
	}
	r.summary.Causes, r.summary.Took = r.causes.sorted(), layout.Seconds(time.Since(begun))
	if dry {
		r.summary.Registries = r.uses.sorted()
	}
	r.recordEnd(outer, err, notReached)
	if err == nil {
		err = context.Cause(ctx)
	}
	return r.summary, err
}

// recordEnd writes the last line of a run, also of one that was interrupted; but where lines can't be written, there is none.
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

// all works on the migrations, several at once: first on those that have a target of their own. The others have to know of one
// another.
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

// unless does something for a migration, unless the run is interrupted, and takes note where that fails.
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

// isMeantSource reports whether a failure of the source is of what Options.Only means: of that kind, or in the way of caches that are. How
// many tags there are to be is another matter.
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

// failedSource takes note of a source that could not be worked on.
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

// eventOf says what an error has become of a cache: one that fails because its registry was given up was not tried, or to no end.
func eventOf(err error) Event {
	var givenUp *GivenUpError
	if errors.As(err, &givenUp) {
		return EventNotTried
	}
	return EventFailed
}

// record writes a line of the state. What can't be told must not be done.
func (r *runner) record(record Record) {
	record.Time = time.Now().UTC().Truncate(time.Second)
	if err := r.o.Record(record); err != nil {
		r.fail(err)
	}
}

// TooFewError says that a source has fewer tags with caches than the plan wants.
type TooFewError struct {
	Source string
	Found  int // tags that are chosen
	Others int // those of them that are no caches, or have gone
	Min    int
}

func (e *TooFewError) Error() string {
	text := fmt.Sprintf("%s: the plan chooses %s there", e.Source, english.Plural(e.Found, "tag", ""))
	if e.Others > 0 {
		text += fmt.Sprintf(", %d of which are no caches", e.Others)
	}
	return fmt.Sprintf("%s, and wants %d at least", text, e.Min)
}

// maxError bounds what a state says of an error, in bytes.
const maxError = 2000

func brief(err error) string {
	text := err.Error()
	return text[:min(len(text), maxError)]
}
