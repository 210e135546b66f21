package migrate

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http/httptrace"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// bringAll brings the caches of a batch to their places. It fails only if it is interrupted.
func (w *work) bringAll(ctx context.Context, entries []layout.Entry) error {
	byPlace := map[layout.Reference][]layout.Entry{}
	for _, entry := range entries {
		ref, err := w.targetOf(entry.Tag)
		if err != nil { // it was checked before
			w.end(w.failure(Record{Source: w.m.Source, Tag: entry.Tag, From: entry.Descriptor.Digest}, err))
			continue
		}
		ref.Tag = ""
		byPlace[ref] = append(byPlace[ref], entry)
	}
	if len(byPlace) == 1 {
		for ref, entries := range byPlace {
			return w.bringTo(ctx, ref, entries, true)
		}
	}
	group, _ := parallel.New(ctx, w.o.Parallel)
	for _, ref := range slices.SortedFunc(maps.Keys(byPlace), func(a, b layout.Reference) int { return cmp.Compare(a.Path, b.Path) }) {
		group.Go(func() error { return w.bringTo(ctx, ref, byPlace[ref], false) })
	}
	return group.Wait()
}

// bringTo brings caches to one place, and keeps that open if more may go there.
func (w *work) bringTo(ctx context.Context, ref layout.Reference, entries []layout.Entry, stays bool) (err error) {
	dst := w.dst
	if dst != nil {
		clear(dst.added)
	}
	if dst == nil || dst.ref != ref || !stays {
		dst, err = w.openTarget(ctx, ref)
	}
	if err == nil && stays && dst != w.dst {
		err = w.closeTarget()
		w.dst = dst
	}
	if !stays {
		defer func() { err = errors.Join(err, dst.close()) }()
	}
	t := &transfer{work: w, dst: dst, entries: entries, hosts: hostsOf(w.source, ref), under: map[key]*underway{}, tries: map[key]*patience{}, became: map[key]Record{}, sent: map[key]int64{}}
	if err == nil {
		err = t.rounds(ctx)
	}
	if ctx.Err() != nil {
		t.interrupted()
		return context.Cause(ctx)
	}
	t.close(err)
	return nil
}

// key identifies an entry of a source.
type key struct{ tag, digest string }

func keyOf(entry layout.Entry) key { return key{entry.Tag, entry.Descriptor.Digest.String()} }

// underway is a cache that is being worked on.
type underway struct {
	line     Record
	begun    time.Time
	requests atomic.Int64
}

// transfer brings caches from one place to another.
type transfer struct {
	*work
	dst     *destination
	entries []layout.Entry
	hosts   []string

	mu     sync.Mutex
	under  map[key]*underway
	tries  map[key]*patience
	became map[key]Record // the last line of each
	// sent is how many bytes this run has sent for each cache, told what was reported of each so far.
	sent map[key]int64
	told convert.Tries
	// leftOut is why caches were left out, nil if none were.
	leftOut error
}

// rounds is how often one run tries what fails for a passing reason, not counting the time while a registry is down.
const rounds = 3

// rounds brings the caches over, and retries what failed for a passing reason.
func (t *transfer) rounds(ctx context.Context) error {
	todo := t.entries
	for len(todo) > 0 {
		err := t.work.hosts.attempt(ctx, t.hosts, func() error { return t.sync(ctx, todo) })
		if err != nil || t.dry || t.leftOut != nil {
			return err
		}
		todo = slices.DeleteFunc(slices.Clone(todo), func(entry layout.Entry) bool { return !t.isAgain(keyOf(entry)) })
	}
	return nil
}

// isAgain reports whether to try a cache again. One without a line was left out.
func (t *transfer) isAgain(k key) bool {
	line, ok := t.became[k]
	return ok && line.Event == EventFailed && line.Cause.passes() && !t.tries[k].isOver()
}

// samples is how many caches of a target are searched for layers that another shard, or an earlier run, has recompressed already.
const samples = 8

// sync brings caches over once.
func (t *transfer) sync(ctx context.Context, entries []layout.Entry) error {
	options, err := t.m.options(t.dst.ref, t.begun)
	if err != nil {
		return err // it was checked
	}
	o := convert.SyncOptions{
		Options: options, Entries: entries, Rename: t.rename, Parallel: t.o.Parallel, OnBegin: t.begin, OnEntry: t.ended, OnLayer: t.through, Tries: &t.told,
	}
	o.Jobs, o.Slot, o.OnEvent = t.o.Jobs, t.slots.take(t.hosts), t.o.OnEvent
	o.DryRun, o.TrustDestination = t.dry, t.o.Trust
	if t.dry {
		o.OnEvent = nil // of plans that nobody carries out
	}
	var place layout.Place
	if t.dst.place != nil {
		tags := make([]string, len(entries))
		for i, entry := range entries {
			tags[i] = t.rename(entry.Tag)
		}
		more := 0
		if t.m.Compression != "" {
			more = samples
		}
		place = t.dst.only(tags, more)
	}
	_, err = convert.Sync(ctx, t.src.Source, place, o)
	return err
}

// rename returns the tag in the target for a tag of the source.
func (t *transfer) rename(tag string) string {
	ref, err := t.targetOf(tag)
	if err != nil {
		return tag // it was checked before
	}
	return ref.Tag
}

// begin records that work on a cache begins. If the cache is to be left out, it fails and records nothing.
func (t *transfer) begin(ctx context.Context, entry layout.Entry) (context.Context, error) {
	select {
	case t.caches <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	err := t.work.hosts.wait(ctx, t.hosts)
	target, targetErr := t.targetOf(entry.Tag)
	if err := errors.Join(err, targetErr); err != nil {
		<-t.caches
		t.mu.Lock()
		defer t.mu.Unlock()
		t.leftOut = err
		return nil, err
	}
	u := &underway{line: t.lineOf(entry.Tag, target), begun: time.Now()}
	u.line.From = entry.Descriptor.Digest
	u.line.Event = EventBegun
	t.record(u.line)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.under[keyOf(entry)] = u
	if t.tries[keyOf(entry)] == nil {
		t.tries[keyOf(entry)] = t.work.hosts.begin(brought, t.hosts)
	}
	return countRequests(ctx, &u.requests), nil
}

// countRequests returns a context in which every request to a registry is counted.
func countRequests(ctx context.Context, requests *atomic.Int64) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { requests.Add(1) }})
}

// ended records what became of a cache.
func (t *transfer) ended(e convert.SyncEntry) {
	<-t.caches
	k := key{e.From, e.FromDigest.String()}
	err := e.Err
	if err != nil && !e.Interrupted {
		err = t.triesOf(k).failed(t.work.hosts, brought, t.hosts, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	u := t.under[k]
	delete(t.under, k)
	line := u.line
	line.To, line.Form, line.Freed = e.ToDigest, e.Form, freedOf(e)
	line.Moved, line.Lost = e.Moved, e.Lost
	line.Saved = max(e.Saved-t.sent[k]-t.o.State.sentOf(line.job()), 0)
	t.sent[k] += e.Moved
	line.Requests, line.Took = u.requests.Load(), layout.Seconds(time.Since(u.begun))
	switch {
	case e.Interrupted:
		line.Event = EventInterrupted
	case err != nil:
		line = t.failure(line, err)
		if line.Cause == CauseOther {
			line.Cause = t.causeOfEntry(k)
		}
	case e.Skipped:
		line.Event, t.tries[k].parts = EventThere, nil
		t.work.hosts.well(brought, t.hosts)
	default:
		line.Event, t.tries[k].parts = EventDone, nil
		t.work.hosts.well(brought, t.hosts)
	}
	switch {
	case t.dry:
		t.forecast(k, line, e)
	case err == nil:
		t.dst.added[e.To] = true
	}
	t.record(line)
	t.became[k] = line
	t.count(func(*Counts) {
		t.summary.Requests += line.Requests
		t.summary.Moved += line.Moved
		t.summary.addPruning(e.Pruned)
	})
}

// through records that a layer got through: the registries are up, and the cache makes progress.
func (t *transfer) through(entry layout.Entry, layer digest.Digest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tries[keyOf(entry)].got(t.work.hosts, brought, t.hosts, layer)
}

// freedOf returns what was dropped from a cache on its way, without the rules that dropped nothing.
func freedOf(e convert.SyncEntry) []buildcache.Freed {
	if e.Pruned == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(e.Pruned.Freed), func(f buildcache.Freed) bool { return f.Extent == (buildcache.Extent{}) })
}

func (t *transfer) triesOf(k key) *patience {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tries[k]
}

// causeOfEntry returns the cause for an entry whose error does not tell.
func (t *transfer) causeOfEntry(k key) Cause {
	for _, entry := range t.entries {
		if keyOf(entry) == k && entry.Kind == layout.KindInvalid {
			return CauseNoCache
		}
	}
	return CauseOther
}

// close counts what became of each cache. Those without a line were not tried, and those that wait for another try were not finished:
// because of err, or because a registry was given up.
func (t *transfer) close(err error) {
	if err == nil {
		err = t.leftOut
	}
	for _, entry := range t.entries {
		line, ok := t.became[keyOf(entry)]
		switch waits := ok && t.isAgain(keyOf(entry)); {
		case ok && !waits, ok && err == nil:
			t.add(line)
		case err == nil: // nothing says what to name it
			t.count(func(c *Counts) { c.Planned--; c.Others++ })
		default:
			t.end(t.failure(Record{Source: t.m.Source, Tag: entry.Tag, From: entry.Descriptor.Digest}, err))
		}
	}
}

// interrupted counts what became of each cache before the run was interrupted.
func (t *transfer) interrupted() {
	for _, line := range t.became {
		t.add(line)
	}
}
