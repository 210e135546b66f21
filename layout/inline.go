package layout

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// errInline ends a walk that has found an inline cache.
var errInline = errors.New("an inline cache was found")

// hasInlineCache reports whether an image, or one in an index of images, carries a BuildKit cache. It is for hints, so
// what can't be read counts as no.
func hasInlineCache(ctx context.Context, src Source, root buildcache.Descriptor) bool {
	looked := map[digest.Digest]bool{} // a hostile index may have one config under thousands of manifests
	err := EachImage(ctx, src, root, func(_ buildcache.Descriptor, raw []byte, err error) error {
		if ctx.Err() != nil {
			return err
		}
		image, err := buildcache.ParseImage(raw)
		if err != nil || looked[image.Config.Digest] {
			return nil //nolint:nilerr // see above
		}
		looked[image.Config.Digest] = true
		config, err := ReadBlob(ctx, src, image.Config, buildcache.MaxRoot)
		if err == nil {
			err = image.ReadConfig(config)
		}
		if err == nil {
			_, err = image.Inline()
		}
		if err != nil {
			return nil //nolint:nilerr // see above
		}
		return errInline
	})
	return errors.Is(err, errInline)
}

// NoImageError says that a place doesn't have the image that was asked for.
type NoImageError struct {
	Place string
	Tag   string   // "" if any image would do
	Tags  []string // of the images there
	Cache bool     // the tag names a cache instead
}

func (e *NoImageError) Error() string {
	switch {
	case e.Cache:
		return fmt.Sprintf("%s: the tag %q points to a cache, not to an image", e.Place, cut(e.Tag))
	case e.Tag != "" && len(e.Tags) > 0:
		return fmt.Sprintf("%s: no image has the tag %q (available: %s)", e.Place, cut(e.Tag), cutAll(e.Tags))
	case e.Tag != "":
		return fmt.Sprintf("%s: no image has the tag %q", e.Place, cut(e.Tag))
	default:
		return fmt.Sprintf("%s: contains no image", e.Place)
	}
}
