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
	if o.DryRun {
		return preview(cache, plan)
	}
	if err := execute(ctx, src, dst, plan, o); err != nil {
		return nil, err
	}
	converted, err := assemble(cache, plan)
	if err != nil {
		return nil, err
	}
	return publish(ctx, dst, tag, was, cache, converted, plan)
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
	found, err := layout.Survey(ctx, dst)
	if err != nil {
		return "", err
	}
	at := layout.Pick(found, tag)
	if at < 0 {
		return "", nil
	}
	if found[at].Kind == layout.KindOther {
		return "", &TakenError{Place: fmt.Sprint(dst), Tag: tag}
	}
	return found[at].Root.Digest, nil
}

// preview says what a plan would do.
func preview(cache *layout.Cache, plan *Plan) (*Result, error) {
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
	result.note(converted)
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
				return keep(ctx, src, dst, *step, o)
			case Recompress:
				blob, err := recompress(ctx, src, dst, *step, o)
				if err != nil {
					return err
				}
				step.To = &blob
				return remember(ctx, dst, *step, o)
			case Reuse:
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

func keep(ctx context.Context, src layout.Source, dst layout.Place, step Step, o Options) error {
	if src == layout.Source(dst) {
		return nil
	}
	err := o.OnEvent.Track("copy", step.From.Digest, step.From.Size, func(done func(int64)) error {
		err := dst.Put(ctx, step.From, func() (io.ReadCloser, error) { return src.Open(ctx, step.From) })
		done(step.From.Size)
		return err
	})
	if err != nil {
		return fmt.Errorf("copy layer: %w", err)
	}
	return nil
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
	if plan.Changed {
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
func publish(
	ctx context.Context, dst layout.Place, tag string, was digest.Digest, cache, converted *layout.Cache, plan *Plan,
) (*Result, error) {
	for _, part := range []struct {
		what string
		blob buildcache.Descriptor
		raw  []byte
	}{
		{"cache config", converted.Manifest.Config, converted.RawConfig},
		{"root", converted.Entry.Root, converted.RawRoot},
	} {
		if err := dst.Put(ctx, part.blob, layout.Bytes(part.raw)); err != nil {
			return nil, fmt.Errorf("write %s: %w", part.what, err)
		}
	}
	if err := prove(ctx, dst, converted); err != nil {
		return nil, err
	}
	if was != converted.Entry.Root.Digest {
		if err := dst.Tag(ctx, tag, converted.Entry.Root, was); err != nil {
			return nil, fmt.Errorf("move the tag %q: %w", tag, err)
		}
	}
	result := newResult(cache, plan)
	result.Tag, result.To = tag, describe(converted)
	result.note(converted)
	return result, nil
}
