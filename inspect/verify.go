package inspect

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// Options are for Verify. The zero value hashes every blob and unpacks none.
type Options struct {
	// CachesOnly skips the images of a place: a registry has many, and they are far.
	CachesOnly bool
	Deep       bool // unpack every layer and compare its diffID
	Jobs       int  // blobs at once; 0 means one for each processor
	OnEvent    layout.Handler
	// Checks are further rules for root and config, such as those of a registry.
	Checks []func(*layout.Cache) []buildcache.Problem
}

func (o Options) jobs() int {
	if o.Jobs > 0 {
		return o.Jobs
	}
	return runtime.GOMAXPROCS(0)
}

// announce says how much there is to read.
func (o Options) announce(blobs []buildcache.Descriptor) {
	total := layout.Event{Kind: layout.EventPlan, Verb: "verify", Count: len(blobs)}
	for _, blob := range blobs {
		total.Total += blob.Size
	}
	o.OnEvent.Send(total)
}

// planned says how much there is to read of a cache, as its root states it.
func planned(entry layout.Entry) layout.Event {
	return layout.Event{Kind: layout.EventPlan, Verb: "verify", Count: entry.Layers, Total: entry.LayerBytes}
}

// announceAll says how much there is to read of several caches. A root that has many tags is read once.
func (o Options) announceAll(entries []layout.Entry) {
	total := planned(layout.Entry{})
	seen := map[digest.Digest]bool{}
	for _, entry := range entries {
		if seen[entry.Descriptor.Digest] {
			continue
		}
		seen[entry.Descriptor.Digest] = true
		total.Count += entry.Layers
		total.Total += entry.LayerBytes
	}
	o.OnEvent.Send(total)
}

// Verify returns everything that is wrong with a cache, in the order of root, config, layers. An error means that not all of it
// could be found out; what was is returned all the same.
func Verify(ctx context.Context, src layout.Source, entry layout.Entry, o Options) ([]buildcache.Problem, error) {
	v := &verifier{blobs: newBlobReader(src, o), entry: entry, options: o}
	err := v.run(ctx)
	return taggedAs(v.problems, entry.Tag), err
}

// taggedAs returns the problems of a root as problems of the cache with the given tag.
func taggedAs(problems []buildcache.Problem, tag string) []buildcache.Problem {
	problems = slices.Clone(problems)
	for i := range problems {
		problems[i].Cache = tag
	}
	return problems
}

type verifier struct {
	blobs    *blobReader
	entry    layout.Entry
	options  Options
	problems []buildcache.Problem
}

func (v *verifier) report(p buildcache.Problem) { v.problems = append(v.problems, p) }

func (v *verifier) run(ctx context.Context) error {
	cache := &layout.Cache{Entry: v.entry}
	if err := v.readRoot(ctx, cache); err != nil || cache.Root == nil {
		return err
	}
	unread := v.readConfig(ctx, cache)
	if unread != nil && !isAboutBlob(ctx, unread) {
		return unread
	}
	used := map[digest.Digest]bool{}
	if cache.Config != nil {
		v.problems = append(v.problems, buildcache.Validate(cache.Root, int64(len(cache.RawRoot)), cache.Config)...)
		for _, check := range v.options.Checks {
			v.problems = append(v.problems, check(cache)...)
		}
		used = buildcache.UsedBlobs(cache.Root, cache.Config)
	}
	return errors.Join(unread, v.checkBlobs(ctx, cache.Root, used))
}

func (v *verifier) readRoot(ctx context.Context, cache *layout.Cache) error {
	root := v.entry.Descriptor
	if v.entry.Kind == layout.KindDangling && root.Digest == "" {
		v.report(buildcache.NewProblem(buildcache.RootMissing, "root", v.entry.Err.Error()))
		return nil
	}
	if err := buildcache.CheckDigest(root.Digest); err != nil {
		v.report(buildcache.NewProblem(buildcache.DigestInvalid, "root", err.Error()).On(root.Digest).WithEffect(buildcache.HitsLost))
		return nil
	}
	raw, err := layout.ReadUnverified(ctx, v.blobs.src, root, buildcache.MaxRoot)
	var size *buildcache.SizeError
	switch {
	case errors.Is(err, layout.ErrBlobMissing):
		v.report(buildcache.NewProblem(buildcache.RootMissing, "root", "").On(root.Digest))
		return nil
	case errors.As(err, &size):
		v.report(buildcache.NewProblem(buildcache.RootTooLarge, "root", err.Error()).On(root.Digest))
		return nil
	case err != nil:
		return err
	}
	if got := root.Digest.Algorithm().FromBytes(raw); got != root.Digest {
		v.report(buildcache.NewProblem(buildcache.RootDamaged, "root", otherBytes(got, int64(len(raw)))).On(root.Digest))
	}
	cache.RawRoot = raw
	if cache.Root, err = buildcache.ParseRoot(raw); err != nil {
		v.report(buildcache.NewProblem(buildcache.RootInvalid, "root", err.Error()).On(root.Digest))
	}
	return nil
}

func (v *verifier) readConfig(ctx context.Context, cache *layout.Cache) error {
	config := cache.Root.Config
	if buildcache.CheckDigest(config.Digest) != nil {
		v.report(buildcache.NewProblem(buildcache.ConfigMissing, "root.config", "the config's digest is malformed").On(config.Digest))
		return nil //nolint:nilerr // it is a finding, not a failure
	}
	raw, err := layout.ReadUnverified(ctx, v.blobs.src, config, buildcache.MaxConfig)
	var size *buildcache.SizeError
	switch {
	case errors.Is(err, layout.ErrBlobMissing):
		v.report(buildcache.NewProblem(buildcache.ConfigMissing, "config", "").On(config.Digest))
		return nil
	case errors.As(err, &size):
		v.report(buildcache.NewProblem(buildcache.ConfigTooLarge, "config", err.Error()).On(config.Digest))
		return nil
	case err != nil:
		return err
	}
	switch got := config.Digest.Algorithm().FromBytes(raw); {
	case got != config.Digest:
		v.report(buildcache.NewProblem(buildcache.ConfigDamaged, "config", otherBytes(got, int64(len(raw)))).On(config.Digest))
	case int64(len(raw)) != config.Size:
		// BuildKit reads local configs without looking at the size; registries compare it.
		detail := fmt.Sprintf("the root says %d bytes, but it has %d", config.Size, len(raw))
		v.report(buildcache.NewProblem(buildcache.BlobSize, "root.config", detail).On(config.Digest).WithEffect(buildcache.RegistryRefuses))
	}
	cache.RawConfig = raw
	if cache.Config, err = buildcache.ParseConfig(raw); err != nil {
		v.report(buildcache.NewProblem(buildcache.ConfigInvalid, "config", err.Error()).On(config.Digest))
	}
	return nil
}

// checkBlobs looks into every distinct layer blob. It goes on after one that can't be read to its end, and fails then.
func (v *verifier) checkBlobs(ctx context.Context, root *buildcache.Root, used map[digest.Digest]bool) error {
	var layers []buildcache.Descriptor
	var places []int
	byDigest := root.LayersByDigest()
	for i, layer := range root.Layers {
		d, ok := byDigest[layer.Digest]
		if !ok || buildcache.CheckDigest(layer.Digest) != nil {
			continue // seen before, or reported as malformed
		}
		delete(byDigest, layer.Digest)
		layers, places = append(layers, d), append(places, i)
	}
	v.options.announce(slices.DeleteFunc(slices.Clone(layers), func(d buildcache.Descriptor) bool { return v.blobs.knows(d) }))
	found, broken := make([][]buildcache.Problem, len(layers)), make([]error, len(layers))
	group, ctx := parallel.New(ctx, v.options.jobs())
	for i, layer := range layers {
		group.Go(func() error {
			where := fmt.Sprintf("root.layers[%d]", places[i])
			var err error
			found[i], err = v.checkBlob(ctx, layer, where, used[layer.Digest])
			if isAboutBlob(ctx, err) {
				broken[i], err = err, nil
			}
			return err
		})
	}
	err := group.Wait()
	for _, problems := range found {
		v.problems = append(v.problems, problems...)
	}
	if err != nil {
		return err
	}
	return errors.Join(broken...)
}

// isAboutBlob reports whether an error is about the bytes of a single blob, so that others may be readable.
func isAboutBlob(ctx context.Context, err error) bool {
	var blob *layout.BlobError
	return ctx.Err() == nil && errors.As(err, &blob) && blob.Digest != ""
}
