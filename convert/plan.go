package convert

import (
	"cmp"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// Action is what a plan does with one layer blob.
type Action string

// The actions.
const (
	Keep       Action = "keep"       // the bytes stay
	Reuse      Action = "reuse"      // the destination has the same layer in the wanted compression
	Recompress Action = "recompress" // the bytes are packed anew
)

// Step is one layer blob of a plan. A blob that the cache names several times is one step.
type Step struct {
	Action  Action
	From    buildcache.Descriptor
	Packing compress.Packing // how the blob is packed; not looked at, and zero, where compression stays
	// To is what the blob becomes: known from the start for Reuse, after the execution for Recompress. For Keep it
	// is nil, unless the blob's media type does not fit its bytes and is put right.
	To *buildcache.Blob
	// Moved is how many bytes the execution wrote to the destination.
	Moved int64
}

// Plan says what a conversion does, before it does it.
type Plan struct {
	Form        buildcache.Form
	Compression buildcache.Compression // "" where it stays
	Steps       []Step                 // largest blob first, then by digest
	asked       bool                   // for a form, be it the one that the cache has
}

// knowledge is what a plan needs to know of the two places.
type knowledge struct {
	packing  map[digest.Digest]compress.Packing // of the source's blobs
	recalled map[layout.Recipe]buildcache.Blob  // what the destination remembers
	held     Holdings                           // what its tagged roots hold in the wanted compression
}

// Changed says whether the result differs from the source at all.
func (p *Plan) Changed(source *buildcache.Root) bool {
	if p.Form != source.Form || p.asked && !source.IsCanonical() {
		return true
	}
	return slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Action != Keep || s.To != nil })
}

// newPlan decides about every layer. It does no I/O.
func newPlan(cache *layout.Cache, o Options, known knowledge) *Plan {
	plan := &Plan{Form: o.forms(cache.Manifest.Form)[0], Compression: o.Compression, asked: o.Form != "" || o.FormsFor != nil}
	for _, layer := range cache.Manifest.LayersByDigest() {
		plan.Steps = append(plan.Steps, newStep(layer, o, known))
	}
	slices.SortFunc(plan.Steps, func(a, b Step) int {
		return cmp.Or(cmp.Compare(b.From.Size, a.From.Size), cmp.Compare(a.From.Digest, b.From.Digest))
	})
	return plan
}

func newStep(layer buildcache.Descriptor, o Options, known knowledge) Step {
	step := Step{Action: Keep, From: layer}
	if o.Compression == "" || layer.MediaType == buildcache.MediaTypeConfig {
		return step
	}
	step.Packing = known.packing[layer.Digest]
	if step.Packing.Compression == o.Compression && !o.Force {
		step.To = relabel(layer, o.Compression)
		return step
	}
	// What is held goes first, so that the journal saves work but never decides what the result is.
	if blob, ok := known.held[layer.DiffID()]; ok && takesHeld(step.Packing, o) {
		step.Action, step.To = Reuse, &blob
		return step
	}
	if blob, ok := known.recalled[o.recipe(layer)]; ok && mayBecome(layer, step.Packing, blob) {
		step.Action, step.To = Reuse, &blob
		return step
	}
	step.Action = Recompress
	return step
}

// takesHeld says whether any blob with the layer's diffID will do: not when a level is asked for, and not for estargz,
// whose diffID is not that of the tar inside.
func takesHeld(from compress.Packing, o Options) bool {
	return !o.Force && o.Level == 0 && o.Compression != buildcache.Estargz && from.Compression != buildcache.Estargz
}

// mayBecome says whether a layer can have become a blob, as the journal says it has: only to and from estargz does a
// diffID change.
func mayBecome(layer buildcache.Descriptor, from compress.Packing, blob buildcache.Blob) bool {
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
func (p *Plan) blobs() map[digest.Digest]buildcache.Blob {
	blobs := map[digest.Digest]buildcache.Blob{}
	for _, step := range p.Steps {
		if step.To != nil {
			blobs[step.From.Digest] = *step.To
		}
	}
	return blobs
}
