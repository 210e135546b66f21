package convert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// ProofError says that a result was not published because BuildKit would not import it in full.
type ProofError struct {
	Problems []buildcache.Problem // errors only, at least one
}

func (e *ProofError) Error() string {
	return "BuildKit would not import the result in full: " + e.list()
}

// list names the first problem, and how many more there are.
func (e *ProofError) list() string {
	first := e.Problems[0]
	where := first.Where
	if first.Digest != "" {
		where += ", blob " + first.Digest.String()
	}
	text := fmt.Sprintf("%s: %s (%s)", where, first.Detail, first.Kind)
	if more := len(e.Problems) - 1; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// precheck refuses a source whose result would be refused in the end, before the work is done.
func precheck(ctx context.Context, src layout.Source, cache *layout.Cache, o Options) error {
	var problems []buildcache.Problem
	if !o.copies() {
		problems = errorsOf(cache)
	}
	if _, ok := src.(layout.RandomAccess); ok { // elsewhere that isn't cheap, and reading will tell
		missing, err := absent(ctx, src, cache.Root)
		if err != nil {
			return err
		}
		problems = append(problems, missing...)
	}
	problems = slices.DeleteFunc(problems, func(p buildcache.Problem) bool {
		switch p.Kind {
		case buildcache.RootTooLarge, buildcache.ConfigTooLarge: // the result may be smaller
			return true
		case buildcache.LayerNoDiffID, buildcache.LayerMediaTypeBad: // set again with a layer's new bytes
			return o.Compression != ""
		default:
			return false
		}
	})
	if len(problems) > 0 {
		return &ProofError{Problems: problems}
	}
	return checkEmpty(cache, o)
}

// PreflightError says that a destination certainly won't take a result. Nothing was written.
type PreflightError struct {
	Problems []buildcache.Problem // errors only, at least one
}

func (e *PreflightError) Error() string {
	return "the registry would refuse the result: " + (&ProofError{Problems: e.Problems}).list()
}

// preflight asks the destination's rules about the result, as far as it is known.
func preflight(cache *layout.Cache, p *plan, o Options) (warnings []buildcache.Problem, err error) {
	if o.Rules == nil {
		return nil, nil
	}
	expected := *cache
	if p.changed(cache.Root) {
		expected.Root = cache.Root.WithForm(p.form)
	}
	var sure []buildcache.Problem
	for _, problem := range o.Rules.Check(&expected) {
		if problem.Severity == buildcache.SeverityError {
			sure = append(sure, problem)
		} else {
			warnings = append(warnings, problem)
		}
	}
	if len(sure) > 0 {
		return nil, &PreflightError{Problems: sure}
	}
	return warnings, nil
}

// lookUps is how many blobs are looked for at once.
const lookUps = 8

// ReadBackError says that a destination took a result, but didn't return it unchanged. No tag was moved.
type ReadBackError struct{ Err error }

func (e *ReadBackError) Error() string { return fmt.Sprintf("read the result back: %v", e.Err) }

// Unwrap returns what was wrong.
func (e *ReadBackError) Unwrap() error { return e.Err }

// errChanged says that a place returned other bytes than it was given.
var errChanged = errors.New("the bytes differ from what was written")

// readBack compares what a place has for root and config with what they should be. A registry may keep an older, damaged copy of
// either, and whoever imports the cache needs both.
func readBack(ctx context.Context, dst layout.Place, result *layout.Cache) error {
	root, err := layout.ReadBlob(ctx, dst, result.Entry.Descriptor, buildcache.MaxRoot)
	if err != nil {
		return fmt.Errorf("read root: %w", err)
	}
	if !bytes.Equal(root, result.RawRoot) {
		return errChanged
	}
	config, err := layout.ReadBlob(ctx, dst, result.Root.Config, buildcache.MaxConfig)
	if err != nil {
		return fmt.Errorf("read cache config: %w", err)
	}
	if !bytes.Equal(config, result.RawConfig) {
		return errChanged
	}
	return nil
}

// prove reads a result back, checks it against the rules of BuildKit's importer, and checks that every blob is
// there with its size. The bytes of the blobs were checked when they were written.
func prove(ctx context.Context, dst layout.Place, result *layout.Cache, o Options) error {
	if err := readBack(ctx, dst, result); err != nil {
		return &ReadBackError{Err: err}
	}
	return proveImport(ctx, dst, result, o)
}

// proveImport is prove for a result that may not have been written yet.
func proveImport(ctx context.Context, dst layout.Source, result *layout.Cache, o Options) error {
	missing, err := absent(ctx, dst, result.Root)
	if err != nil {
		return err
	}
	problems := missing
	if !o.copies() { // a copy is as good as its source
		problems = append(errorsOf(result), missing...)
	}
	if len(problems) > 0 {
		return &ProofError{Problems: problems}
	}
	return nil
}

// proveStored looks at what the destination really has of the result's layers, if that is wanted. It fails with a *layout.HeldError if
// one is damaged: to have sent it proves nothing, as the destination may have kept an older copy.
func (j *job) proveStored(ctx context.Context, result *layout.Cache) error {
	if j.o.deep {
		return j.readStored(ctx, result)
	}
	place, ok := j.dst.(layout.Rechecker)
	if !j.o.look || !ok {
		return nil
	}
	group, ctx := parallel.New(ctx, lookUps)
	for _, layer := range result.Root.LayersByDigest() {
		group.Go(func() error { return place.Recheck(ctx, layer) })
	}
	return group.Wait()
}

// readStored reads every layer of the result, except what the destination can tell it has written itself.
func (j *job) readStored(ctx context.Context, result *layout.Cache) error {
	teller, tells := j.dst.(layout.Teller)
	layers := result.Root.LayersByDigest()
	maps.DeleteFunc(layers, func(blob digest.Digest, _ buildcache.Descriptor) bool { return tells && teller.Wrote(blob) })
	announceHeld(layers, j.o.OnEvent)
	for _, layer := range layers {
		err := readHeld(ctx, j.dst, layer, j.o.OnEvent)
		if isBroken(err) {
			return &layout.HeldError{Place: j.dst.String(), Err: err}
		}
		if err != nil {
			return err
		}
		j.proved.Add(layer.Size)
	}
	return nil
}

// announceHeld announces that layers of a destination are about to be read, in addition to all other work on them.
func announceHeld(layers map[digest.Digest]buildcache.Descriptor, onEvent layout.Handler) {
	total := layout.Event{Kind: layout.EventPlan, Verb: "verify", Count: len(layers)}
	for _, layer := range layers {
		total.Total += layer.Size
	}
	onEvent.Send(total)
}

// readHeld reads a layer of a destination to its end, verified.
func readHeld(ctx context.Context, dst layout.Source, layer buildcache.Descriptor, onEvent layout.Handler) error {
	return onEvent.Track("verify", layer.Digest, layer.Size, func(done func(int64)) error {
		return layout.ReadThrough(ctx, dst, layer, done)
	})
}

// errorsOf returns the errors in a cache, as far as root and config show them.
func errorsOf(cache *layout.Cache) []buildcache.Problem {
	problems := buildcache.Validate(cache.Root, int64(len(cache.RawRoot)), cache.Config)
	return slices.DeleteFunc(problems, func(p buildcache.Problem) bool { return p.Severity != buildcache.SeverityError })
}

// absent returns a problem for every layer that a place lacks or has with another size, only one if a root lists it twice.
func absent(ctx context.Context, src layout.Source, root *buildcache.Root) ([]buildcache.Problem, error) {
	has := map[digest.Digest]*bool{}
	group, groupCtx := parallel.New(ctx, lookUps)
	for _, layer := range root.LayersByDigest() {
		there := new(bool)
		has[layer.Digest] = there
		group.Go(func() (err error) {
			*there, err = src.Has(groupCtx, layer)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var problems []buildcache.Problem
	told := map[digest.Digest]bool{}
	for i, layer := range root.Layers {
		if *has[layer.Digest] || told[layer.Digest] {
			continue
		}
		told[layer.Digest] = true
		p, err := lacks(ctx, src, layer, fmt.Sprintf("root.layers[%d]", i))
		if err != nil {
			return nil, err
		}
		problems = append(problems, p)
	}
	return problems, nil
}

// lacks says of a layer that a place doesn't have with its size whether it is missing, or what is wrong with what is there. verify says
// the same.
func lacks(ctx context.Context, src layout.Source, layer buildcache.Descriptor, where string) (p buildcache.Problem, err error) {
	missing := buildcache.NewProblem(buildcache.BlobMissing, where, "").On(layer.Digest)
	files, ok := src.(layout.RandomAccess)
	if !ok {
		return missing, nil
	}
	file, err := files.OpenAt(ctx, layer)
	if errors.Is(err, layout.ErrBlobMissing) {
		return missing, nil
	}
	if err != nil {
		return p, err
	}
	size := file.Size()
	if err := file.Close(); err != nil {
		return p, err
	}
	there := layer
	there.Size = size
	err = layout.ReadThrough(ctx, src, there, func(int64) {})
	switch {
	case size < layer.Size && isBroken(err):
		return buildcache.NewProblem(buildcache.BlobDamaged, where, fmt.Sprintf("it has %d bytes instead of %d", size, layer.Size)).On(layer.Digest), nil
	case err == nil || isBroken(err):
		return buildcache.NewProblem(buildcache.BlobSize, where, fmt.Sprintf("the descriptor says %d bytes, but it has %d", layer.Size, size)).On(layer.Digest), nil
	}
	return p, err
}
