package convert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// ProofError says that a result was not published because BuildKit would not import it in full.
type ProofError struct {
	Problems []buildcache.Problem // errors only, at least one
}

func (e *ProofError) Error() string {
	first := e.Problems[0]
	text := fmt.Sprintf("BuildKit would not import the result in full: %s: %s (%s)", first.Where, first.Detail, first.Kind)
	if more := len(e.Problems) - 1; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text
}

// precheck refuses a source whose result would be refused in the end, before the work is done.
func precheck(ctx context.Context, src layout.Source, cache *layout.Cache, o Options) error {
	problems, err := check(ctx, src, cache)
	if err != nil {
		return err
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

// errChanged says that a place gave other bytes back than it got.
var errChanged = errors.New("read back other bytes than were written")

// prove reads a result back and holds it against the rules of BuildKit's importer, and looks whether every blob is
// there with its size. What is in the blobs was checked when they were written.
func prove(ctx context.Context, dst layout.Place, result *layout.Cache) error {
	stored, err := layout.Load(ctx, dst, result.Entry)
	if err != nil {
		return fmt.Errorf("read the result back: %w", err)
	}
	if !bytes.Equal(stored.RawRoot, result.RawRoot) || !bytes.Equal(stored.RawConfig, result.RawConfig) {
		return errChanged
	}
	problems, err := check(ctx, dst, stored)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return &ProofError{Problems: problems}
	}
	return nil
}

// check returns the errors of a cache, without looking into its blobs.
func check(ctx context.Context, src layout.Source, cache *layout.Cache) ([]buildcache.Problem, error) {
	var problems []buildcache.Problem
	for _, p := range buildcache.Validate(cache.Manifest, int64(len(cache.RawRoot)), cache.Config) {
		if p.Severity == buildcache.SeverityError {
			problems = append(problems, p)
		}
	}
	sink, ok := src.(layout.Sink)
	if !ok {
		return problems, nil
	}
	for i, layer := range cache.Manifest.Layers {
		has, err := sink.Has(ctx, layer)
		if err != nil {
			return nil, err
		}
		if !has {
			where := fmt.Sprintf("root.layers[%d]", i)
			problems = append(problems, buildcache.NewProblem(buildcache.BlobMissing, where, "the layer is missing or has another size").On(layer.Digest))
		}
	}
	return problems, nil
}
