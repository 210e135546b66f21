package convert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	begun := time.Now()
	if o.decoder == nil {
		o.decoder = compress.NewDecoder()
	}
	if locker, ok := dst.(layout.Locker); ok && !o.DryRun {
		unlock, err := locker.Lock(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	j, warnings, err := prepare(ctx, src, entry, dst, tag, o)
	if err != nil {
		return nil, err
	}
	if o.DryRun {
		result, err = j.preview()
	} else {
		result, err = j.carryOut(ctx)
	}
	if err != nil {
		return nil, err
	}
	result.Took = layout.Seconds(time.Since(begun))
	for _, p := range warnings {
		result.Notes = append(result.Notes, fmt.Sprintf("the registry may refuse it: %s (%s)", p.Detail, p.Kind))
	}
	return result, nil
}

// prepare finds out what there is to do, and refuses what would fail in the end anyway.
func prepare(
	ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place, tag string, o Options,
) (*job, []buildcache.Problem, error) {
	was, err := target(ctx, src, entry, dst, tag)
	if err != nil {
		return nil, nil, err
	}
	cache, err := layout.Load(ctx, src, entry)
	if err != nil {
		return nil, nil, err
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
	return &job{src: src, dst: dst, inPlace: layout.Same(src, dst), tag: tag, was: was, cache: cache, plan: p, o: o}, warnings, nil
}

// errNoDestination says that there is nowhere to write to.
var errNoDestination = errors.New("there is no destination to write to")

// job is a conversion that is ready to be carried out.
type job struct {
	src     layout.Source
	dst     layout.Place
	inPlace bool // src and dst are one
	tag     string
	was     digest.Digest // what tag names in dst
	cache   *layout.Cache
	plan    *plan
	o       Options
}

// carryOut does what was planned. If the destination refuses the form, the next one is tried with the same layers.
func (j *job) carryOut(ctx context.Context) (*Result, error) {
	if err := j.execute(ctx); err != nil {
		return nil, err
	}
	var refusal error
	for _, form := range j.o.forms(j.cache.Root.Form) {
		j.plan.form = form
		converted, err := assemble(j.cache, j.plan)
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

// target returns the digest that tag has in dst, "" for none. It is what the tag must still have in the end.
func target(
	ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place, tag string,
) (digest.Digest, error) {
	if dst == nil {
		return "", nil
	}
	if layout.Same(src, dst) && tag == entry.Tag {
		return entry.Descriptor.Digest, nil
	}
	found, err := layout.Find(ctx, dst, tag)
	if err != nil || found == nil {
		return "", err
	}
	if found.Kind.IsImage() {
		return "", &layout.TakenError{Place: dst.String(), Tag: tag, Root: found.Descriptor.Digest, Is: found.Kind, Want: layout.KindCache}
	}
	return found.Descriptor.Digest, nil
}

// preview says what a plan would do.
func (j *job) preview() (*Result, error) {
	result := newResult(j)
	result.DryRun = true
	for _, s := range j.plan.steps {
		if s.action == Recompress {
			return result, nil // the new digests can't be known
		}
	}
	converted, err := assemble(j.cache, j.plan)
	if err != nil {
		return nil, err
	}
	result.To = describe(converted)
	result.note(converted, j.o)
	return result, nil
}

// execute brings every layer to dst, in the order of the plan, several at once.
func (j *job) execute(ctx context.Context) error {
	j.announce()
	group, ctx := parallel.New(ctx, j.o.jobs())
	for i := range j.plan.steps {
		s := &j.plan.steps[i] // each goroutine writes to its own
		group.Go(func() error {
			if err := context.Cause(ctx); err != nil {
				return err
			}
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
		if s.action == Recompress || s.action == Keep && !j.inPlace {
			total.Count++
			total.Total += s.from.Size
		}
	}
	j.o.OnEvent.Send(total)
}

func (j *job) keep(ctx context.Context, s *step) error {
	if j.inPlace {
		return nil
	}
	err := j.o.OnEvent.Track("copy", s.from.Digest, s.from.Size, func(done func(int64)) error {
		return j.dst.Put(ctx, s.from, layout.Counted(ctx, func() (io.ReadCloser, error) {
			s.moved = s.from.Size // a place that has the blob does not open it
			return j.src.Open(ctx, s.from)
		}, done))
	})
	if err != nil {
		return fmt.Errorf("copy layer: %w", layout.BlameSource(err, j.src))
	}
	return nil
}

// reuse checks that a blob that the plan counts on is there, and is what it is said to be. If not, it makes it.
func (j *job) reuse(ctx context.Context, s *step) error {
	has, err := j.dst.Has(ctx, buildcache.Descriptor{Digest: s.to.Digest, Size: s.to.Size})
	if err != nil {
		return err
	}
	if has && j.o.TrustDestination {
		return nil
	}
	if has {
		proved, err := j.isProved(ctx, s)
		if err != nil || proved {
			return err
		}
		s.distrusted = true
	}
	s.action = Recompress
	return j.remake(ctx, s)
}

// remake recompresses a layer, and remembers the outcome.
func (j *job) remake(ctx context.Context, s *step) error {
	blob, err := recompress(ctx, j.src, j.dst, *s, j.o)
	if err != nil {
		return err
	}
	s.to, s.moved = &blob, blob.Size
	journal, ok := j.dst.(layout.Journal)
	if !ok {
		return nil
	}
	if err := journal.Remember(ctx, j.o.recipe(s.from), blob); err != nil {
		return fmt.Errorf("%s: write journal: %w", j.dst, err)
	}
	return nil
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

// publish stores config and root, proves the result and moves the tag.
func (j *job) publish(ctx context.Context, converted *layout.Cache) (*Result, error) {
	for _, part := range []struct {
		what string
		blob buildcache.Descriptor
		raw  []byte
	}{
		{"cache config", converted.Root.Config, converted.RawConfig},
		{"root", converted.Entry.Descriptor, converted.RawRoot},
	} {
		if err := j.dst.Put(ctx, part.blob, layout.OpenBytes(part.raw)); err != nil {
			return nil, fmt.Errorf("write %s: %w", part.what, err)
		}
	}
	if err := prove(ctx, j.dst, converted, j.o); err != nil {
		return nil, err
	}
	if j.was != converted.Entry.Descriptor.Digest {
		if err := j.dst.Tag(ctx, j.tag, converted.Entry.Descriptor, j.was); err != nil {
			return nil, fmt.Errorf("move the tag %q: %w", j.tag, err)
		}
	}
	result := newResult(j)
	result.Tag, result.To = j.tag, describe(converted)
	result.note(converted, j.o)
	return result, nil
}
