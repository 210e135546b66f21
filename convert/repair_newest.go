package convert

import (
	"cmp"
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// nameWanted does what nameNewest does, and fails as checkTag does if the tag to repair is still missing after that.
func nameWanted(ctx context.Context, place layout.Place, o RepairOptions) (*Repair, error) {
	done, err := nameNewest(ctx, place, o)
	if err != nil {
		return nil, err
	}
	return done, o.checkTag(ctx, place)
}

// checkTag fails with a *layout.NotFoundError if the tag to repair is missing, and no root is given for it.
func (o RepairOptions) checkTag(ctx context.Context, view layout.Source) error {
	if o.Tag == "" || o.Root != "" {
		return nil
	}
	entry, err := layout.Find(ctx, view, o.Tag)
	if err == nil && entry == nil {
		_, err = layout.OneCache(ctx, view, o.Tag)
	}
	return err
}

// nameNewest gives the newest unnamed root the tag latest, or the wanted root the wanted tag, if no entry is a cache.
func nameNewest(ctx context.Context, place layout.Place, o RepairOptions) (*Repair, error) {
	tag, want := cmp.Or(o.Tag, layout.DefaultTag), o.Root
	if tag != layout.DefaultTag && want == "" {
		return nil, nil // nobody knows which root it named
	}
	entries, err := layout.Survey(ctx, place)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if entry.Kind == layout.KindCache {
			return nil, nil
		}
	}
	root, err := newest(ctx, place, want)
	if err != nil || root == nil {
		return nil, err
	}
	if old, err := layout.Find(ctx, place, tag); err != nil || old != nil { // then RepairCache repairs it
		return nil, err
	}
	if err := place.Tag(ctx, tag, root.Descriptor, ""); err != nil {
		return nil, err
	}
	which := "the newest untagged root"
	if want != "" {
		which = "the given root"
	}
	return &Repair{
		Kind: buildcache.RootMissing, Digest: root.Descriptor.Digest,
		What: fmt.Sprintf("the tag %s is pointed at %s, %s", tag, which, root.Descriptor.Digest),
	}, nil
}

// HopelessError says that a root without a tag gets none, because RepairCache can't repair the cache.
type HopelessError struct {
	Result *RepairResult // what RepairCache found
}

func (e *HopelessError) Error() string {
	return fmt.Sprintf("the root %s gets no tag, as the cache can't be repaired", e.Result.From)
}

// checkHope fails with a *HopelessError if the cache that has got a tag in a view can't be repaired.
func (o RepairOptions) checkHope(ctx context.Context, view layout.Place, root digest.Digest) error {
	entries, err := layout.Survey(ctx, view)
	if err != nil {
		return err
	}
	o.Write = false
	for _, entry := range entries {
		if entry.Descriptor.Digest != root || entry.Tag == "" {
			continue
		}
		result, err := RepairCache(ctx, view, entry, o)
		if err != nil {
			return err
		}
		if len(result.Left) > 0 {
			return &HopelessError{result}
		}
	}
	return nil
}

// newest returns the wanted root, or else the newest unnamed cache root in a place; nil if there is none.
func newest(ctx context.Context, place layout.Source, want digest.Digest) (*layout.Entry, error) {
	if unnamer, ok := place.(layout.Unnamer); ok && want == "" {
		roots, err := unnamer.UnnamedRoots(ctx)
		if err != nil {
			return nil, err
		}
		if len(roots) > 0 {
			want = roots[0]
		}
	}
	if want == "" {
		return nil, nil
	}
	root, err := layout.FindDigest(ctx, place, want)
	if err != nil {
		return nil, err
	}
	return &root, root.Check(ctx, place)
}
