package convert

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// SyncOptions say what a sync does. The zero value copies every cache under its own tag, unchanged.
type SyncOptions struct {
	Options
	// Entries are what to bring over, as places.Opened.Entries or layout.Survey returns them; nil stands for all that
	// is in the source.
	Entries []layout.Entry
	// Match chooses among them by tag; nil chooses all.
	Match func(tag string) bool
	// Tag is the tag in the destination of all that is chosen, which must be one cache then; "" keeps tags.
	Tag string
	// Deep reads what the destination has already, instead of only looking whether it is there.
	Deep bool
	// FailFast stops after the first cache that fails.
	FailFast bool
	// OnEntry hears of each cache as it is done with.
	OnEntry func(SyncEntry)
}

// SyncEntry is what became of one cache.
type SyncEntry struct {
	From       string          `json:"from"` // tag in the source
	To         string          `json:"to"`   // tag in the destination
	FromDigest digest.Digest   `json:"fromDigest"`
	ToDigest   digest.Digest   `json:"toDigest,omitempty"`
	Form       buildcache.Form `json:"form,omitempty"`
	layout.Effort
	Skipped bool     `json:"skipped"` // the destination had it already, whole
	Notes   []string `json:"notes,omitempty"`
	Error   string   `json:"error,omitempty"`
	Err     error    `json:"-"`
}

// SyncResult is what a sync did.
type SyncResult struct {
	Caches []SyncEntry `json:"caches"`
	Others int         `json:"others"` // chosen entries that are no caches, and were passed over
	Failed int         `json:"failed"`
	layout.Effort
}

// Err returns a *SyncError where caches failed, else nil.
func (r *SyncResult) Err() error {
	if r.Failed == 0 {
		return nil
	}
	e := &SyncError{Failed: r.Failed, Of: len(r.Caches)}
	for _, cache := range r.Caches {
		if cache.Err != nil {
			e.Errs = append(e.Errs, fmt.Errorf("tag %q: %w", cache.From, cache.Err))
		}
	}
	return e
}

// SyncError says that caches of a sync failed.
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

// Sync brings the caches of src to dst that are not there yet, or not whole, converting them on the way if the options
// say so. It goes on after a cache that fails; SyncResult.Err tells. An error means that it could not even begin, or was
// interrupted; the result, where there is one, says what was done before. For a dry run, dst may be nil: a place that is
// not there yet.
func Sync(ctx context.Context, src layout.Source, dst layout.Place, o SyncOptions) (*SyncResult, error) {
	begun := time.Now()
	o.decoder = compress.NewDecoder()
	if err := o.Check(); err != nil {
		return nil, err
	}
	if dst == nil && !o.DryRun {
		return nil, errNoDestination
	}
	s := &syncer{src: src, dst: dst, o: o, there: map[string]layout.Entry{}}
	result := &SyncResult{Caches: []SyncEntry{}}
	entries, err := s.choose(ctx, result)
	if err != nil {
		return nil, err
	}
	if s.o.held = (&holdings{}); dst != nil {
		if err := s.lookAtDestination(ctx); err != nil {
			return nil, err
		}
	}
	s.announce(entries)
	for _, entry := range entries {
		done := s.bring(ctx, entry)
		if err := context.Cause(ctx); err != nil {
			result.Took = layout.Seconds(time.Since(begun))
			return result, err
		}
		result.add(done)
		if o.OnEntry != nil {
			o.OnEntry(done)
		}
		if done.Err != nil && o.FailFast {
			break
		}
	}
	result.Took = layout.Seconds(time.Since(begun))
	return result, nil
}

func (r *SyncResult) add(done SyncEntry) {
	if done.Err != nil {
		r.Failed++
	}
	r.Caches = append(r.Caches, done)
	r.Moved += done.Moved
	r.Saved += done.Saved
}

// syncer brings caches of one place to another.
type syncer struct {
	src   layout.Source
	dst   layout.Place
	o     SyncOptions
	there map[string]layout.Entry // in dst, by tag
}

// choose returns the caches to sync, those that can't be read among them.
func (s *syncer) choose(ctx context.Context, result *SyncResult) ([]layout.Entry, error) {
	all := s.o.Entries
	if all == nil {
		var err error
		if all, err = layout.Survey(ctx, s.src); err != nil {
			return nil, err
		}
	}
	var entries []layout.Entry
	for _, entry := range layout.WithoutShadowed(all) {
		entry, err := layout.Classify(ctx, s.src, entry)
		switch {
		case err != nil:
			return nil, err
		case s.o.Match != nil && !s.o.Match(entry.Tag):
		case entry.Kind.IsImage():
			result.Others++
		default:
			entries = append(entries, entry)
		}
	}
	if s.o.Tag != "" && len(entries) > 1 {
		return nil, &layout.AmbiguousError{Place: s.src.String(), Tags: layout.TagsOf(entries, func(layout.Kind) bool { return true })}
	}
	return entries, nil
}

// lookAtDestination finds out what is there.
func (s *syncer) lookAtDestination(ctx context.Context) error {
	entries, err := s.dst.Entries(ctx)
	if err != nil {
		return err
	}
	for _, entry := range layout.WithoutShadowed(entries) {
		s.there[entry.Tag] = entry
	}
	s.o.held, err = collect(ctx, s.dst, s.o.Compression)
	return err
}

// planned is how much there can be to do for a cache.
func planned(entry layout.Entry) layout.Event {
	return layout.Event{Kind: layout.EventPlan, Verb: "convert", Count: entry.Layers, Total: entry.LayerBytes}
}

// announce says how much there can be to do for all. What turns out to be there is taken back, cache by cache.
func (s *syncer) announce(entries []layout.Entry) {
	total := planned(layout.Entry{})
	for _, entry := range entries {
		total.Count += entry.Layers
		total.Total += entry.LayerBytes
	}
	s.o.OnEvent.Send(total)
}

// bring brings one cache over.
func (s *syncer) bring(ctx context.Context, entry layout.Entry) SyncEntry {
	options := s.o.Options
	part, end := options.OnEvent.Part(planned(entry))
	defer end()
	options.OnEvent = part
	done := SyncEntry{From: entry.Tag, To: cmp.Or(s.o.Tag, entry.Tag, layout.DefaultTag), FromDigest: entry.Descriptor.Digest}
	fail := func(err error) SyncEntry {
		done.Err, done.Error = err, err.Error()
		return done
	}
	if err := entry.Check(ctx, s.src); err != nil {
		return fail(err)
	}
	if old, ok := s.there[done.To]; ok {
		current, err := s.isCurrent(ctx, entry, old)
		if err != nil {
			return fail(err)
		}
		if current {
			done.ToDigest, done.Skipped = old.Descriptor.Digest, true
			return done
		}
	}
	result, err := Convert(ctx, s.src, entry, s.dst, done.To, options)
	if err != nil {
		return fail(err)
	}
	s.o.held.learn(result)
	done.ToDigest, done.Form, done.Effort, done.Notes = result.To.Digest, result.To.Form, result.Effort, result.Notes
	return done
}

// isCurrent reports whether the destination's old root is what the source's would become, with all that it names. With a
// conversion that is: the plan in which every layer is taken from the old root gives the old root. Nothing is written to
// find out.
func (s *syncer) isCurrent(ctx context.Context, entry, old layout.Entry) (bool, error) {
	if s.o.copies() && entry.Descriptor.Digest != old.Descriptor.Digest {
		return false, nil
	}
	theirs, err := layout.Load(ctx, s.dst, old)
	if err != nil {
		if ctx.Err() != nil {
			return false, err
		}
		return false, nil // what can't be read is not current
	}
	if !s.o.copies() {
		if same, err := s.isOutcome(ctx, entry, theirs); err != nil || !same {
			return false, err
		}
	}
	return s.isWhole(ctx, theirs)
}

// isOutcome reports whether a cache of the destination is what the source's would become.
func (s *syncer) isOutcome(ctx context.Context, entry layout.Entry, theirs *layout.Cache) (bool, error) {
	ours, err := layout.Load(ctx, s.src, entry)
	if err != nil {
		return false, err
	}
	known := knowledge{}
	if s.o.Compression != "" {
		if known.encoding, err = encodings(ctx, s.src, ours.Root); err != nil {
			return false, err
		}
	}
	p := newPlan(ours, s.o.Options, known)
	if !p.take(ours, theirs) {
		return false, nil
	}
	for _, form := range s.o.forms(ours.Root.Form) {
		p.form = form
		result, err := assemble(ours, p)
		if err != nil {
			return false, err
		}
		if result.Entry.Descriptor.Digest == theirs.Entry.Descriptor.Digest {
			return true, nil
		}
	}
	return false, nil
}

// isWhole reports whether all layers of a cache are in the destination, and with Deep whether their bytes are right.
func (s *syncer) isWhole(ctx context.Context, cache *layout.Cache) (bool, error) {
	missing, err := absent(ctx, s.dst, cache.Root)
	if err != nil || len(missing) > 0 {
		return false, err
	}
	if !s.o.Deep {
		return true, nil
	}
	for _, layer := range cache.Root.LayersByDigest() {
		err := s.o.OnEvent.Track("verify", layer.Digest, layer.Size, func(done func(int64)) error {
			return layout.ReadThrough(ctx, s.dst, layer, done)
		})
		if isBroken(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// take fills every step that would recompress a layer with the blob that stands in the layer's place in another cache.
// It reports whether there is one for each.
func (p *plan) take(ours, theirs *layout.Cache) bool {
	if len(ours.Config.Layers) != len(theirs.Config.Layers) {
		return false
	}
	listed := theirs.Root.LayersByDigest()
	standsFor := map[digest.Digest]buildcache.Descriptor{}
	for i, layer := range ours.Config.Layers {
		standsFor[layer.Blob] = listed[theirs.Config.Layers[i].Blob]
	}
	for i := range p.steps {
		s := &p.steps[i]
		if s.action == Keep {
			continue
		}
		blob, ok := p.blobOf(standsFor[s.from.Digest], s)
		if !ok {
			return false
		}
		s.action, s.to = Reuse, &blob
	}
	return true
}

// blobOf reads a descriptor as the outcome of a step, if it can be that.
func (p *plan) blobOf(d buildcache.Descriptor, s *step) (buildcache.Blob, bool) {
	if assume(d).Compression != p.compression {
		return buildcache.Blob{}, false
	}
	estargz := p.compression == buildcache.Estargz || s.encoding.Compression == buildcache.Estargz
	if !estargz && d.DiffID() != s.from.DiffID() {
		return buildcache.Blob{}, false
	}
	return buildcache.BlobOf(d, p.compression), true
}
