package convert

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// carryOut does what was planned. If the destination refuses the form, the next one is tried with the same layers.
func (j *job) carryOut(ctx context.Context) (*Result, error) {
	if err := j.checkRoom(ctx); err != nil {
		return nil, err
	}
	if err := j.execute(ctx); err != nil {
		return nil, err
	}
	var refusal error
	for _, form := range j.o.forms(j.cache.Root.Form) {
		j.plan.form = form
		converted, err := j.assembled()
		if err != nil {
			return nil, err
		}
		result, err := j.publish(ctx, converted)
		if err == nil || j.o.Rules == nil || !j.o.Rules.RefusesForm(err) {
			return result, err
		}
		refusal = err
	}
	return nil, refusal
}

// execute brings every layer to dst, in the order of the plan, several at once. Steps that use another step's blob come after
// that is there.
func (j *job) execute(ctx context.Context) error {
	j.announce()
	if err := j.executeSteps(ctx, false); err != nil {
		return err
	}
	return j.executeSteps(ctx, true)
}

func (j *job) executeSteps(ctx context.Context, twins bool) error {
	group, ctx := parallel.New(ctx, j.o.jobs())
	for i := range j.plan.steps {
		s := &j.plan.steps[i] // each goroutine writes to its own
		if s.twin != twins {
			continue
		}
		group.Go(func() error {
			release, err := j.o.slot(ctx)
			if err != nil {
				return err
			}
			defer release()
			return j.carryStep(ctx, s)
		})
	}
	return group.Wait()
}

// carryStep does what a step says.
func (j *job) carryStep(ctx context.Context, s *step) (err error) {
	switch s.action {
	case Keep:
		err = j.keep(ctx, s)
	case Recompress:
		err = j.remake(ctx, s)
	case Reuse:
		err = j.reuse(ctx, s)
	}
	if s.done = err == nil; s.done && s.moved > 0 && j.o.brought != nil {
		j.o.brought(cmp.Or(s.blob(), s.from.Digest))
	}
	return err
}

// announce says how much there is to do.
func (j *job) announce() {
	total := layout.Event{Kind: layout.EventPlan, Verb: "convert"}
	for _, s := range j.plan.steps {
		switch {
		case s.action == Recompress, s.action == Keep && !j.inPlace:
			total.Count++
			total.Total += s.from.Size
		case s.action == Reuse && !j.o.TrustDestination && !s.made: // it is read
			total.Count++
			total.Total += s.to.Size
		}
	}
	j.o.OnEvent.Send(total)
}

func (j *job) keep(ctx context.Context, s *step) error {
	if j.inPlace {
		return nil
	}
	turn, err := j.o.turns.take(ctx, s.from.Digest)
	if err != nil {
		return err
	}
	defer turn()
	var sent atomic.Int64 // excludes what the place already has, or links
	var all spending
	defer func() {
		s.read, _ = all.of()
		s.sent = s.read
	}()
	err = j.o.OnEvent.Track("copy", s.from.Digest, s.from.Size, func(done func(int64)) error {
		open := func() (io.ReadCloser, error) { return j.src.Open(ctx, s.from) }
		return j.dst.Put(ctx, s.from, layout.Counted(ctx, open, func(n int64) {
			sent.Add(n)
			all.reads(n)
			done(n)
		}))
	})
	if err != nil {
		return fmt.Errorf("copy layer: %w", layout.BlameSource(err, sourceOf(j.src, s.from)))
	}
	if sent.Load() > 0 {
		s.moved = s.from.Size
	}
	return nil
}

// reuse checks that a blob that the plan relies on is there, and is what it is claimed to be. If not, it recompresses the layer.
func (j *job) reuse(ctx context.Context, s *step) error {
	has, err := j.dst.Has(ctx, buildcache.Descriptor{Digest: s.to.Digest, Size: s.to.Size})
	if err != nil {
		return err
	}
	if has && (j.o.TrustDestination || s.made) {
		return nil
	}
	more := layout.Event{Kind: layout.EventPlan, Verb: "convert", Count: 1, Total: s.from.Size}
	if has {
		proved, err := j.isProved(ctx, s)
		if err != nil || proved {
			return err
		}
		s.distrusted = true
	} else if !j.o.TrustDestination && !s.made { // reading it was planned, and is not needed
		more.Count, more.Total = 0, s.from.Size-s.to.Size
	}
	j.o.OnEvent.Send(more)
	s.action = Recompress
	return j.remake(ctx, s)
}

// remake recompresses a layer, and remembers the outcome.
func (j *job) remake(ctx context.Context, s *step) error {
	journal, remembers := j.dst.(layout.Journal)
	if s.likely && !remembers {
		if has, err := j.foretell(ctx, s); err != nil || has {
			return err
		}
	}
	var all spending
	blob, err := recompress(ctx, sourceOf(j.src, s.from), j.dst, *s, j.o, &all)
	s.read, s.sent = all.of()
	if err != nil {
		return err
	}
	s.to = &blob
	j.o.made.add(j.o.recipe(s.from), blob)
	teller, tells := j.dst.(layout.Teller)
	if !tells || teller.Wrote(blob.Digest) { // it may have had the blob, and can't tell
		s.moved = blob.Size
	}
	if !remembers {
		return nil
	}
	j.forget(journal.Remember(ctx, j.o.recipe(s.from), blob))
	return context.Cause(ctx)
}
