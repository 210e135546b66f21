package convert

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// maxInline bounds how much is read for all inline caches of one image together, in bytes. No result larger than
// buildcache.MaxImport is of any use.
const maxInline = buildcache.MaxConfig

// ExtractResult says what an extraction did, or would do. Sizes are in bytes.
type ExtractResult struct {
	Tag    string           `json:"tag,omitempty"`
	Image  digest.Digest    `json:"image"` // the image or index of images that the caches were in
	Images []ExtractedImage `json:"images"`
	To     Root             `json:"to"`
	DryRun bool             `json:"dryRun,omitempty"`
	// Skipped says that the destination already had the whole result under its tag.
	Skipped bool          `json:"skipped"`
	Layers  []LayerResult `json:"layers"`
	layout.Effort
	// Notes say what was left out, and what the result can't do.
	Notes []string `json:"notes,omitempty"`
}

// ExtractedImage is what became of one image manifest.
type ExtractedImage struct {
	Manifest digest.Digest `json:"manifest"`
	Platform string        `json:"platform,omitempty"`
	Records  int           `json:"records"`
	Results  int           `json:"results"`
	Layers   int           `json:"layers"` // that its results need
	// PassedOver says why nothing of it is in the result, "" if something is.
	PassedOver string `json:"passedOver,omitempty"`
}

// NoInlineError says that an image carries no inline cache, or none that BuildKit would look at.
type NoInlineError struct {
	Place  string
	Tag    string // "" if the image has none
	Image  digest.Digest
	Reason error // why an existing inline cache doesn't count, or nil
}

func (e *NoInlineError) Error() string {
	text := fmt.Sprintf("%s: the image %s carries no inline cache", e.Place, e.Image)
	if e.Reason != nil {
		text += " that can be used: " + e.Reason.Error()
	}
	return text
}

// Unwrap returns the reason.
func (e *NoInlineError) Unwrap() error { return e.Reason }

// Inlined is the inline cache of an image, read but not yet written anywhere.
type Inlined struct {
	src    layout.Source
	image  layout.Entry
	images []ExtractedImage
	notes  []string
	root   *buildcache.Root // an artifact
	config *buildcache.Config
}

// ReadInline reads the inline cache of an image. Those of all images in an index become one cache, since BuildKit looks at
// all of them. Images without one, such as attestations, are skipped. So are, each with a note, manifests that an index lists
// and the place doesn't have, and images whose inline cache BuildKit would skip.
//
// It fails with a *NoInlineError if nothing remains, and with a *buildcache.InlineError if an inline cache is
// damaged, since BuildKit then imports none of them.
func ReadInline(ctx context.Context, src layout.Source, image layout.Entry) (*Inlined, error) {
	reader := &inlineReader{src: src, out: &Inlined{src: src, image: image}}
	err := layout.EachImage(ctx, src, image.Descriptor, func(manifest buildcache.Descriptor, raw []byte, err error) error {
		return reader.take(ctx, manifest, raw, err)
	})
	if err != nil {
		return nil, err
	}
	out := reader.out
	if len(reader.found) == 0 {
		return nil, &NoInlineError{Place: src.String(), Tag: image.Tag, Image: image.Descriptor.Digest, Reason: reader.reason}
	}
	if out.root, out.config, err = buildcache.Unite(reader.found); err != nil {
		return nil, err
	}
	return out, nil
}

// inlineReader collects the inline caches of an image.
type inlineReader struct {
	src    layout.Source
	found  []*buildcache.Inline
	reason error // why the first unusable one doesn't count
	read   int64
	out    *Inlined
}

// take looks at one manifest.
func (r *inlineReader) take(ctx context.Context, manifest buildcache.Descriptor, raw []byte, err error) error {
	report := ExtractedImage{Manifest: manifest.Digest}
	if err != nil {
		if !errors.Is(err, layout.ErrBlobMissing) || manifest.Digest == r.out.image.Descriptor.Digest {
			return err
		}
		// Whoever copies one platform of an image often keeps its index, which still lists the others.
		report.PassedOver = "its manifest is missing"
		r.note("the index lists the manifest %s, which is missing; if it has an inline cache, that is not in the result", manifest.Digest)
		r.out.images = append(r.out.images, report)
		return nil
	}
	inline, err := r.inlineOf(ctx, raw, &report)
	var count *buildcache.LayerCountError
	switch {
	case err == nil:
		r.found = append(r.found, inline)
		report.Records, report.Results, report.Layers = inline.Records(), inline.Results, inline.Layers()
		r.noteParts(inline, report)
	case errors.Is(err, buildcache.ErrNoInline):
		report.PassedOver = "it carries no inline cache"
	case errors.As(err, &count):
		report.PassedOver = count.Error()
		r.note("the inline cache of %s is not in the result: %v", report.name(), count)
		if r.reason == nil {
			r.reason = err
		}
	default:
		return err
	}
	r.out.images = append(r.out.images, report)
	return nil
}

// inlineOf reads the inline cache of one image manifest.
func (r *inlineReader) inlineOf(ctx context.Context, raw []byte, report *ExtractedImage) (*buildcache.Inline, error) {
	image, err := buildcache.ParseImage(raw)
	if errors.Is(err, buildcache.ErrNoInline) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", report.Manifest, err)
	}
	config, err := layout.ReadBlob(ctx, r.src, image.Config, buildcache.MaxConfig)
	if err != nil {
		return nil, fmt.Errorf("read image config: %w", err)
	}
	if err := image.ReadConfig(config); err != nil {
		return nil, err
	}
	report.Platform = image.Platform
	inline, err := image.Inline()
	if err != nil {
		return nil, err
	}
	if r.read += int64(len(raw) + len(config)); r.read > maxInline {
		return nil, &buildcache.SizeError{What: "the inline caches of the image", Size: r.read, Limit: maxInline}
	}
	return inline, nil
}

// noteParts notes which parts of an image are not in the result.
func (r *inlineReader) noteParts(inline *buildcache.Inline, report ExtractedImage) {
	if inline.Image.Ages == nil {
		r.note("the history of %s does not have one entry per layer, so the ages of its layers are unknown", report.name())
	}
	if rest := len(inline.Image.Layers) - inline.Layers(); rest > 0 {
		r.note("in %s, the top %d of %d layers are left out because no result needs them", report.name(), rest, len(inline.Image.Layers))
	}
}

func (r *inlineReader) note(format string, args ...any) {
	r.out.notes = append(r.out.notes, fmt.Sprintf(format, args...))
}

// name says which image is meant, for people.
func (i ExtractedImage) name() string { return cmp.Or(i.Platform, i.Manifest.String()) }

// Extract stores the inline cache as a cache of its own in dst, which may be the place that it was read from, under the
// given tag. Options are those of Convert; without a form it becomes an artifact. As with Convert, layers are verified while
// they are copied, the tag moves last and only if the result was proved to be whole, an interrupted extraction continues when
// it is run again, and for a dry run dst may be nil.
//
// Errors have types: *layout.BlobError for bad layers, *ProofError for a result that BuildKit would not import, such as
// one above buildcache.MaxImport, *PreflightError, *layout.TagMovedError, *layout.LockedError, *layout.TakenError.
func (n *Inlined) Extract(ctx context.Context, dst layout.Place, tag string, o Options) (*ExtractResult, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	source, err := n.in(o.forms(buildcache.Artifact)[0])
	if err != nil {
		return nil, err
	}
	if err := n.precheck(ctx, source.cache); err != nil {
		return nil, err
	}
	if o.Form == "" {
		o.Form = source.cache.Root.Form
	}
	done, err := Convert(ctx, source, source.cache.Entry, dst, tag, o)
	if err != nil {
		return nil, err
	}
	result := &ExtractResult{
		Tag: tag, Image: n.image.Descriptor.Digest, Images: n.images, To: done.To, DryRun: done.DryRun, Skipped: done.Skipped, Layers: done.Layers, Effort: done.Effort,
	}
	result.Notes = append(result.Notes, n.notes...)
	for _, p := range buildcache.Validate(source.cache.Root, int64(len(source.cache.RawRoot)), source.cache.Config) {
		if p.Kind == buildcache.LayerForeign {
			result.Notes = append(result.Notes, fmt.Sprintf("the layer %s is marked as not distributable, as in the image", p.Digest))
		}
	}
	result.Notes = append(result.Notes, done.Notes...)
	return result, nil
}

// precheck refuses what would be refused in the end, before layers are copied.
func (n *Inlined) precheck(ctx context.Context, cache *layout.Cache) error {
	problems := errorsOf(cache)
	if _, ok := n.src.(layout.RandomAccess); ok { // elsewhere checking is not cheap, and reading will tell
		missing, err := absent(ctx, n.src, cache.Root)
		if err != nil {
			return err
		}
		problems = append(problems, missing...)
	}
	if len(problems) > 0 {
		return &ProofError{Problems: problems}
	}
	return nil
}

// in returns the cache in a form, as a place that Convert can read.
func (n *Inlined) in(form buildcache.Form) (*inlineSource, error) {
	value := buildcache.Cache{Root: n.root, Config: n.config}
	if form != n.root.Form {
		value.Root = n.root.WithForm(form)
	}
	cache, err := seal(value)
	if err != nil {
		return nil, err
	}
	return &inlineSource{src: n.src, cache: cache}, nil
}

// inlineSource presents an image's place as one with a single cache: root and config are in memory, layers are the image's.
type inlineSource struct {
	src   layout.Source
	cache *layout.Cache
}

// String returns the name of the image's place, since that is where anything can be wrong.
func (s *inlineSource) String() string { return s.src.String() }

// Entries returns the cache.
func (s *inlineSource) Entries(context.Context) ([]layout.Entry, error) {
	return []layout.Entry{s.cache.Entry}, nil
}

// Has reports whether a blob is there with its size.
func (s *inlineSource) Has(ctx context.Context, blob buildcache.Descriptor) (bool, error) {
	switch blob.Digest {
	case s.cache.Entry.Descriptor.Digest:
		return blob.Size == int64(len(s.cache.RawRoot)), nil
	case s.cache.Root.Config.Digest:
		return blob.Size == int64(len(s.cache.RawConfig)), nil
	default:
		return s.src.Has(ctx, blob)
	}
}

// Open returns a blob's bytes.
func (s *inlineSource) Open(ctx context.Context, blob buildcache.Descriptor) (io.ReadCloser, error) {
	switch blob.Digest {
	case s.cache.Entry.Descriptor.Digest:
		return layout.OpenBytes(s.cache.RawRoot)()
	case s.cache.Root.Config.Digest:
		return layout.OpenBytes(s.cache.RawConfig)()
	default:
		return s.src.Open(ctx, blob)
	}
}
