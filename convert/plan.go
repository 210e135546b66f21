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
	Recompress Action = "recompress" // the bytes are encoded anew
)

// step is one layer blob of a plan. A blob that the cache names several times is one step.
type step struct {
	action   Action
	from     buildcache.Descriptor
	encoding compress.Encoding // how the blob is encoded; not looked at, and zero, where compression stays
	// to is what the blob becomes: known from the start for Reuse, after the execution for Recompress. For Keep it
	// is nil, unless the blob's media type does not fit its bytes and is put right.
	to *buildcache.Blob
	// moved is how many bytes of the outcome the execution wrote to the destination, 0 where that had them. sent and read are what all
	// attempts sent and read for it, those that broke off too.
	moved, sent, read int64
	// done says that the execution is over with it, and has not failed.
	done bool
	// foreseen is, in a dry run, how large a layer is that would be recompressed: what it would come to can't be known.
	foreseen int64
	// unsure says that the destination may have had what was written, and does not tell.
	unsure bool
	// twin says that to is the blob of another step, which has to be there first.
	twin bool
	// made says that this run has made to itself.
	made bool
	// likely says that the destination has the layer in the wanted compression, but maybe not at the wanted level.
	likely bool
	// distrusted says that what the destination claimed to hold turned out to be something else.
	distrusted bool
}

// plan says what a conversion does, before it does it.
type plan struct {
	form        buildcache.Form
	compression buildcache.Compression // "" where it stays
	steps       []step                 // largest blob first, then by digest
	asked       bool                   // for a form, be it the one that the cache has
}

// knowledge is what a plan needs to know of the two places.
type knowledge struct {
	encoding map[digest.Digest]compress.Encoding // of the source's blobs
	recalled map[layout.Recipe]buildcache.Blob   // what the destination remembers
	// forgotten is why it remembers nothing, where it can't be read. That costs time, and nothing else.
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

// newPlan decides about every layer. It does no I/O.
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
	// What is held goes first, so that the journal saves work but never decides what the result is.
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

// mayBecome reports whether a layer can have become a blob, as the journal says it has: only to and from estargz does a
// diffID change.
func mayBecome(layer buildcache.Descriptor, from compress.Encoding, blob buildcache.Blob) bool {
	return blob.Compression == buildcache.Estargz || from.Compression == buildcache.Estargz ||
		layer.DiffID() == "" || layer.DiffID() == blob.DiffID
}

// relabel returns a blob in place of itself where its media type says something else than its bytes.
func relabel(layer buildcache.Descriptor, c buildcache.Compression) *buildcache.Blob {
	want, _ := buildcache.LayerCompression(buildcache.LayerMediaType(buildcache.Artifact, c))
	if said, ok := buildcache.LayerCompression(layer.MediaType); ok && said == want {
		return nil
	}
	return &buildcache.Blob{Digest: layer.Digest, Size: layer.Size, Compression: c, DiffID: layer.DiffID()}
}

// blobs returns what replaces what.
func (p *plan) blobs() map[digest.Digest]buildcache.Blob {
	blobs := map[digest.Digest]buildcache.Blob{}
	for _, s := range p.steps {
		if s.to != nil {
			blobs[s.from.Digest] = *s.to
		}
	}
	return blobs
}
