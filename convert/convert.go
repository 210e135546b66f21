package convert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// Convert changes one cache of src and stores it in dst, which may be src itself, under the given tag. The tag moves
// last, and only if the result was proved to be whole. An interrupted conversion leaves dst as it was, but for blobs
// that nothing names, and goes on from there when it is run again.
//
// For a dry run, dst may be nil: a place that is not there yet.
//
// Errors carry types: *layout.BlobError and *DiffIDError for bad layers, *ProofError for a result that BuildKit would
// not import, *PreflightError for one that the destination's Rules refuse, *layout.TagMovedError, *layout.LockedError,
// *layout.TakenError.
func Convert(
	ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place, tag string, o Options,
) (result *Result, err error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if dst == nil && !o.DryRun {
		return nil, errNoDestination
	}
	if checker, ok := dst.(layout.TagChecker); ok {
		if err := checker.CheckTag(tag); err != nil { // before any layer is sent
			return nil, err
		}
	}
	begun := time.Now()
	o = o.normal()
	if o.decoder == nil {
		o.decoder = compress.NewDecoder()
	}
	if locker, ok := dst.(layout.Locker); ok && !o.DryRun {
		unlock, lockErr := locker.Lock(ctx)
		if lockErr != nil {
			return nil, lockErr
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	j, warnings, err := prepare(ctx, src, entry, dst, tag, o)
	if err != nil {
		return nil, err
	}
	if o.DryRun {
		result, err = j.preview(ctx)
	} else {
		result, err = j.carryOut(ctx)
	}
	if err != nil {
		return nil, err
	}
	result.Took = layout.Seconds(time.Since(begun))
	result.Notes = append(result.Notes, notesOf(warnings)...)
	return result, nil
}

// notesOf says what a registry may refuse.
func notesOf(warnings []buildcache.Problem) (notes []string) {
	for _, p := range warnings {
		notes = append(notes, fmt.Sprintf("the registry may refuse it: %s (%s)", p.Detail, p.Kind))
	}
	return notes
}

// prepare finds out what there is to do, and refuses what would fail in the end anyway.
func prepare(
	ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place, tag string, o Options,
) (*job, []buildcache.Problem, error) {
	was, err := target(ctx, src, entry, dst, tag, o.listed)
	if err != nil {
		return nil, nil, err
	}
	cache, err := layout.Load(ctx, src, entry)
	if err != nil {
		return nil, nil, err
	}
	if o.prunes() && layout.Same(src, dst) && tag == entry.Tag {
		return nil, nil, errPruneSource
	}
	whole := cache
	cache, pruning, err := o.cut(whole)
	if err != nil {
		return nil, nil, err
	}
	if prunesTagOf(src, entry, dst, was, cache) {
		return nil, nil, errPruneSource
	}
	if err := precheck(ctx, src, cache, o); err != nil {
		return nil, nil, err
	}
	known, err := gather(ctx, src, dst, cache, o)
	if err != nil {
		return nil, nil, err
	}
	p := newPlan(cache, o, known)
	warnings, err := preflight(cache, p, o)
	if err != nil {
		return nil, nil, err
	}
	j := &job{
		src: src, dst: dst, inPlace: layout.Same(src, dst), tag: tag, was: was, cache: cache, whole: whole, pruning: pruning, plan: p, o: o,
	}
	j.forget(known.forgotten)
	return j, warnings, nil
}

// errNoDestination says that there is nowhere to write to.
var errNoDestination = errors.New("there is no destination to write to")

// errPruneSource says that dropping results on the way would drop them at the source.
var errPruneSource = errors.New("what the tag names is the source itself, which pruning on the way would prune")

// prunesTagOf reports whether a tag that names in the destination what the source is by its digest would lose a part of it: in one place,
// which may have been opened twice.
func prunesTagOf(src layout.Source, entry layout.Entry, dst layout.Place, was digest.Digest, left *layout.Cache) bool {
	root := entry.Descriptor.Digest
	return entry.Tag == "" && was == root && left.Entry.Descriptor.Digest != root && src.String() == dst.String()
}

// job is a conversion that is ready to be carried out.
type job struct {
	src     layout.Source
	dst     layout.Place
	inPlace bool // src and dst are one
	tag     string
	was     digest.Digest // what tag names in dst
	cache   *layout.Cache
	// whole is what cache is without pruning, nil where it is just that. pruning says what went, nil where nothing was to go.
	whole   *layout.Cache
	pruning *Pruning
	plan    *plan
	o       Options
	// finish makes root and config of the result of what the plan has come to; nil stands for assemble.
	finish func(*plan) (*layout.Cache, error)
	fitted *Pruning // what went when the result was assembled, nil for nothing

	proved     atomic.Int64 // bytes of layers that were read for what they prove
	forgetting sync.Mutex
	forgotten  error // why the journal can't be used, for a note
}

// forget notes why the journal can't be used, once. nil is no reason.
func (j *job) forget(err error) {
	j.forgetting.Lock()
	defer j.forgetting.Unlock()
	if j.forgotten == nil {
		j.forgotten = err
	}
}

// assembled makes root and config of the result.
func (j *job) assembled() (*layout.Cache, error) {
	if j.finish != nil {
		return j.finish(j.plan)
	}
	result, pruning, err := j.o.assemble(j.cache, j.plan)
	j.fitted = pruning
	return result, err
}

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

// target returns the digest that tag has in dst, "" for none. It is what the tag must still have in the end. dst is not asked
// where listed says it.
func target(
	ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place, tag string, listed *layout.Entry,
) (digest.Digest, error) {
	if dst == nil {
		return "", nil
	}
	if layout.Same(src, dst) && tag == entry.Tag {
		return entry.Descriptor.Digest, nil
	}
	if listed == nil {
		var err error
		if listed, err = layout.Find(ctx, dst, tag); err != nil {
			return "", err
		}
	}
	if listed == nil || listed.Descriptor.Digest == "" {
		return "", nil
	}
	found, err := layout.Classify(ctx, dst, *listed)
	if err != nil {
		return "", err
	}
	if found.IsForeign() {
		return "", &layout.TakenError{Place: dst.String(), Tag: tag, Root: found.Descriptor.Digest, Is: found.Kind, Want: layout.KindCache}
	}
	return found.Descriptor.Digest, nil
}

// preview says what a plan would do.
func (j *job) preview(ctx context.Context) (*Result, error) {
	if err := j.expect(ctx); err != nil {
		return nil, err
	}
	result := newResult(j)
	result.DryRun = true
	for _, s := range j.plan.steps {
		if s.action == Recompress { // the new digests can't be known
			return result, j.estimate(result)
		}
	}
	converted, err := j.assembled()
	if err != nil {
		return nil, err
	}
	result.To = describe(converted)
	result.noteWas(j, false)
	result.note(converted, j.o)
	return result, nil
}

// estimate says where it can't be known what the rules will leave.
func (j *job) estimate(result *Result) error {
	if result.Pruned == nil {
		return nil
	}
	less, err := j.o.mayFitLess(j.cache, j.plan)
	result.Pruned.Estimated = less
	return err
}

// expect finds out what the execution would write of the layers that stay as they are, and how large those are that would be
// recompressed. What these come to can't be known.
func (j *job) expect(ctx context.Context) error {
	for i := range j.plan.steps {
		s := &j.plan.steps[i]
		if s.action == Recompress && !j.o.promised.make(s.from.Digest) {
			s.foreseen = s.from.Size
		}
		if s.action != Keep || j.inPlace {
			continue
		}
		has := j.o.promised.make(s.from.Digest)
		if j.dst != nil && !has {
			var err error
			if has, err = j.dst.Has(ctx, s.from); err != nil {
				return err
			}
		}
		if !has {
			s.moved = s.from.Size
		}
	}
	return nil
}

// checkRoom refuses what surely does not fit on the destination's disk, before anything is read in bulk: the layers that stay as they
// are. What others come to is not known.
func (j *job) checkRoom(ctx context.Context) error {
	dst, ok := j.dst.(layout.Roomy)
	if !ok || j.inPlace {
		return nil
	}
	var need int64
	for _, s := range j.plan.steps {
		if s.action != Keep {
			continue
		}
		has, err := j.dst.Has(ctx, s.from)
		if err != nil {
			return err
		}
		if !has {
			need += s.from.Size
		}
	}
	return dst.CheckRoom(j.src, need)
}

// execute brings every layer to dst, in the order of the plan, several at once. What takes another layer's blob comes after
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
			switch s.action {
			case Keep:
				return j.keep(ctx, s)
			case Recompress:
				return j.remake(ctx, s)
			case Reuse:
				return j.reuse(ctx, s)
			}
			return nil
		})
	}
	return group.Wait()
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
	var sent atomic.Int64 // nothing of what the place has already, or links
	err = j.o.OnEvent.Track("copy", s.from.Digest, s.from.Size, func(done func(int64)) error {
		open := func() (io.ReadCloser, error) { return j.src.Open(ctx, s.from) }
		return j.dst.Put(ctx, s.from, layout.Counted(ctx, open, func(n int64) {
			sent.Add(n)
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

// reuse checks that a blob that the plan counts on is there, and is what it is said to be. If not, it makes it.
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
	} else if !j.o.TrustDestination && !s.made { // what was planned for reading it is not needed
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
	blob, err := recompress(ctx, sourceOf(j.src, s.from), j.dst, *s, j.o)
	if err != nil {
		return err
	}
	s.to = &blob
	j.o.made.add(j.o.recipe(s.from), blob)
	teller, tells := j.dst.(layout.Teller)
	if s.unsure = !tells; s.unsure || teller.Wrote(blob.Digest) {
		s.moved = blob.Size
	}
	if !remembers {
		return nil
	}
	j.forget(journal.Remember(ctx, j.o.recipe(s.from), blob))
	return context.Cause(ctx)
}

// assemble makes root and config of the result. What does not change keeps its bytes.
func assemble(cache *layout.Cache, p *plan) (*layout.Cache, error) {
	out := &layout.Cache{Root: cache.Root, Config: cache.Config, RawRoot: cache.RawRoot, RawConfig: cache.RawConfig}
	if blobs := p.blobs(); len(blobs) > 0 {
		out.Root, out.Config = buildcache.ReplaceLayers(out.Root, out.Config, blobs)
		raw, err := json.Marshal(out.Config)
		if err != nil {
			return nil, fmt.Errorf("write cache config: %w", err)
		}
		if !sameConfig(cache.Config, out.Config) {
			out.RawConfig = raw
			out.Root.SetConfig(raw)
		}
	}
	if p.changed(cache.Root) {
		out.Root = out.Root.WithForm(p.form)
		raw, err := json.Marshal(out.Root)
		if err != nil {
			return nil, fmt.Errorf("write root: %w", err)
		}
		out.RawRoot = raw
	}
	out.Entry.Descriptor = buildcache.Descriptor{
		MediaType: out.Root.Form.MediaType(), Digest: digest.FromBytes(out.RawRoot), Size: int64(len(out.RawRoot)),
	}
	return out, nil
}

// sameConfig reports whether all layers kept their blobs, so that the config can keep its bytes.
func sameConfig(a, b *buildcache.Config) bool {
	for i := range a.Layers {
		if a.Layers[i].Blob != b.Layers[i].Blob {
			return false
		}
	}
	return true
}

// store stores config and root, and reports whether one of them was not there before.
func (j *job) store(ctx context.Context, converted *layout.Cache) (written bool, err error) {
	for _, part := range []struct {
		what string
		blob buildcache.Descriptor
		raw  []byte
	}{
		{"cache config", converted.Root.Config, converted.RawConfig},
		{"root", converted.Entry.Descriptor, converted.RawRoot},
	} {
		open := func() (io.ReadCloser, error) {
			// A place that has a config does not open it. It may open a root, which is there where the tag names it.
			written = written || !buildcache.IsManifestType(part.blob.MediaType)
			return layout.OpenBytes(part.raw)()
		}
		if err := j.dst.Put(ctx, part.blob, open); err != nil {
			return false, fmt.Errorf("write %s: %w", part.what, err)
		}
	}
	if teller, ok := j.dst.(layout.Teller); ok { // a layout may have a tag whose root is gone
		written = written || teller.Wrote(converted.Entry.Descriptor.Digest)
	}
	return written, nil
}

// publish stores config and root, proves the result and moves the tag.
func (j *job) publish(ctx context.Context, converted *layout.Cache) (*Result, error) {
	written, err := j.store(ctx, converted)
	if err != nil {
		return nil, err
	}
	if err := prove(ctx, j.dst, converted, j.o); err != nil {
		return nil, err
	}
	if j.o.deep {
		if err := j.proveHeld(ctx, converted); err != nil {
			return nil, err
		}
	}
	if j.o.before != nil {
		if err := j.o.before(ctx); err != nil {
			return nil, err
		}
	}
	if j.was != converted.Entry.Descriptor.Digest {
		if err := j.dst.Tag(ctx, j.tag, converted.Entry.Descriptor, j.was); err != nil {
			return nil, fmt.Errorf("move the tag %q: %w", j.tag, err)
		}
	}
	result := newResult(j)
	result.Tag, result.To = j.tag, describe(converted)
	result.noteWas(j, written)
	result.note(converted, j.o)
	if j.inPlace && j.was != "" && j.was != result.To.Digest && j.was == result.From.Digest {
		result.Unnamed = unnamed(ctx, j.dst, j.cache)
	}
	return result, nil
}
