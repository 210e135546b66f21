package convert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// Convert changes one cache of src and stores it in dst, which may be src itself, under the given tag. The tag moves
// last, and only if the result was proved to be whole. An interrupted conversion leaves dst as it was, but for blobs
// that nothing names, and goes on from there when it is run again.
//
// For a dry run, dst may be nil: a place that is not there yet.
//
// Errors carry types: *layout.BlobError and *DiffIDError for bad layers, *ProofError for a result that BuildKit would
// not import, *layout.TagMovedError, *layout.LockedError, *TakenError.
func Convert(
	ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place, tag string, o Options,
) (result *Result, err error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if locker, ok := dst.(layout.Locker); ok && !o.DryRun {
		unlock, err := locker.Lock(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	was, err := target(ctx, src, entry, dst, tag)
	if err != nil {
		return nil, err
	}
	cache, err := layout.Load(ctx, src, entry)
	if err != nil {
		return nil, err
	}
	if err := precheck(ctx, src, cache, o); err != nil {
		return nil, err
	}
	known, err := survey(ctx, src, dst, cache, o)
	if err != nil {
		return nil, err
	}
	plan := newPlan(cache, o, known)
	warnings, err := preflight(cache, plan, o)
	if err != nil {
		return nil, err
	}
	if o.DryRun {
		result, err = preview(cache, plan, o)
	} else {
		result, err = carryOut(ctx, job{src, dst, tag, was, cache, plan, o})
	}
	if err != nil {
		return nil, err
	}
	for _, p := range warnings {
		result.Notes = append(result.Notes, fmt.Sprintf("the registry may refuse it: %s (%s)", p.Detail, p.Kind))
	}
	return result, nil
}

// job is a conversion that is ready to be carried out.
type job struct {
	src   layout.Source
	dst   layout.Place
	tag   string
	was   digest.Digest // what tag names in dst
	cache *layout.Cache
	plan  *Plan
	o     Options
}

// carryOut does what was planned. If the destination refuses the form, the next one is tried with the same layers.
func carryOut(ctx context.Context, j job) (*Result, error) {
	if err := execute(ctx, j.src, j.dst, j.plan, j.o); err != nil {
		return nil, err
	}
	var refusal error
	for _, form := range j.o.forms(j.cache.Manifest.Form) {
		j.plan.Form = form
		converted, err := assemble(j.cache, j.plan)
		if err != nil {
			return nil, err
		}
		result, err := publish(ctx, j, converted)
		if err == nil || j.o.Refused == nil || !j.o.Refused(err) {
			return result, err
		}
		refusal = err
	}
	return nil, refusal
}

// TakenError says that a tag of the destination belongs to something that is no cache.
type TakenError struct {
	Place string
	Tag   string
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("%s: the tag %q belongs to something that is no cache", e.Place, e.Tag)
}

// target returns the digest that tag has in dst, "" for none. It is what the tag must still have in the end.
func target(
	ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place, tag string,
) (digest.Digest, error) {
	if dst == nil {
		return "", nil
	}
	if src == layout.Source(dst) && tag == entry.Tag {
		return entry.Root.Digest, nil
	}
	found, err := layout.Find(ctx, dst, tag)
	if err != nil || found == nil {
		return "", err
	}
	if found.Kind == layout.KindOther {
		return "", &TakenError{Place: fmt.Sprint(dst), Tag: tag}
	}
	return found.Root.Digest, nil
}

// preview says what a plan would do.
func preview(cache *layout.Cache, plan *Plan, o Options) (*Result, error) {
	result := newResult(cache, plan)
	result.DryRun = true
	for _, step := range plan.Steps {
		if step.Action == Recompress {
			return result, nil // the new digests can't be known
		}
	}
	converted, err := assemble(cache, plan)
	if err != nil {
		return nil, err
	}
	result.To = describe(converted)
	result.note(converted, o)
	return result, nil
}

// execute brings every layer to dst, in the order of the plan, several at once.
func execute(ctx context.Context, src layout.Source, dst layout.Place, plan *Plan, o Options) error {
	announce(plan, src == layout.Source(dst), o)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(o.jobs())
	for i := range plan.Steps {
		step := &plan.Steps[i] // each goroutine writes to its own
		group.Go(func() error {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			switch step.Action {
			case Keep:
				return keep(ctx, src, dst, step, o)
			case Recompress:
				return pack(ctx, src, dst, step, o)
			case Reuse:
				return reuse(ctx, src, dst, step, o)
			}
			return nil
		})
	}
	return group.Wait()
}

// announce says how much there is to do.
func announce(plan *Plan, inPlace bool, o Options) {
	total := layout.Event{Kind: layout.EventPlan, Verb: "convert"}
	for _, step := range plan.Steps {
		if step.Action == Recompress || step.Action == Keep && !inPlace {
			total.Count++
			total.Total += step.From.Size
		}
	}
	o.OnEvent.Send(total)
}

func keep(ctx context.Context, src layout.Source, dst layout.Place, step *Step, o Options) error {
	if src == layout.Source(dst) {
		return nil
	}
	err := o.OnEvent.Track("copy", step.From.Digest, step.From.Size, func(done func(int64)) error {
		err := dst.Put(ctx, step.From, func() (io.ReadCloser, error) {
			step.Moved = step.From.Size // a place that has the blob does not open it
			return src.Open(ctx, step.From)
		})
		done(step.From.Size)
		return err
	})
	if err != nil {
		return fmt.Errorf("copy layer: %w", layout.BlameSource(err, src))
	}
	return nil
}

// reuse looks whether a blob is there still that the plan counts on, and makes it if not.
func reuse(ctx context.Context, src layout.Source, dst layout.Place, step *Step, o Options) error {
	has, err := dst.Has(ctx, buildcache.Descriptor{Digest: step.To.Digest, Size: step.To.Size})
	if err != nil || has {
		return err
	}
	step.Action = Recompress
	return pack(ctx, src, dst, step, o)
}

// pack recompresses a layer, and remembers the outcome.
func pack(ctx context.Context, src layout.Source, dst layout.Place, step *Step, o Options) error {
	blob, err := recompress(ctx, src, dst, *step, o)
	if err != nil {
		return err
	}
	step.To, step.Moved = &blob, blob.Size
	return remember(ctx, dst, *step, o)
}

func remember(ctx context.Context, dst layout.Place, step Step, o Options) error {
	memory, ok := dst.(layout.Memory)
	if !ok {
		return nil
	}
	if err := memory.Remember(ctx, o.recipe(step.From), *step.To); err != nil {
		return fmt.Errorf("%v: write journal: %w", dst, err)
	}
	return nil
}

// assemble makes root and config of the result. What does not change keeps its bytes.
func assemble(cache *layout.Cache, plan *Plan) (*layout.Cache, error) {
	out := &layout.Cache{Manifest: cache.Manifest, Config: cache.Config, RawRoot: cache.RawRoot, RawConfig: cache.RawConfig}
	if blobs := plan.blobs(); len(blobs) > 0 {
		out.Manifest, out.Config = buildcache.ReplaceLayers(out.Manifest, out.Config, blobs)
		raw, err := json.Marshal(out.Config)
		if err != nil {
			return nil, fmt.Errorf("write cache config: %w", err)
		}
		if !sameConfig(cache.Config, out.Config) {
			out.RawConfig = raw
			out.Manifest.SetConfig(raw)
		}
	}
	if plan.Changed(cache.Manifest) {
		out.Manifest = out.Manifest.WithForm(plan.Form)
		raw, err := json.Marshal(out.Manifest)
		if err != nil {
			return nil, fmt.Errorf("write root: %w", err)
		}
		out.RawRoot = raw
	}
	out.Entry.Root = buildcache.Descriptor{
		MediaType: out.Manifest.Form.MediaType(), Digest: digest.FromBytes(out.RawRoot), Size: int64(len(out.RawRoot)),
	}
	return out, nil
}

// sameConfig says whether all layers kept their blobs, so that the config can keep its bytes.
func sameConfig(a, b *buildcache.Config) bool {
	for i := range a.Layers {
		if a.Layers[i].Blob != b.Layers[i].Blob {
			return false
		}
	}
	return true
}

// publish stores config and root, proves the result and moves the tag.
func publish(ctx context.Context, j job, converted *layout.Cache) (*Result, error) {
	for _, part := range []struct {
		what string
		blob buildcache.Descriptor
		raw  []byte
	}{
		{"cache config", converted.Manifest.Config, converted.RawConfig},
		{"root", converted.Entry.Root, converted.RawRoot},
	} {
		if err := j.dst.Put(ctx, part.blob, layout.Bytes(part.raw)); err != nil {
			return nil, fmt.Errorf("write %s: %w", part.what, err)
		}
	}
	if err := prove(ctx, j.dst, converted, j.o); err != nil {
		return nil, err
	}
	if j.was != converted.Entry.Root.Digest {
		if err := j.dst.Tag(ctx, j.tag, converted.Entry.Root, j.was); err != nil {
			return nil, fmt.Errorf("move the tag %q: %w", j.tag, err)
		}
	}
	result := newResult(j.cache, j.plan)
	result.Tag, result.To = j.tag, describe(converted)
	result.note(converted, j.o)
	return result, nil
}
