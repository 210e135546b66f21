package convert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	if _, ok := src.(layout.RandomAccess); ok { // elsewhere that is not cheap, and reading will tell
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
		case buildcache.LayerNoDiffID, buildcache.LayerMediaTypeBad: // set anew with a layer's bytes
			return o.Compression != ""
		default:
			return false
		}
	})
	if len(problems) > 0 {
		return &ProofError{Problems: problems}
	}
	return nil
}

// PreflightError says that a destination surely does not take a result. Nothing was written.
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

// errChanged says that a place returned other bytes than it was given.
var errChanged = errors.New("read back other bytes than were written")

// prove reads a result back and holds it against the rules of BuildKit's importer, and looks whether every blob is
// there with its size. What is in the blobs was checked when they were written.
func prove(ctx context.Context, dst layout.Place, result *layout.Cache, o Options) error {
	stored, err := layout.Load(ctx, dst, result.Entry)
	if err != nil {
		return fmt.Errorf("read the result back: %w", err)
	}
	if !bytes.Equal(stored.RawRoot, result.RawRoot) || !bytes.Equal(stored.RawConfig, result.RawConfig) {
		return errChanged
	}
	missing, err := absent(ctx, dst, stored.Root)
	if err != nil {
		return err
	}
	problems := missing
	if !o.copies() { // a copy is what it was
		problems = append(errorsOf(stored), missing...)
	}
	if len(problems) > 0 {
		return &ProofError{Problems: problems}
	}
	return nil
}

// errorsOf returns what is wrong with a cache, as far as root and config show it.
func errorsOf(cache *layout.Cache) []buildcache.Problem {
	problems := buildcache.Validate(cache.Root, int64(len(cache.RawRoot)), cache.Config)
	return slices.DeleteFunc(problems, func(p buildcache.Problem) bool { return p.Severity != buildcache.SeverityError })
}

// absent returns a problem for every layer that a place does not have, or has with another size.
func absent(ctx context.Context, src layout.Source, root *buildcache.Root) ([]buildcache.Problem, error) {
	has := map[digest.Digest]*bool{}
	group, ctx := parallel.New(ctx, lookUps)
	for _, layer := range root.LayersByDigest() {
		there := new(bool)
		has[layer.Digest] = there
		group.Go(func() (err error) {
			*there, err = src.Has(ctx, layer)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var problems []buildcache.Problem
	for i, layer := range root.Layers {
		if !*has[layer.Digest] {
			where := fmt.Sprintf("root.layers[%d]", i)
			problems = append(problems, buildcache.NewProblem(buildcache.BlobMissing, where, "the layer is missing or has another size").On(layer.Digest))
		}
	}
	return problems, nil
}
