package convert

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

const (
	// ahead is how many caches are looked up before it is their turn.
	ahead = 64
	// looksAtOnce is how many roots a place is asked for at the same time.
	looksAtOnce = 6
)

// candidate is a cache that may be copied.
type candidate struct {
	entry layout.Entry
	old   layout.Entry  // what its tag names in the destination; without a tag if that is nothing
	ready chan struct{} // closed once entry and old are known, or err is
	gone  bool          // its tag names nothing
	err   error         // why nothing more can be asked for
	// failed is why it can't be copied, if that is known in advance.
	failed error
}

// wait waits until entry and old are known.
func (c *candidate) wait(ctx context.Context) error {
	select {
	case <-c.ready:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// listed returns candidates of which everything is known.
func (s *syncer) listed(entries []layout.Entry) iter.Seq[*candidate] {
	ready := make(chan struct{})
	close(ready)
	return func(yield func(*candidate) bool) {
		for _, entry := range entries {
			if !yield(&candidate{entry: entry, old: s.there[s.tagFor(entry)], ready: ready}) {
				return
			}
		}
	}
}

// stream copies the caches of SyncOptions.Tags, and holds the details of only a few at a time.
func (s *syncer) stream(ctx context.Context, result *SyncResult) error {
	src, ok := s.src.(layout.Lenient)
	if !ok {
		return errNotLenient
	}
	a := &lookahead{syncer: s, src: src, atSource: make(chan struct{}, looksAtOnce), atDestination: make(chan struct{}, looksAtOnce)}
	var err error
	if a.tags, err = a.list(ctx); err != nil {
		return err
	}
	if s.o.Match != nil {
		a.tags = slices.DeleteFunc(a.tags, func(tag string) bool { return !s.o.Match(tag) })
	}
	if s.o.Keep == nil {
		result.Caches = make([]SyncEntry, 0, len(a.tags))
	}
	err = s.bringAll(ctx, a.caches(ctx), result)
	result.Others = a.others
	result.NotTried = len(a.tags) - a.passed - result.Tried
	if stopped := s.o.FailFast && result.NotTried > 0; err == nil && a.read == 0 && a.unread != nil && !stopped {
		result.Caches, result.Tried, err = nil, 0, a.unread // nothing can be read, so it is not about a single cache
	}
	return err
}

// errNotLenient says why Sync can't use SyncOptions.Tags.
var errNotLenient = errors.New("the source can't be read tag by tag")

// lookahead looks up caches before it is their turn.
type lookahead struct {
	*syncer
	src  layout.Lenient
	tags []string
	// there are the destination's tags, sorted, if each is resolved only when it is needed; else syncer.there has everything.
	there                   []string
	resolver                layout.Resolver
	atSource, atDestination chan struct{}
	missed                  []string // tags that named nothing
	passed, others          int      // tags that are gone or name no cache; those of them that name something else
	read                    int      // how many roots were read
	unread                  error    // of the first root that could not be read, or not be looked up in the destination
}

// list lists the tags of both places.
func (a *lookahead) list(ctx context.Context) (tags []string, err error) {
	group, with := parallel.New(ctx, 2)
	var failed error
	group.Go(func() error {
		tags, err = a.o.Tags(with)
		return err
	})
	group.Go(func() error {
		failed = a.listDestination(with)
		return failed
	})
	_ = group.Wait() // it is one of these, and the source's comes first
	if err != nil && !isStopped(err) {
		return nil, err
	}
	return tags, errors.Join(failed, err)
}

// isStopped reports whether an error only says that something else has failed.
func isStopped(err error) bool {
	var stopped *parallel.StoppedError
	return errors.As(err, &stopped)
}

// listDestination finds out what is there: only tags, if their roots can be looked up one by one and are not needed for their layers.
func (a *lookahead) listDestination(ctx context.Context) (err error) {
	a.o.held = &holdings{}
	if a.dst == nil {
		return nil
	}
	lister, lists := a.dst.(layout.Lister)
	resolver, resolves := a.dst.(layout.Resolver)
	if _, cheap := a.dst.(layout.RandomAccess); cheap || !lists || !resolves || a.o.Compression != "" {
		return a.lookAtDestination(ctx)
	}
	a.resolver = resolver
	a.there, err = lister.Tags(ctx)
	return err
}

// caches returns the caches of the tags, in order, except that tags which named nothing at first come last. Those that are gone and
// those that don't name caches are left out.
func (a *lookahead) caches(ctx context.Context) iter.Seq[*candidate] {
	return func(yield func(*candidate) bool) {
		ctx, stop := context.WithCancel(ctx)
		upcoming := make(chan *candidate, ahead)
		group, _ := parallel.New(ctx, 1)
		group.Go(func() error {
			defer close(upcoming)
			return a.lookAtAll(ctx, upcoming)
		})
		defer func() {
			stop()
			for range upcoming { // what is left is not wanted
			}
			_ = group.Wait() // each candidate has its error
		}()
		for c := range upcoming {
			if err := c.wait(ctx); err != nil && ctx.Err() == nil {
				c.failed, c.err = c.err, nil // it is about this one, unless it turns out to be about all
			}
			if (c.err != nil || ctx.Err() != nil || a.wants(c)) && !yield(c) {
				return
			}
		}
		for c := range a.again(ctx) {
			if (c.err != nil || a.wants(c)) && !yield(c) {
				return
			}
		}
	}
}

// lookAtAll looks up the tags, and sends a candidate for each, in order.
func (a *lookahead) lookAtAll(ctx context.Context, upcoming chan<- *candidate) error {
	group, _ := parallel.New(ctx, 2*looksAtOnce)
	for _, tag := range a.tags {
		c := &candidate{entry: layout.Entry{Tag: tag}, ready: make(chan struct{})}
		select {
		case upcoming <- c:
		case <-ctx.Done():
			return group.Wait()
		}
		group.Go(func() error {
			defer close(c.ready)
			c.err = parallel.Guard(func() error { return a.look(ctx, c) })
			return nil
		})
	}
	return group.Wait()
}

// look reads the root of a tag, and what its tag names in the destination.
func (a *lookahead) look(ctx context.Context, c *candidate) error {
	err := within(ctx, a.atSource, func() error {
		entry, err := a.src.LenientEntry(ctx, c.entry.Tag)
		if c.gone = err == nil && entry == nil; err == nil && entry != nil {
			c.entry = *entry
		}
		return err
	})
	if err != nil || c.gone || c.entry.Kind.IsImage() {
		return err
	}
	return a.lookBehind(ctx, c)
}

// lookBehind looks up what the destination has.
func (a *lookahead) lookBehind(ctx context.Context, c *candidate) error {
	tag := a.tagFor(c.entry)
	if a.resolver == nil {
		c.old = a.syncer.there[tag]
		return nil
	}
	if _, listed := slices.BinarySearch(a.there, tag); !listed {
		return nil
	}
	return within(ctx, a.atDestination, func() error {
		old, err := a.resolve(ctx, tag)
		if err == nil && old != nil {
			c.old = *old
		}
		return err
	})
}

// resolve reads a root of the destination, leniently where it can.
func (a *lookahead) resolve(ctx context.Context, tag string) (*layout.Entry, error) {
	if lenient, ok := a.dst.(layout.Lenient); ok {
		return lenient.LenientEntry(ctx, tag)
	}
	return a.resolver.Resolve(ctx, tag)
}

// within calls do when there is room for it.
func within(ctx context.Context, room chan struct{}, do func() error) error {
	select {
	case room <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-room }()
	return do()
}

// wants reports whether a candidate is to be copied, or to fail. Otherwise it is only counted.
func (a *lookahead) wants(c *candidate) bool {
	switch {
	case c.failed != nil:
		a.unread = cmp.Or(a.unread, c.failed)
		return true
	case c.gone:
		a.missed = append(a.missed, c.entry.Tag)
		return false
	case c.entry.Kind.IsImage():
		a.passed++
		a.others++
		a.read++
		return false
	case !c.entry.IsUnread():
		a.read++
	case a.unread == nil:
		a.unread = c.entry.Err
	}
	a.o.Tries.announce(a.o.OnEvent, []layout.Entry{c.entry})
	return true
}

// again looks up once more the tags that named nothing. One that is still listed without naming anything is a cache that can't be copied.
func (a *lookahead) again(ctx context.Context) iter.Seq[*candidate] {
	ready := make(chan struct{})
	close(ready)
	return func(yield func(*candidate) bool) {
		if len(a.missed) == 0 {
			return
		}
		listed, err := a.o.Tags(ctx)
		if err != nil {
			yield(&candidate{ready: ready, err: err})
			return
		}
		for _, tag := range a.missed {
			c := &candidate{entry: layout.Entry{Tag: tag}, ready: ready}
			if !slices.Contains(listed, tag) {
				a.passed++
				continue
			}
			if err := a.look(ctx, c); ctx.Err() != nil {
				c.err = err
			} else if c.failed = err; c.gone {
				c.gone, c.entry.Kind, c.entry.Err = false, layout.KindDangling, layout.ErrListedOnly
			}
			if !yield(c) {
				return
			}
		}
	}
}
