package migrate

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// batch is how many caches of a source are looked at before they are worked on.
const batch = 128

// looksAtOnce is how many roots of a source are read at once.
const looksAtOnce = 6

// work is one migration in a run.
type work struct {
	*runner
	m      Migration
	source layout.Reference
	src    *places.Opened
	result *Result
	rivals *rivals
	// chosen are the caches that the plan chooses, and others how many of them turned out not to be caches, or to be gone.
	chosen []candidate
	others int
	// dst is the target that was opened last. It stays open, because caches mostly share one.
	dst     *destination
	layouts layouts // targets that were looked at
}

// candidate is what may be brought over: a tag, and its root if that is already known.
type candidate struct {
	tag   string
	entry *layout.Entry
}

// place is where the source is.
func (w *work) place() place { return placeOf(w.source) }

// prepare finds out which caches a migration is about, and brings them over if it has no rivals. An error means that its source
// could not be worked on.
func (w *work) prepare(ctx context.Context) (err error) {
	if w.source, err = layout.ParseReference(w.m.Source); err != nil {
		return err
	}
	if err := w.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	var all []candidate
	err = w.hosts.try(ctx, hostsOf(w.source), func() (err error) {
		all, err = w.list(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if len(all) == 0 && w.m.Tags.Min > 0 {
		if err := layout.CheckThere(ctx, w.src.Source); err != nil { // this error says more than too few tags
			return err
		}
	}
	if w.chosen, err = w.choose(all); err != nil {
		w.chosen = nil
		return err
	}
	if w.claim(w.chosen); w.rivals.members > 1 {
		return nil
	}
	return w.bring(ctx)
}

// bringRivals brings over the caches of a migration with rivals, which are all known by now.
func (w *work) bringRivals(ctx context.Context) (err error) {
	if len(w.chosen) == 0 {
		return nil // the reason was reported
	}
	if err := w.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	return w.bring(ctx)
}

func (w *work) open(ctx context.Context) (err error) {
	w.src, err = places.Open(ctx, w.source, w.o.places(w.plan, w.source))
	return err
}

func (w *work) close() error { return errors.Join(w.closeTarget(), w.src.Close()) }

// bring brings over those of the chosen caches that this run is about.
func (w *work) bring(ctx context.Context) error {
	chosen := len(w.chosen)
	ours := w.unclaimed(w.share(w.chosen))
	w.chosen = nil
	for some := range slices.Chunk(ours, batch) {
		entries, err := w.look(ctx, some)
		if err != nil {
			return err
		}
		if err := w.bringAll(ctx, entries); err != nil {
			return err
		}
	}
	if chosen-w.others < w.m.Tags.Min {
		return &TooFewError{Source: w.m.Source, Found: chosen, Others: w.others, Min: w.m.Tags.Min}
	}
	return nil
}

// list lists what the source has: only tags, if that is cheaper.
func (w *work) list(ctx context.Context) ([]candidate, error) {
	var all []candidate
	if lister, ok := w.src.Source.(layout.Lister); ok && w.source.Tag == "" && w.source.Digest == "" {
		tags, err := lister.Tags(ctx)
		all = make([]candidate, len(tags))
		for i, tag := range tags {
			all[i].tag = tag
		}
		return all, err
	}
	entries, err := w.src.Entries(ctx)
	for _, entry := range entries {
		all = append(all, candidate{tag: entry.Tag, entry: &entry})
	}
	return all, err
}

// choose drops what the plan leaves out.
func (w *work) choose(all []candidate) ([]candidate, error) {
	chosen := slices.DeleteFunc(all, func(c candidate) bool {
		ok, filter := w.m.Tags.Chooses(c.tag)
		if !ok {
			w.leaveOut(filter)
		}
		return !ok
	})
	if len(chosen) < w.m.Tags.Min {
		return nil, &TooFewError{Source: w.m.Source, Found: len(chosen), Min: w.m.Tags.Min}
	}
	first, err := w.m.targetFor(w.source, "")
	if err != nil {
		return nil, err
	}
	if len(chosen) > 1 && first.Tag != "" && !strings.Contains(w.m.Target, wordTag) {
		tags := make([]string, len(chosen))
		for i, c := range chosen {
			tags[i] = c.tag
		}
		return nil, &layout.AmbiguousError{Place: w.m.Source, Tags: tags}
	}
	return chosen, nil
}

// share drops what the shard and Options.Only leave out.
func (w *work) share(chosen []candidate) []candidate {
	ours := slices.DeleteFunc(chosen, func(c candidate) bool { return !w.o.Shard.Has(w.m.Source, c.tag) })
	meant := slices.DeleteFunc(ours, func(c candidate) bool { return !w.isMeant(c.tag) })
	w.count(func(c *Counts) {
		c.OtherShards += len(chosen) - len(ours)
		c.NotMeant += len(ours) - len(meant)
		c.Planned += len(meant)
	})
	return meant
}

func (w *work) leaveOut(filter string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.result.LeftOut++
	if w.result.LeftOutBy == nil {
		w.result.LeftOutBy = map[string]int{}
	}
	w.result.LeftOutBy[filter]++
}

// isMeant reports whether Options.Only includes a cache.
func (w *work) isMeant(tag string) bool {
	if w.o.Only == "" {
		return true
	}
	last, ok := w.lastOf(tag)
	if w.o.Only == OnlyFailed {
		return !ok || !last.isOver() // what nobody has begun is not at its target either
	}
	return ok && !last.isOver() && last.Cause == w.o.Only
}

// targetOf returns where a cache goes, with its tag.
func (w *work) targetOf(tag string) (layout.Reference, error) {
	ref, err := w.m.targetFor(w.source, tag)
	if ref.Tag == "" {
		if ref.Tag = tag; tag == "" {
			ref.Tag = layout.DefaultTag
		}
	}
	return ref, err
}

// lineOf returns the beginning of a line about a cache.
func (w *work) lineOf(tag string, target layout.Reference) Record {
	return Record{Source: w.m.Source, Tag: tag, Target: nameOf(target), As: w.m.Change.String()}
}

// nameOf names a cache in a target, with its tag, which a bare path does not show.
func nameOf(target layout.Reference) string {
	if target.Transport == layout.TransportPath {
		target.Transport = layout.TransportLayout
	}
	return target.String()
}

// lastOf returns what the state says about a cache.
func (w *work) lastOf(tag string) (Record, bool) {
	target, err := w.targetOf(tag)
	if err != nil {
		return Record{}, false
	}
	return w.o.State.of(w.lineOf(tag, target).job())
}

// look reads the roots of a batch, and returns those that are to be worked on.
func (w *work) look(ctx context.Context, some []candidate) ([]layout.Entry, error) {
	found, failed := make([]*layout.Entry, len(some)), make([]bool, len(some))
	group, _ := parallel.New(ctx, looksAtOnce)
	for i, c := range some {
		group.Go(func() error {
			if found[i] = c.entry; c.entry != nil {
				return nil
			}
			err := w.hosts.try(ctx, hostsOf(w.source), func() (err error) {
				found[i], err = layout.Find(ctx, w.src.Source, c.tag)
				return err
			})
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				w.end(w.failure(Record{Source: w.m.Source, Tag: c.tag}, err))
				failed[i] = true
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := w.lookForGone(ctx, some, found, failed); err != nil {
		return nil, err
	}
	var entries []layout.Entry
	for _, entry := range found {
		if entry != nil && w.isWanted(ctx, *entry) {
			entries = append(entries, *entry)
		}
	}
	return entries, nil
}

// lookForGone looks at tags that name nothing. One that is still listed is a cache that can't be brought over; any other is gone.
func (w *work) lookForGone(ctx context.Context, some []candidate, found []*layout.Entry, failed []bool) error {
	var listed []string
	asked := false
	for i, c := range some {
		if found[i] != nil || failed[i] {
			continue
		}
		if lister, ok := w.src.Source.(layout.Lister); ok && !asked {
			asked = true
			err := w.hosts.try(ctx, hostsOf(w.source), func() (err error) {
				listed, err = lister.Tags(ctx)
				return err
			})
			if err != nil {
				return err
			}
		}
		if slices.Contains(listed, c.tag) {
			found[i] = &layout.Entry{Tag: c.tag, Kind: layout.KindDangling, Err: layout.ErrBlobMissing}
			continue
		}
		w.count(func(c *Counts) { c.Planned-- })
		w.others++
	}
	return nil
}

// isWanted reports whether to work on an entry: a cache that is not known to be at its target, nor to be unable to get there.
func (w *work) isWanted(ctx context.Context, entry layout.Entry) bool {
	if entry.Kind.IsImage() {
		w.count(func(c *Counts) { c.Planned--; c.Others++ })
		w.others++
		return false
	}
	last, ok := w.lastOf(entry.Tag)
	root := entry.Descriptor.Digest
	if !ok || last.From != root && last.To != root {
		return true
	}
	switch {
	case last.isOver() && !w.isStill(ctx, last):
		return true
	case last.isOver(): // even if it was rewritten in place, and is now the result
		w.count(func(c *Counts) { c.Before++ })
		return false
	case last.Event == EventFailed && last.Cause.IsHopeless() && w.o.Only != last.Cause:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.result.Failed++
		w.causes.add(last)
		return false
	}
	return true
}

func (w *work) count(change func(*Counts)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.result.Counts)
}

// failure completes the line about a cache that failed.
func (w *work) failure(r Record, err error) Record {
	r.Event, r.Cause, r.Error = eventOf(err), causeOf(err), brief(err)
	r.err = err
	if target, err := w.targetOf(r.Tag); err == nil && r.Target == "" {
		r.Target, r.As = nameOf(target), w.m.Change.String()
	}
	w.blame(err, r.Error)
	return r
}

// blame notes what went wrong at a registry, if it is the registry's fault.
func (r *runner) blame(err error, text string) {
	host := ""
	var auth *registry.AuthError
	failure, ok := registry.FailureOf(err)
	switch {
	case errors.As(err, &auth):
		host = auth.Host
	case ok && (failure.Down || failure.Busy):
		host = failure.Host
	default:
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uses.of(host).Error = text
}

// end records a line about a cache, and counts it.
func (w *work) end(r Record) {
	w.record(r)
	w.add(r)
}

// add counts what became of a cache.
func (w *work) add(r Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.result.take(r); r.hasFailed() {
		w.causes.add(r)
	}
	w.summary.Saved += r.Saved
	w.summary.Freed = buildcache.AddFreed(w.summary.Freed, r.Freed)
}
