package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// Report is what VerifyAll found.
type Report struct {
	Caches   int                  `json:"caches"` // how many were verified
	Others   int                  `json:"others"` // how many entries are no caches, and were passed over
	Problems []buildcache.Problem `json:"problems"`
}

// VerifyAll verifies every cache of a place. Of a layout directory it also verifies what lies beside them: the index,
// blobs that no tag reaches, blobs of others whose bytes are damaged, leftovers.
func VerifyAll(ctx context.Context, src layout.Source, o Options) (Report, error) {
	report := Report{Problems: []buildcache.Problem{}}
	entries, err := layout.Survey(ctx, src)
	var broken *layout.IndexError
	if errors.As(err, &broken) {
		report.Problems = append(report.Problems, buildcache.NewProblem(buildcache.IndexInvalid, "index.json", broken.Err.Error()))
		return report, nil
	}
	if err != nil {
		return report, err
	}
	done := map[digest.Digest]bool{}
	o.announceAll(entries)
	shadowed := shadowedIn(entries)
	for i, f := range entries {
		if f.Kind.IsImage() {
			report.Others++
			continue
		}
		report.Caches++
		part := o
		var end func()
		part.OnEvent, end = o.OnEvent.Part(planned(f))
		problems, err := Verify(ctx, src, f, part)
		end()
		if err != nil {
			return report, err
		}
		if shadowed[i] {
			soften(problems)
		}
		report.Problems = append(report.Problems, problems...)
		markVerified(ctx, src, f, done)
	}
	dir, ok := src.(*layout.Dir)
	if !ok {
		problems, err := verifyImages(ctx, src, entries, done, o)
		report.Problems = append(report.Problems, problems...)
		return report, err
	}
	beside, err := verifyBeside(ctx, dir, entries, done, o)
	report.Problems = append(report.Problems, beside...)
	return report, err
}

// VerifyTag verifies the one cache with a tag, and nothing beside it. A tag that names nothing is a problem found; one
// that is not there is a *layout.NotFoundError.
func VerifyTag(ctx context.Context, src layout.Source, tag string, o Options) (Report, error) {
	found, err := layout.Find(ctx, src, tag)
	if err != nil {
		return Report{}, err
	}
	if found == nil || found.Kind.IsImage() {
		_, err := layout.OneCache(ctx, src, tag)
		return Report{}, err
	}
	return VerifyOne(ctx, src, *found, o)
}

// VerifyOne verifies the one cache of an entry, and nothing beside it.
func VerifyOne(ctx context.Context, src layout.Source, entry layout.Entry, o Options) (Report, error) {
	report := Report{Caches: 1, Problems: []buildcache.Problem{}}
	problems, err := Verify(ctx, src, entry, o)
	report.Problems = append(report.Problems, problems...)
	return report, err
}

// markVerified notes the blobs that Verify has hashed.
func markVerified(ctx context.Context, src layout.Source, f layout.Entry, done map[digest.Digest]bool) {
	raw, err := layout.ReadUnverified(ctx, src, f.Descriptor, buildcache.MaxRoot)
	if err != nil {
		return
	}
	done[f.Descriptor.Digest] = true
	root, err := buildcache.ParseRoot(raw)
	if err != nil {
		return
	}
	done[root.Config.Digest] = true
	for _, layer := range root.Layers {
		done[layer.Digest] = true
	}
}

func verifyBeside(
	ctx context.Context, dir *layout.Dir, entries []layout.Entry, done map[digest.Digest]bool, o Options,
) ([]buildcache.Problem, error) {
	problems, err := checkIndex(ctx, dir, entries)
	if err != nil {
		return nil, err
	}
	damaged, err := checkOthers(ctx, dir, done, o)
	if err != nil {
		return nil, err
	}
	problems = append(problems, damaged...)
	unreached, err := Unreachable(ctx, dir)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		// An image that is not whole, or a root that can't be read as anything.
		problems = append(problems, buildcache.NewProblem(buildcache.Unreachable, "blobs", "what images reach can't be told: "+err.Error()))
	case len(unreached.Blobs) > 0:
		detail := fmt.Sprintf("%d blob(s) with %d bytes that no tag reaches", len(unreached.Blobs), unreached.Bytes)
		problems = append(problems, buildcache.NewProblem(buildcache.Unreachable, "blobs", detail))
	}
	leftovers, err := dir.Leftovers()
	for _, name := range leftovers {
		problems = append(problems, buildcache.NewProblem(buildcache.Leftover, name, ""))
	}
	return problems, err
}

func checkIndex(ctx context.Context, dir *layout.Dir, entries []layout.Entry) ([]buildcache.Problem, error) {
	index, err := dir.Index(ctx)
	if err != nil {
		return nil, err
	}
	caches := map[digest.Digest]bool{}
	for _, f := range entries {
		caches[f.Descriptor.Digest] = f.Kind == layout.KindCache
	}
	return index.Check(caches), nil
}

// checkOthers hashes the blobs that are not in skip. A damaged one is an error even where nothing reaches it: the next
// export that has this blob will find it there and leave it as it is.
func checkOthers(ctx context.Context, dir *layout.Dir, skip map[digest.Digest]bool, o Options) ([]buildcache.Problem, error) {
	blobs, err := dir.Blobs(ctx)
	if err != nil {
		return nil, err
	}
	blobs = slices.DeleteFunc(blobs, func(b buildcache.Descriptor) bool { return skip[b.Digest] })
	o.announce(blobs)
	found := make([]*buildcache.Problem, len(blobs))
	group, ctx := parallel.New(ctx, o.jobs())
	for i, blob := range blobs {
		group.Go(func() error {
			return o.OnEvent.Track("verify", blob.Digest, blob.Size, func(done func(int64)) error {
				read, err := readBlob(ctx, dir, blob, nil, done)
				if err != nil || read.digest == blob.Digest {
					return err
				}
				detail := fmt.Sprintf("its bytes have the digest %s", read.digest)
				p := buildcache.NewProblem(buildcache.BlobDamaged, "blobs", detail).On(blob.Digest)
				found[i] = &p
				return nil
			})
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var problems []buildcache.Problem
	for _, p := range found {
		if p != nil {
			problems = append(problems, *p)
		}
	}
	return problems, nil
}
