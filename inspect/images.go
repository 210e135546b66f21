package inspect

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// shadowedIn returns for each entry whether an earlier one has its tag, so that BuildKit never gets to it.
func shadowedIn(entries []layout.Entry) []bool {
	seen := map[string]bool{}
	shadowed := make([]bool, len(entries))
	for i, entry := range entries {
		shadowed[i] = entry.Tag != "" && seen[entry.Tag]
		seen[entry.Tag] = true
	}
	return shadowed
}

// soften turns errors into warnings, because BuildKit takes something else under the tag.
func soften(problems []buildcache.Problem) {
	for i := range problems {
		if problems[i].Severity == buildcache.SeverityError {
			problems[i] = problems[i].WithEffect(buildcache.Waste)
		}
	}
}

// verifyImages hashes what the images of a place reach, except what is in done, and finds caches that were put into an index like
// one. It goes on after a blob that can't be read to its end, and fails then.
func verifyImages(
	ctx context.Context, src layout.Source, entries []layout.Entry, done map[digest.Digest]bool, o Options,
) (problems []buildcache.Problem, err error) {
	var broken []error
	shadowed := shadowedIn(entries)
	for i, entry := range entries {
		if !entry.Kind.IsImage() {
			continue
		}
		found, err := verifyImage(ctx, src, entry, done, o)
		if shadowed[i] {
			soften(found)
		}
		problems = append(problems, found...)
		if err != nil && !isAboutBlob(ctx, err) {
			return problems, err
		}
		broken = append(broken, err)
	}
	return problems, errors.Join(broken...)
}

// verifyImage verifies one image.
func verifyImage(
	ctx context.Context, src layout.Source, entry layout.Entry, done map[digest.Digest]bool, o Options,
) (problems []buildcache.Problem, err error) {
	cache, err := layout.CacheIn(ctx, src, entry)
	isCache := err == nil && cache != nil // what is wrong with the index is found below
	if isCache && entry.Tag != "" {
		problems = append(problems, buildcache.NewProblem(buildcache.CacheInIndex, "index", "").On(cache.Descriptor.Digest))
	}
	var broken []error
	err = layout.Walk(ctx, src, entry.Descriptor, func(n layout.Node) error {
		if done[n.Digest] {
			return nil
		}
		done[n.Digest] = true
		err := n.Err
		if !n.Manifest {
			err = o.OnEvent.Track("verify", n.Digest, n.Size, func(tell func(int64)) error {
				return layout.ReadThrough(ctx, src, n.Descriptor, tell)
			})
		}
		if errors.Is(err, layout.ErrBlobMissing) && len(n.URLs) > 0 { // it may be elsewhere
			return nil
		}
		p, err := imageProblem(entry, n.Digest, err)
		if p != nil {
			if isCache { // which repair mends
				p.Remedy = p.Kind.Info().Remedy
			}
			problems = append(problems, *p)
		}
		if !n.Manifest && isAboutBlob(ctx, err) {
			broken = append(broken, err)
			return nil
		}
		return err
	})
	if err = errors.Join(append(broken, err)...); err != nil {
		err = fmt.Errorf("verify image %s: %w", entry.Descriptor.Digest, err)
	}
	return taggedAs(problems, entry.Tag), err
}

// RemedyOfImage is what helps if a blob of an image is missing or damaged: none of our commands repairs images, and tools that
// find the blob there leave it as it is.
const RemedyOfImage = "copy the image again, as repair leaves images; delete a damaged blob before, or it is left as it is"

// imageProblem returns what an error says about a blob of an image, or the error itself if it is not about the blob.
func imageProblem(image layout.Entry, blob digest.Digest, err error) (*buildcache.Problem, error) {
	var kind buildcache.Kind
	detail := ""
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, layout.ErrBlobMissing):
		kind = buildcache.BlobMissing
	case errors.Is(err, layout.ErrBlobDamaged):
		kind = buildcache.BlobDamaged
	case errors.Is(err, layout.ErrBlobSize):
		kind, detail = buildcache.BlobSize, "it has another size than its descriptor says"
	case errors.Is(err, layout.ErrNotManifest):
		kind, detail = buildcache.RootInvalid, err.Error()
	default:
		return nil, err
	}
	p := buildcache.NewProblem(kind, "image "+image.Descriptor.Digest.String(), detail).On(blob)
	p.Cache = image.Tag
	if kind != buildcache.RootInvalid {
		p.Remedy = RemedyOfImage
	}
	return &p, nil
}
