package explain

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/explain/contenthash"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// Layers reads the layers of a cache when the files of a result are asked for.
// Each is read once, several in parallel. It is not safe for concurrent use.
type Layers struct {
	source  layout.Source
	cache   *layout.Cache
	options LayersOptions

	decoder *compress.Decoder
	blobs   map[digest.Digest]buildcache.Descriptor
	read    map[digest.Digest]readLayer
	trees   map[int]*contenthash.Tree // by layer: its files and those of all layers under it
	gone    map[int]digest.Digest     // by layer: a missing blob of it or a layer under it, "" for none
	there   map[digest.Digest]bool
}

type readLayer struct {
	layer *contenthash.Layer
	err   error
}

// LayersOptions say how layers are read. The zero value is usable.
type LayersOptions struct {
	Jobs    int // layers at once; 0 means one for each processor
	OnEvent layout.Handler
}

func (o LayersOptions) jobs() int {
	if o.Jobs > 0 {
		return o.Jobs
	}
	return runtime.GOMAXPROCS(0)
}

// NewLayers returns the layers of a cache.
func NewLayers(source layout.Source, cache *layout.Cache, o LayersOptions) *Layers {
	l := &Layers{
		source: source, cache: cache, options: o, decoder: compress.NewDecoder(),
		blobs: map[digest.Digest]buildcache.Descriptor{}, read: map[digest.Digest]readLayer{},
		trees: map[int]*contenthash.Tree{}, gone: map[int]digest.Digest{}, there: map[digest.Digest]bool{},
	}
	for _, blob := range cache.Root.Layers {
		l.blobs[blob.Digest] = blob
	}
	return l
}

// missing returns the digest of a result's layer whose blob does not exist, or "".
func (l *Layers) missing(ctx context.Context, r result) (digest.Digest, error) {
	layers := r.list
	if layers == nil {
		layers = upwards(l.cache.Config.Layers, r.top, func(at int) bool { _, ok := l.gone[at]; return ok })
	}
	gone := digest.Digest("")
	if r.list == nil && len(layers) > 0 {
		gone = l.gone[l.cache.Config.Layers[layers[0]].Parent]
	}
	for _, at := range layers {
		blob := l.cache.Config.Layers[at].Blob
		there, err := l.isThere(ctx, blob)
		if err != nil {
			return "", err
		}
		if !there && gone == "" {
			gone = blob
		}
		if r.list == nil {
			l.gone[at] = gone
		}
	}
	if r.list == nil {
		gone = l.gone[r.top]
	}
	return gone, nil
}

func (l *Layers) isThere(ctx context.Context, blob digest.Digest) (bool, error) {
	if there, known := l.there[blob]; known {
		return there, nil
	}
	there, err := l.has(ctx, blob)
	if err == nil {
		l.there[blob] = there
	}
	return there, err
}

func (l *Layers) has(ctx context.Context, blob digest.Digest) (bool, error) {
	descriptor, ok := l.blobs[blob]
	if !ok {
		return false, nil
	}
	return l.source.Has(ctx, descriptor)
}

// files returns the files of a result.
func (l *Layers) files(ctx context.Context, r result) (*contenthash.Tree, error) {
	if r.list != nil {
		return l.over(ctx, contenthash.Scratch(), r.list)
	}
	if r.top == buildcache.NoParent {
		return contenthash.Scratch(), nil
	}
	layers, missing := l.cache.Config.Layers, l.missingTrees(r)
	if err := l.readAll(ctx, missing); err != nil {
		return nil, err
	}
	for _, at := range missing {
		tree := contenthash.Scratch()
		if parent := layers[at].Parent; parent >= 0 {
			tree = l.trees[parent]
		}
		tree, err := l.over(ctx, tree, []int{at})
		if err != nil {
			return nil, err
		}
		l.trees[at] = tree
	}
	return l.trees[r.top], nil
}

// over returns a tree with some layers applied to it.
func (l *Layers) over(ctx context.Context, tree *contenthash.Tree, layers []int) (*contenthash.Tree, error) {
	if err := l.readAll(ctx, layers); err != nil {
		return nil, err
	}
	for _, at := range layers {
		layer, err := l.layer(l.cache.Config.Layers[at].Blob)
		if err != nil {
			return nil, err
		}
		tree = tree.With(layer)
	}
	return tree, nil
}

// missingTrees returns the layers of a result whose trees are still to be made, lowest first.
func (l *Layers) missingTrees(r result) []int {
	if r.list != nil || r.top == buildcache.NoParent {
		return r.list
	}
	return upwards(l.cache.Config.Layers, r.top, func(at int) bool { return l.trees[at] != nil })
}

// layer returns a layer that readAll has read, or why it could not be read.
func (l *Layers) layer(blob digest.Digest) (*contenthash.Layer, error) {
	known := l.read[blob]
	return known.layer, known.err
}

// readAll reads the layers that were not read yet, in parallel. It fails only if it is stopped: what is wrong with a layer is returned
// when that layer is asked for.
func (l *Layers) readAll(ctx context.Context, layers []int) error {
	var blobs []digest.Digest
	plan := layout.Event{Kind: layout.EventPlan, Verb: "hash"}
	for _, at := range layers {
		blob := l.cache.Config.Layers[at].Blob
		if _, known := l.read[blob]; known || slices.Contains(blobs, blob) {
			continue
		}
		blobs = append(blobs, blob)
		if descriptor, ok := l.blobs[blob]; ok {
			plan.Count++
			plan.Total += descriptor.Size
		}
	}
	if plan.Count > 0 {
		l.options.OnEvent.Send(plan)
	}
	found := make([]readLayer, len(blobs))
	group, ctx := parallel.New(ctx, l.options.jobs())
	for i, blob := range blobs {
		group.Go(func() error {
			layer, err := l.readBlob(ctx, blob)
			if err != nil && ctx.Err() != nil {
				return err
			}
			found[i] = readLayer{layer, err}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, blob := range blobs {
		l.read[blob] = found[i]
	}
	return nil
}

// unread says which layers could not be read, in the order of their digests.
func (l *Layers) unread() []string {
	var all []string
	for _, known := range l.read {
		if known.err != nil {
			all = append(all, known.err.Error())
		}
	}
	slices.Sort(all)
	return all
}

func (l *Layers) readBlob(ctx context.Context, blob digest.Digest) (*contenthash.Layer, error) {
	descriptor, ok := l.blobs[blob]
	if !ok {
		return nil, &layout.BlobError{Digest: blob, Place: l.source.String(), Err: layout.ErrBlobMissing}
	}
	var layer *contenthash.Layer
	err := l.options.OnEvent.Track("hash", blob, descriptor.Size, func(done func(int64)) error {
		open := layout.Counted(ctx, func() (io.ReadCloser, error) { return layout.OpenVerified(ctx, l.source, descriptor) }, done)
		raw, err := open()
		if err != nil {
			return err
		}
		defer raw.Close() //nolint:errcheck // only read
		layer, err = l.decode(ctx, raw)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("hash layer %s: %w", blob, err)
	}
	if descriptor.Annotations[buildcache.AnnotationTOCDigest] != "" {
		layer = layer.Without(estargzFiles)
	}
	return layer, nil
}

// estargzFiles are the files that an estargz layer has in addition to those of the step.
var estargzFiles = []string{"/stargz.index.json", "/.prefetch.landmark", "/.no.prefetch.landmark"}

func (l *Layers) decode(ctx context.Context, raw io.Reader) (*contenthash.Layer, error) {
	buffered := bufio.NewReaderSize(raw, 1<<16)
	head, err := buffered.Peek(compress.HeadSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(head) == 0 {
		return contenthash.ReadLayer(buffered)
	}
	unpacked, err := l.decoder.Decode(ctx, buffered, compress.DetectHead(head))
	if err != nil {
		return nil, err
	}
	defer unpacked.Close() //nolint:errcheck // only read
	return contenthash.ReadLayer(unpacked)
}
