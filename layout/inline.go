package layout

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
)

// ImageFunc is called for an image manifest, with its bytes, or for a manifest that can't be read, with the reason.
// What it returns ends the walk.
type ImageFunc func(manifest buildcache.Descriptor, raw []byte, err error) error

// EachImage calls found for every image manifest that root is or reaches through indexes and lists, in their order,
// each once. Entries of an index that are no manifests are passed over.
func EachImage(ctx context.Context, src Source, root buildcache.Descriptor, found ImageFunc) error {
	w := &imageWalk{src: src, found: found, seen: map[digest.Digest]bool{}}
	return w.visit(ctx, root, 0)
}

type imageWalk struct {
	src   Source
	found ImageFunc
	seen  map[digest.Digest]bool
}

func (w *imageWalk) visit(ctx context.Context, d buildcache.Descriptor, depth int) error {
	if w.seen[d.Digest] {
		return nil
	}
	w.seen[d.Digest] = true
	if depth > maxDepth {
		return w.found(d, nil, fmt.Errorf("manifest %s: nested more than %d deep", d.Digest, maxDepth))
	}
	raw, err := ReadBlob(ctx, w.src, d, buildcache.MaxRoot)
	if err != nil {
		return w.found(d, nil, fmt.Errorf("read manifest: %w", err))
	}
	// The content decides, as for BuildKit's importer.
	mediaType, err := buildcache.DetectMediaType(raw)
	if err != nil {
		return w.found(d, nil, fmt.Errorf("manifest %s: %w", d.Digest, err))
	}
	if mediaType == buildcache.MediaTypeDockerManifest || mediaType == buildcache.MediaTypeOCIManifest {
		return w.found(d, raw, nil)
	}
	for _, child := range buildcache.Successors(raw) {
		if !buildcache.IsManifestType(child.MediaType) {
			continue
		}
		if err := w.visit(ctx, child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// errInline ends a walk that has found what it looks for.
var errInline = errors.New("an inline cache was found")

// hasInlineCache says whether an image, or one of an index of images, carries a BuildKit cache. It is for hints, so what
// can't be read counts as no.
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

// NoImageError says that a place does not have the image that was asked for.
type NoImageError struct {
	Place string
	Tag   string   // "" if any image would have done
	Tags  []string // those that images have there
	Cache bool     // the tag belongs to a cache of its own
}

func (e *NoImageError) Error() string {
	switch {
	case e.Cache:
		return fmt.Sprintf("%s: the tag %q belongs to a cache of its own, not to an image", e.Place, e.Tag)
	case e.Tag != "" && len(e.Tags) > 0:
		return fmt.Sprintf("%s: no image has the tag %q (there are: %s)", e.Place, e.Tag, strings.Join(e.Tags, ", "))
	case e.Tag != "":
		return fmt.Sprintf("%s: no image has the tag %q", e.Place, e.Tag)
	default:
		return fmt.Sprintf("%s: there is no image in it", e.Place)
	}
}

// OneImage returns the image, or the index of images, with the tag. With tag "" it is the one that is tagged latest,
// else the only one there. It fails with a *NoImageError, an *AmbiguousError or a *DanglingError.
func OneImage(ctx context.Context, src Source, tag string) (Entry, error) {
	if _, ok := src.(Resolver); ok && tag != "" { // without listing everything, if it is there
		found, err := Find(ctx, src, tag)
		if err != nil {
			return Entry{}, err
		}
		if found != nil && found.Kind == KindOther {
			return found.Entry, nil
		}
	}
	found, err := Survey(ctx, src)
	if err != nil {
		return Entry{}, err
	}
	at, err := chooseImage(src, found, tag)
	if err != nil {
		return Entry{}, err
	}
	switch f := found[at]; f.Kind {
	case KindDangling:
		return Entry{}, dangling(ctx, src, f)
	case KindInvalid:
		return Entry{}, invalid(src, f)
	case KindCache:
		return Entry{}, &NoImageError{Place: placeName(src), Tag: f.Tag, Tags: imagesOf(found), Cache: true}
	default:
		return f.Entry, nil
	}
}

// chooseImage returns the place of the entry that OneImage takes.
func chooseImage(src Source, found []Found, tag string) (int, error) {
	images := imagesOf(found)
	if tag != "" {
		if at := Pick(found, tag); at >= 0 {
			return at, nil
		}
		return -1, &NoImageError{Place: placeName(src), Tag: tag, Tags: images}
	}
	if at := Pick(found, "latest"); at >= 0 && found[at].Kind == KindOther {
		return at, nil
	}
	if len(images) > 1 {
		return -1, &AmbiguousError{Place: placeName(src), Tags: images, Images: true}
	}
	for i, f := range found {
		if f.Kind == KindOther {
			return i, nil
		}
	}
	if len(found) == 1 { // what is wrong with it says more than that it is no image
		return 0, nil
	}
	return -1, &NoImageError{Place: placeName(src), Tags: images}
}

// imagesOf lists the images for a message: by tag, or by digest where they have none.
func imagesOf(found []Found) []string {
	var tags []string
	for _, f := range found {
		switch {
		case f.Kind != KindOther:
		case f.Tag == "":
			tags = append(tags, "untagged "+f.Root.Digest.String())
		default:
			tags = append(tags, f.Tag)
		}
	}
	return tags
}
