package convert

import (
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
	Moved     int64         `json:"moved"` // bytes of layers that were written to the destination
	// Notes say what the result can't do: which BuildKits can't use it, what breaks.
	Notes []string `json:"notes,omitempty"`
}

// Root describes one side of a conversion. After a dry run the new digests are unknown where layers are recompressed.
type Root struct {
	Digest      digest.Digest   `json:"digest,omitempty"`
	Form        buildcache.Form `json:"form"`
	MediaType   string          `json:"mediaType"`
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

func newResult(cache *layout.Cache, plan *Plan) *Result {
	r := &Result{Tag: cache.Tag, Unchanged: !plan.Changed(cache.Manifest)}
	r.From = describe(cache)
	r.To = Root{Form: plan.Form, MediaType: plan.Form.MediaType()}
	for _, step := range plan.Steps {
		layer := LayerResult{
			Action: step.Action, From: step.From.Digest, FromSize: step.From.Size, DiffID: step.From.DiffID(),
			FromCompression: step.Packing.Compression, ToCompression: step.Packing.Compression,
		}
		switch {
		case step.To != nil:
			layer.To, layer.ToSize, layer.DiffID = step.To.Digest, step.To.Size, step.To.DiffID
			layer.ToCompression = step.To.Compression
		case step.Action == Recompress:
			layer.ToCompression = plan.Compression
		case step.Action == Keep:
			layer.To, layer.ToSize = layer.From, layer.FromSize
		}
		r.Layers = append(r.Layers, layer)
		r.Moved += step.Moved
	}
	return r
}

func describe(cache *layout.Cache) Root {
	root := Root{
		Digest: cache.Entry.Root.Digest, Form: cache.Manifest.Form, MediaType: cache.Manifest.MediaType,
		Config: cache.Manifest.Config.Digest,
	}
	for _, layer := range cache.Manifest.LayersByDigest() {
		root.LayersBytes += layer.Size
	}
	return root
}

func (r *Result) note(cache *layout.Cache, o Options) {
	if problems := errorsOf(cache); len(problems) > 0 && o.copies() {
		r.Notes = append(r.Notes, "copied as it is, and BuildKit will not import it in full: "+(&ProofError{Problems: problems}).list())
	}
	for _, limit := range buildcache.Limits(cache.Manifest, cache.Config) {
		r.Notes = append(r.Notes, limit.String())
	}
	if r.From.Digest != r.To.Digest {
		r.Notes = append(r.Notes, "imports by digest= must name the new digest")
	}
}
