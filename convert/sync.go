package convert

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// SyncOptions say what a sync does. The zero value copies every cache under its own tag, unchanged.
type SyncOptions struct {
	Options
	// Entries are what to copy, as places.Opened.Entries or layout.Survey returns them; nil means everything in the
	// source.
	Entries []layout.Entry
	// Tags lists what to copy instead of Entries. In both places, roots are read as they are needed, a few ahead, so that even very
	// many take little memory, and therefore little time. The source must be a layout.Lenient, and is listed while the
	// destination is. A root that can't be read fails by itself; if none can be read, or a place can't be asked any more,
	// Sync fails. nil means Entries.
	Tags func(ctx context.Context) ([]string, error)
	// Match chooses among them by tag; nil chooses all.
	Match func(tag string) bool
	// Tag is the tag in the destination for what is chosen, which must be a single cache then; "" keeps tags. A cache without
	// one becomes latest if it is the only one without, and no other cache in Entries is latest; otherwise it is skipped.
	Tag string
	// Rename returns the tag in the destination for one in the source; nil keeps tags. Tag takes precedence.
	Rename func(tag string) string
	// Deep reads the layers that the destination already has, instead of only checking that they are there, and never trusts
	// it, whatever TrustDestination says. Damaged layers are sent again, and what was sent is read as well, unless the destination is a
	// layout.Teller; if the destination keeps its copy nevertheless, the cache fails with a *layout.HeldError.
	Deep bool
	// Look asks for every layer of what is there already, and of what was sent. Where that is cheap, as in layouts, it is done anyway;
	// elsewhere a cache counts as there if its root is, and a layer if the destination says that it took it.
	Look bool
	// Parallel is how many caches are worked on at once; 0 means 1. Jobs bounds the layers of all together. Caches whose layers
	// are recompressed are worked on one after the other, so that the result is always the same.
	Parallel int
	// FailFast stops after the first cache that fails.
	FailFast bool
	// OnBegin is called with each cache before it is worked on, and returns the context for that, which must be derived from ctx. An
	// error leaves the cache out: it counts as not tried.
	OnBegin func(ctx context.Context, entry layout.Entry) (context.Context, error)
	// OnEntry is called with each cache when it is done, and with those that an interruption ends.
	OnEntry func(SyncEntry)
	// Keep says which caches stay in the result, for callers that learn of each one through OnEntry and keep less of it; nil keeps all.
	// Those that failed or were interrupted are always kept.
	Keep func(SyncEntry) bool
	// OnLayer is called with each layer that was sent and has arrived.
	OnLayer func(entry layout.Entry, layer digest.Digest)
	// Tries are what an earlier sync of some of these caches has reported; nil means none.
	Tries *Tries
}

// SyncEntry is what became of one cache.
type SyncEntry struct {
	From       string          `json:"from"` // tag in the source
	To         string          `json:"to"`   // tag in the destination
	FromDigest digest.Digest   `json:"fromDigest"`
	ToDigest   digest.Digest   `json:"toDigest,omitempty"`
	Was        digest.Digest   `json:"was,omitempty"` // what the tag named before, if that was another root, or if the cache failed
	Form       buildcache.Form `json:"form,omitempty"`
	layout.Effort
	Foreseen int64    `json:"-"`                // as in Result
	Pruned   *Pruning `json:"pruned,omitempty"` // as in Result; nil if it was skipped
	Skipped  bool     `json:"skipped"`          // the destination already had it, whole
	// Interrupted says that it was begun, and ended by an interruption: that is not a failure.
	Interrupted bool     `json:"interrupted,omitempty"`
	NotInFull   string   `json:"-"` // as in Result
	Notes       []string `json:"notes,omitempty"`
	Error       string   `json:"error,omitempty"`
	Err         error    `json:"-"`
}

// SyncResult is what a sync did.
type SyncResult struct {
	Caches []SyncEntry `json:"caches"`
	// Tried is how many caches have an outcome, whether they are kept or not.
	Tried  int `json:"-"`
	Others int `json:"others"` // chosen entries that are not caches, and were skipped
	Failed int `json:"failed"`
	// Interrupted is how many were begun but not finished, because the sync was interrupted.
	Interrupted int `json:"interrupted,omitempty"`
	// NotTried is how many caches were left out because an earlier one failed, with FailFast, because OnBegin said so, or because the
	// sync was interrupted first.
	NotTried int `json:"notTried,omitempty"`
	// Notes say which caches were skipped, because nothing says what to call them.
	Notes []string `json:"notes,omitempty"`
	// Checked says how caches that were there already were checked: by their roots, by their blobs, or by the blobs' bytes.
	Checked Checked `json:"checked"`
	layout.Effort
}

// Err returns a *SyncError if caches failed, else nil.
func (r *SyncResult) Err() error {
	if r.Failed == 0 {
		return nil
	}
	e := &SyncError{Failed: r.Failed, Of: r.Tried}
	for _, cache := range r.Caches {
		if cache.Err != nil && !cache.Interrupted {
			e.Errs = append(e.Errs, ofTag(cache.From, cache.Err))
		}
	}
	return e
}

// ofTag returns an error that names the tag it is about.
func ofTag(tag string, err error) error {
	if strings.Contains(err.Error(), fmt.Sprintf("tag %q", tag)) {
		return err
	}
	return fmt.Errorf("tag %q: %w", tag, err)
}

// SyncError says that some of several caches failed.
type SyncError struct {
	Failed, Of int
	Errs       []error // one for each
}

func (e *SyncError) Error() string {
	caches := "caches"
	if e.Failed == 1 {
		caches = "cache"
	}
	return fmt.Sprintf("%d %s of %d failed:\n%v", e.Failed, caches, e.Of, errors.Join(e.Errs...))
}

// Unwrap returns what was wrong with each.
func (e *SyncError) Unwrap() []error { return e.Errs }

// Sync copies the caches of src to dst that are not there yet, or not whole, converting them on the way if the options
// say so. It continues after a cache that fails; SyncResult.Err tells. An error means that it could not even begin, or was
// interrupted; the result, if there is one, says what was done before. For a dry run, dst may be nil: a place that
// doesn't exist yet.
func Sync(ctx context.Context, src layout.Source, dst layout.Place, o SyncOptions) (*SyncResult, error) {
	begun := time.Now()
	o.decoder = compress.NewDecoder()
	if err := o.Check(); err != nil {
		return nil, err
	}
	if dst == nil && !o.DryRun {
		return nil, errNoDestination
	}
	o.Options = o.normal()
	if o.Tries == nil {
		o.Tries = &Tries{}
	}
	o.deep, o.look, o.slots, o.turns, o.promised = o.Deep, o.Look, make(chan struct{}, o.jobs()), &turns{}, &promises{}
	o.TrustDestination = o.TrustDestination && !o.Deep // Deep reads everything anyway
	s := &syncer{src: src, dst: dst, o: o, there: map[string]layout.Entry{}}
	result := &SyncResult{Caches: []SyncEntry{}, Checked: s.checked()}
	if o.Tags != nil {
		err := s.stream(ctx, result)
		result.Took = layout.Seconds(time.Since(begun))
		if err != nil && result.Tried == 0 {
			return nil, err
		}
		return result, err
	}
	entries, err := s.choose(ctx, result)
	if err != nil {
		return nil, err
	}
	if s.o.held = (&holdings{}); dst != nil {
		if err := s.lookAtDestination(ctx); err != nil {
			return nil, err
		}
	}
	s.o.Tries.announce(s.o.OnEvent, entries)
	err = s.bringAll(ctx, s.listed(entries), result)
	result.NotTried = len(entries) - result.Tried
	result.Took = layout.Seconds(time.Since(begun))
	return result, err
}

func (r *SyncResult) add(done SyncEntry, keep func(SyncEntry) bool) {
	r.Tried++
	switch {
	case done.Interrupted:
		r.Interrupted++
	case done.Err != nil:
		r.Failed++
	}
	if keep == nil || done.Err != nil || keep(done) {
		r.Caches = append(r.Caches, done)
	}
	r.Effort = r.Plus(done.Effort)
}

// syncer copies caches of one place to another.
type syncer struct {
	src   layout.Source
	dst   layout.Place
	o     SyncOptions
	there map[string]layout.Entry // in dst, by tag
}

// lookAtDestination finds out what is there.
func (s *syncer) lookAtDestination(ctx context.Context) error {
	entries, err := layout.LenientEntries(ctx, s.dst)
	if err != nil {
		return err
	}
	for _, entry := range layout.WithoutShadowed(entries) {
		s.there[entry.Tag] = entry
	}
	s.o.held, err = collect(ctx, s.dst, entries, s.o.Compression)
	return err
}

// bring copies one cache.
func (s *syncer) bring(ctx context.Context, c *candidate, before func(context.Context) error) (done SyncEntry) {
	entry, options := c.entry, s.o.Options
	options.before = before
	part, end := s.o.Tries.begin(entry)
	options.OnEvent = part
	done = SyncEntry{From: entry.Tag, To: s.tagFor(entry), FromDigest: entry.Descriptor.Digest}
	defer func() { end(done.Err == nil) }()
	options.spent = func(e layout.Effort) { done.Effort = e }
	if s.o.OnLayer != nil {
		options.brought = func(layer digest.Digest) { s.o.OnLayer(entry, layer) }
	}
	fail := func(err error) SyncEntry {
		done.Err, done.Error = err, err.Error()
		return done
	}
	if c.failed != nil {
		return fail(c.failed)
	}
	if err := entry.Check(ctx, s.src); err != nil {
		return fail(err)
	}
	old := c.old
	if old.IsUnread() {
		return fail(old.Check(ctx, s.dst)) // what is unknown must not be replaced
	}
	if options.listed = &old; old.Tag != "" {
		done.Was = old.Descriptor.Digest // until there is a result, which says so itself
		current, err := s.isCurrent(ctx, entry, old, part)
		if err != nil {
			return fail(err)
		}
		if current {
			done.ToDigest, done.Was, done.Skipped = old.Descriptor.Digest, "", true
			if done.ToDigest == done.FromDigest {
				done.ToDigest = done.FromDigest // the same string, to be in memory once: most of what is kept are digests
			}
			return done
		}
	}
	result, err := Convert(ctx, s.src, entry, s.dst, done.To, options)
	if err != nil {
		return fail(err)
	}
	s.o.held.learn(result)
	done.ToDigest, done.Form, done.Effort, done.Notes = result.To.Digest, result.To.Form, result.Effort, result.Notes
	done.Was, done.Foreseen, done.Pruned, done.NotInFull = result.Was, result.Foreseen, result.Pruned, result.NotInFull
	return done
}
