package convert

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// Result says what a conversion did, or would do. Sizes are in bytes.
type Result struct {
	Tag       string        `json:"tag,omitempty"`
	From      Root          `json:"from"`
	To        Root          `json:"to"`
	Unchanged bool          `json:"unchanged"` // the source was what was asked for already
	DryRun    bool          `json:"dryRun,omitempty"`
	Layers    []LayerResult `json:"layers"`
	layout.Effort
	// Notes say what the result can't do: which BuildKits can't use it, what breaks.
	Notes []string `json:"notes,omitempty"`
}

// Root describes one side of a conversion. After a dry run the new digests are unknown where layers are recompressed.
type Root struct {
	Digest      digest.Digest   `json:"digest,omitempty"`
	Form        buildcache.Form `json:"form"`
	MediaType   string          `json:"mediaType"`
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
	r := &Result{Tag: j.tag, Unchanged: !j.plan.changed(j.cache.Root), Layers: []LayerResult{}}
	r.From = describe(j.cache)
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
		r.Moved += s.moved
		if s.moved == 0 && !j.inPlace && layer.To != "" && s.action != Recompress {
			r.Saved += layer.ToSize
		}
		if s.distrusted {
			distrusted++
		}
	}
	if distrusted > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("the destination holds %d blobs that are not the layers they are said to be; "+
			"these layers were made anew ('ocicache verify --deep' finds the caches that use them)", distrusted))
	}
	return r
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
		r.Notes = append(r.Notes, "copied as it is, and BuildKit will not import it in full: "+(&ProofError{Problems: problems}).list())
	}
	for _, limit := range buildcache.Limits(cache.Root, cache.Config) {
		r.Notes = append(r.Notes, limit.String())
	}
	if r.From.Digest != r.To.Digest {
		r.Notes = append(r.Notes, "imports by digest= must name the new digest")
	}
}
