package convert

import (
	"cmp"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// Action is what a conversion does with one layer blob.
type Action string

// The actions.
const (
	Keep       Action = "keep"       // the bytes stay
	Reuse      Action = "reuse"      // the destination has the same layer in the wanted compression
	Recompress Action = "recompress" // the bytes are encoded again
)

// step is one layer blob of a plan. A blob that the cache names several times is one step.
type step struct {
	action   Action
	from     buildcache.Descriptor
	encoding compress.Encoding // how the blob is encoded; zero, and not looked at, if the compression stays
	// to is what the blob becomes: known from the start for Reuse, after the execution for Recompress. For Keep it
	// is nil, unless the blob's media type doesn't match its bytes and is corrected.
	to *buildcache.Blob
	// moved is how many bytes of the outcome the execution wrote to the destination, 0 if that had them. sent and read are the bytes
	// sent and read for it in all attempts, including those that broke off.
	moved, sent, read int64
	// done says that the step was executed without failing.
	done bool
	// foreseen is, in a dry run, the size of a layer that would be recompressed: the size of the outcome can't be known.
	foreseen int64
	// twin says that to is the blob of another step, which must be there first.
	twin bool
	// made says that this run made the blob in to.
	made bool
	// likely says that the destination has the layer in the wanted compression, but maybe not at the wanted level.
	likely bool
	// distrusted says that what the destination claimed to hold turned out to be something else.
	distrusted bool
}

// plan says what a conversion does, before it does it.
type plan struct {
	form        buildcache.Form
	compression buildcache.Compression // "" if it stays
	steps       []step                 // largest blob first, then by digest
	asked       bool                   // a form was asked for, even if the cache has it already
}

// knowledge is what a plan needs to know of the two places.
type knowledge struct {
	encoding map[digest.Digest]compress.Encoding // of the source's blobs
	recalled map[layout.Recipe]buildcache.Blob   // what the destination remembers
	// forgotten is why it remembers nothing, if its journal can't be read. That only costs time.
	forgotten error
	held      *holdings // what its tagged roots hold in the wanted compression
}

// changed reports whether the result differs from the source at all.
func (p *plan) changed(source *buildcache.Root) bool {
	if p.form != source.Form || p.asked && !source.IsCanonical() {
		return true
	}
	return slices.ContainsFunc(p.steps, func(s step) bool { return s.action != Keep || s.to != nil })
}

// newPlan decides what happens to every layer. It does no I/O.
func newPlan(cache *layout.Cache, o Options, known knowledge) *plan {
	p := &plan{form: o.forms(cache.Root.Form)[0], compression: o.Compression, asked: o.Form != ""}
	for _, layer := range cache.Root.LayersByDigest() {
		p.steps = append(p.steps, newStep(layer, o, known))
	}
	slices.SortFunc(p.steps, func(a, b step) int {
		return cmp.Or(cmp.Compare(b.from.Size, a.from.Size), cmp.Compare(a.from.Digest, b.from.Digest))
	})
	return p
}

func newStep(layer buildcache.Descriptor, o Options, known knowledge) step {
	s := step{action: Keep, from: layer}
	if o.Compression == "" || layer.MediaType == buildcache.MediaTypeConfig {
		return s
	}
	s.encoding = known.encoding[layer.Digest]
	if s.encoding.Compression == o.Compression && !o.Force {
		s.to = relabel(layer, o.Compression)
		return s
	}
	// What is held comes first, so that the journal saves work but never decides what the result is.
	if blob, ok := known.held.blob(layer.DiffID()); ok && takesHeld(s.encoding, o) {
		s.action, s.to = Reuse, &blob
		return s
	}
	if blob, ok := known.recalled[o.recipe(layer)]; ok && mayBecome(layer, s.encoding, blob) {
		s.action, s.to = Reuse, &blob
		return s
	}
	if blob, ok := o.made.blob(o.recipe(layer)); ok {
		s.action, s.to, s.made = Reuse, &blob, true
		return s
	}
	_, s.likely = known.held.blob(layer.DiffID())
	s.action = Recompress
	return s
}

// takesHeld reports whether any blob with the layer's diffID will do: not when a level is asked for, and not for estargz,
// whose diffID is not that of the tar inside.
func takesHeld(from compress.Encoding, o Options) bool {
	return !o.Force && o.Level == 0 && o.Compression != buildcache.Estargz && from.Compression != buildcache.Estargz
}

// mayBecome reports whether a layer can have become a blob, as the journal claims: a diffID changes only to and from
// estargz.
func mayBecome(layer buildcache.Descriptor, from compress.Encoding, blob buildcache.Blob) bool {
	return blob.Compression == buildcache.Estargz || from.Compression == buildcache.Estargz ||
		layer.DiffID() == "" || layer.DiffID() == blob.DiffID
}

// relabel returns the same blob with its real compression if the media type contradicts the bytes, else nil.
func relabel(layer buildcache.Descriptor, c buildcache.Compression) *buildcache.Blob {
	want, _ := buildcache.LayerCompression(buildcache.LayerMediaType(buildcache.Artifact, c))
	if said, ok := buildcache.LayerCompression(layer.MediaType); ok && said == want {
		return nil
	}
	return &buildcache.Blob{Digest: layer.Digest, Size: layer.Size, Compression: c, DiffID: layer.DiffID()}
}

// blobs returns the blobs that replace layers, by the digests of those layers.
func (p *plan) blobs() map[digest.Digest]buildcache.Blob {
	blobs := map[digest.Digest]buildcache.Blob{}
	for _, s := range p.steps {
		if s.to != nil {
			blobs[s.from.Digest] = *s.to
		}
	}
	return blobs
}
