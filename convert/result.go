package convert

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// Result says what a conversion did, or would do. Sizes are in bytes.
type Result struct {
	Tag       string        `json:"tag,omitempty"`
	Was       digest.Digest `json:"was,omitempty"` // what the tag named in the destination before, if that was another root
	From      Root          `json:"from"`
	To        Root          `json:"to"`
	Unchanged bool          `json:"unchanged"` // the source already was what was asked for
	Skipped   bool          `json:"skipped"`   // the destination, another place or tag, already had the whole result under its tag
	DryRun    bool          `json:"dryRun,omitempty"`
	Layers    []LayerResult `json:"layers"`
	// Foreseen is, in a dry run, the size in the source of the layers that would be recompressed.
	Foreseen int64 `json:"-"`
	// Unnamed is how many bytes no tag reaches any more after a change in place; layout.Dir.GC frees them.
	Unnamed int64 `json:"unnamed,omitempty"`
	layout.Effort
	// Pruned says what Options.Prune dropped; nil if it has no rules.
	Pruned *Pruning `json:"pruned,omitempty"`
	// NotInFull says that it was copied as it is, although BuildKit won't import it in full, and why. It is also among the notes.
	NotInFull string `json:"-"`
	// Notes say what the result can't do: which BuildKits can't use it, what breaks.
	Notes []string `json:"notes,omitempty"`
}

// Root describes one side of a conversion. After a dry run the new digests are unknown if layers are recompressed.
type Root struct {
	Digest      digest.Digest   `json:"digest,omitempty"`
	Form        buildcache.Form `json:"form,omitempty"` // "" if the cache failed, as is the media type
	MediaType   string          `json:"mediaType,omitempty"`
	Size        int64           `json:"size,omitempty"` // of the root itself
	Config      digest.Digest   `json:"config,omitempty"`
	LayersBytes int64           `json:"layersBytes,omitempty"` // of the distinct blobs
}

// LayerResult is what became of one layer blob.
type LayerResult struct {
	Action          Action                 `json:"action"`
	From            digest.Digest          `json:"from"`
	FromSize        int64                  `json:"fromSize"`
	FromCompression buildcache.Compression `json:"fromCompression,omitempty"`
	To              digest.Digest          `json:"to,omitempty"`
	ToSize          int64                  `json:"toSize,omitempty"`
	ToCompression   buildcache.Compression `json:"toCompression,omitempty"`
	DiffID          digest.Digest          `json:"diffID,omitempty"`
}

// Entry returns the cache that was written, as its place lists it. After a dry run its digest may be unknown.
func (r *Result) Entry() layout.Entry {
	root := buildcache.Descriptor{MediaType: r.To.MediaType, Digest: r.To.Digest, Size: r.To.Size}
	return layout.Entry{Tag: r.Tag, Descriptor: root, Kind: layout.KindCache}
}

func newResult(j *job) *Result {
	r := &Result{Tag: j.tag, Unchanged: j.isUnchanged(), Layers: []LayerResult{}, Pruned: j.pruned()}
	r.From = describe(j.given())
	r.To = Root{Form: j.plan.form, MediaType: j.plan.form.MediaType()}
	distrusted := 0
	for _, s := range j.plan.steps {
		layer := LayerResult{
			Action: s.action, From: s.from.Digest, FromSize: s.from.Size, DiffID: s.from.DiffID(),
			FromCompression: s.encoding.Compression, ToCompression: s.encoding.Compression,
		}
		switch {
		case s.to != nil:
			layer.To, layer.ToSize, layer.DiffID = s.to.Digest, s.to.Size, s.to.DiffID
			layer.ToCompression = s.to.Compression
		case s.action == Recompress:
			layer.ToCompression = j.plan.compression
		case s.action == Keep:
			layer.To, layer.ToSize = layer.From, layer.FromSize
		}
		r.Layers = append(r.Layers, layer)
		r.Foreseen += s.foreseen
		r.Effort = r.Plus(j.spentOn(s))
		if s.distrusted {
			distrusted++
		}
	}
	r.Read += j.proved.Load()
	if j.forgotten != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("the journal can't be used, so this work may have to be repeated: %v", j.forgotten))
	}
	if distrusted > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("the destination has %d blobs that are not the layers they claim to be; "+
			"these layers were recompressed instead; to find the caches that use them, run verify --deep there", distrusted))
	}
	return r
}

// given returns the cache as its source has it.
func (j *job) given() *layout.Cache { return cmp.Or(j.whole, j.cache) }

// isUnchanged reports whether the source already is what was asked for.
func (j *job) isUnchanged() bool { return j.given() == j.cache && !j.plan.changed(j.cache.Root) }

// pruned says what was dropped from the cache.
func (j *job) pruned() *Pruning {
	if j.pruning == nil || j.fitted == nil {
		return j.pruning
	}
	both := j.pruning.then(j.asGiven(*j.fitted))
	return &both
}

// asGiven returns a pruning of the result that counts the source's blobs in place of the result's, as all other numbers do.
func (j *job) asGiven(fitted Pruning) Pruning {
	blobs := j.plan.blobs()
	fitted.Kept.Blobs, fitted.Kept.Bytes = 0, 0
	for from, layer := range j.cache.Root.LayersByDigest() {
		to := from
		if blob, ok := blobs[from]; ok {
			to = blob.Digest
		}
		if fitted.blobs[to] {
			fitted.Kept.Blobs++
			fitted.Kept.Bytes += layer.Size
		}
	}
	fitted.Freed = slices.Clone(fitted.Freed)
	for i := range fitted.Freed {
		if f := &fitted.Freed[i]; f.Rule == buildcache.PruneFit {
			f.Blobs, f.Bytes = j.pruning.Kept.Blobs-fitted.Kept.Blobs, j.pruning.Kept.Bytes-fitted.Kept.Bytes
		}
	}
	return fitted
}

// noteWas notes what was replaced in another place or under another tag, or whether nothing had to be. written says that root or
// config was written.
func (r *Result) noteWas(j *job, written bool) {
	switch {
	case j.inPlace && j.tag == j.cache.Entry.Tag:
	case j.was != r.To.Digest:
		r.Was = j.was
	default:
		r.Skipped = r.Moved == 0 && !written
	}
}

func describe(cache *layout.Cache) Root {
	root := Root{
		Digest: cache.Entry.Descriptor.Digest, Form: cache.Root.Form, MediaType: cache.Root.MediaType,
		Config: cache.Root.Config.Digest, Size: cache.Entry.Descriptor.Size,
	}
	for _, layer := range cache.Root.LayersByDigest() {
		root.LayersBytes += layer.Size
	}
	return root
}

func (r *Result) note(cache *layout.Cache, o Options) {
	if problems := errorsOf(cache); len(problems) > 0 && o.copies() {
		r.NotInFull = "copied as it is, but BuildKit will not import it in full: " + (&ProofError{Problems: problems}).list()
		r.Notes = append(r.Notes, r.NotInFull)
	}
	for _, limit := range buildcache.Limits(cache.Root, cache.Config) {
		r.Notes = append(r.Notes, limit.String())
	}
	kept := slices.ContainsFunc(r.Layers, func(l LayerResult) bool { return l.Action == Keep && l.ToCompression == o.Compression })
	if o.Level != 0 && !o.Force && kept {
		r.Notes = append(r.Notes, fmt.Sprintf("layers that are already %s keep their level; to recompress them, use --force-compression", o.Compression))
	}
	if most := o.Prune.MaxBytes; r.Pruned != nil && most > 0 && r.To.LayersBytes > most {
		r.Pruned.Exceeds = r.To.LayersBytes
	}
	if r.From.Digest != r.To.Digest {
		r.Notes = append(r.Notes, noteDigest)
	}
}

// noteDigest says what a changed root means for whoever imports by digest.
const noteDigest = "imports with digest= must use the new digest"
