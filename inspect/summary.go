package inspect

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// Summary is what is in one cache. Sizes are in bytes. Times are in UTC, and absent if the cache does not say them.
type Summary struct {
	Tag       string          `json:"tag,omitempty"`
	Digest    digest.Digest   `json:"digest"`
	Size      int64           `json:"size"`
	Form      buildcache.Form `json:"form"`
	MediaType string          `json:"mediaType"` // as the root states it
	Config    Blob            `json:"config"`
	Layers    []Layer         `json:"layers"` // in the config's order; then those that only the root names
	Records   int             `json:"records"`
	Results   int             `json:"results"`
	Oldest    *time.Time      `json:"oldest,omitempty"` // of the results
	Newest    *time.Time      `json:"newest,omitempty"`
	Totals    Totals          `json:"totals"`
	// Limits say which BuildKits can't use the cache, and why.
	Limits []string `json:"limits,omitempty"`
	// OverLimit says that root or config is larger than BuildKit imports.
	OverLimit bool `json:"overLimit"`
}

// Blob is a blob of a cache that is not a layer.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// Layer is one layer on top of its parent.
type Layer struct {
	Index       int                    `json:"index"`  // in the config's layers, or -1 if the config does not name it
	Parent      int                    `json:"parent"` // index, or -1
	Digest      digest.Digest          `json:"digest"`
	MediaType   string                 `json:"mediaType,omitempty"`
	Compression buildcache.Compression `json:"compression,omitempty"` // by its bytes; "" if they are not there
	Size        int64                  `json:"size"`
	// ActualSize is the size of the blob that is there, if the place is near and the size differs.
	ActualSize *int64        `json:"actualSize,omitempty"`
	DiffID     digest.Digest `json:"diffID,omitempty"`
	CreatedAt  *time.Time    `json:"createdAt,omitempty"`
	Results    int           `json:"results"`            // how many results end in this layer
	Missing    bool          `json:"missing"`            // the blob is not there
	Unlisted   bool          `json:"unlisted,omitempty"` // the root does not name it
}

// Totals add up the layers.
type Totals struct {
	Layers        int                              `json:"layers"` // positions: a layer counts once for each
	Blobs         int                              `json:"blobs"`  // distinct ones
	Duplicates    int                              `json:"duplicates"`
	Bytes         int64                            `json:"bytes"` // of the distinct blobs
	ByCompression map[buildcache.Compression]int64 `json:"byCompression"`
	Missing       int                              `json:"missing"`
	Damaged       int                              `json:"damaged"` // blobs whose size is not what the root says
}

// Detailed is a summary together with the config that it summarizes.
type Detailed struct {
	*Summary
	Config *buildcache.Config
	// Names are those of the config's records, or empty if they are not known. Pages and graphs show them.
	Names []RecordName
	// Warnings are about the names.
	Warnings []string
}

// As returns the summary under another tag of the same root. Both share their lists.
func (s *Summary) As(tag string) *Summary {
	other := *s
	other.Tag = tag
	return &other
}

// Summarize reads root and config of a cache and looks at the first and last bytes of its layers. A cache whose root or
// config can't be read is an error; missing layers are part of the answer.
func Summarize(ctx context.Context, src layout.Source, entry layout.Entry) (*Summary, error) {
	d, err := Detail(ctx, src, entry)
	return d.Summary, err
}

// Detail is Summarize, but also returns the config that was read.
func Detail(ctx context.Context, src layout.Source, entry layout.Entry) (Detailed, error) {
	cache, err := layout.Load(ctx, src, entry)
	if err != nil {
		return Detailed{}, err
	}
	return DetailOf(ctx, src, cache)
}

// DetailOf is Detail for a cache that was already read.
func DetailOf(ctx context.Context, src layout.Source, cache *layout.Cache) (Detailed, error) {
	s := &Summary{
		Tag: cache.Entry.Tag, Digest: cache.Entry.Descriptor.Digest, Size: int64(len(cache.RawRoot)),
		Form: cache.Root.Form, MediaType: cache.Root.MediaType,
		Config:  Blob{cache.Root.Config.Digest, cache.Root.Config.Size},
		Records: len(cache.Config.Records), Layers: []Layer{},
	}
	s.OverLimit = s.Size > buildcache.MaxImport || s.Config.Size > buildcache.MaxImport
	for _, limit := range buildcache.Limits(cache.Root, cache.Config) {
		s.Limits = append(s.Limits, limit.String())
	}
	if err := s.addLayers(ctx, src, cache); err != nil {
		return Detailed{}, err
	}
	s.addResults(cache.Config)
	return Detailed{Summary: s, Config: cache.Config}, nil
}

func (s *Summary) addLayers(ctx context.Context, src layout.Source, cache *layout.Cache) error {
	listed := cache.Root.LayersByDigest()
	named := map[digest.Digest]bool{}
	for i, place := range cache.Config.Layers {
		named[place.Blob] = true
		layer := Layer{Index: i, Parent: place.Parent, Digest: place.Blob}
		d, ok := listed[place.Blob]
		layer.Unlisted = !ok
		layer.describe(d)
		s.Layers = append(s.Layers, layer)
	}
	for _, d := range cache.Root.Layers {
		if named[d.Digest] {
			continue
		}
		named[d.Digest] = true
		layer := Layer{Index: -1, Parent: buildcache.NoParent, Digest: d.Digest}
		layer.describe(d)
		s.Layers = append(s.Layers, layer)
	}
	s.Totals.ByCompression = map[buildcache.Compression]int64{}
	return s.lookAtBlobs(ctx, src)
}

func (l *Layer) describe(d buildcache.Descriptor) {
	l.MediaType, l.Size, l.DiffID = d.MediaType, d.Size, d.DiffID()
	if t, err := d.CreatedAt(); err == nil {
		l.CreatedAt = known(t)
	}
}

// look is what looking at a blob found out.
type look struct {
	compression buildcache.Compression
	size        int64 // less than 0 if it is not known
	missing     bool
}

// looksAtOnce is how many blobs are looked at concurrently.
const looksAtOnce = 8

// lookAtBlobs finds out how each blob is compressed, looking once, and adds the blobs up.
func (s *Summary) lookAtBlobs(ctx context.Context, src layout.Source) error {
	looks := map[digest.Digest]*look{}
	group, ctx := parallel.New(ctx, looksAtOnce)
	for _, layer := range s.Layers {
		if looks[layer.Digest] != nil {
			continue
		}
		l := &look{}
		looks[layer.Digest] = l
		s.Totals.Bytes += layer.Size
		group.Go(func() error {
			encoding, bytes, err := detectSized(ctx, src, buildcache.Descriptor{Digest: layer.Digest, Size: layer.Size})
			l.compression, l.size, l.missing = encoding.Compression, bytes, errors.Is(err, layout.ErrBlobMissing)
			if l.missing {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	counted := map[digest.Digest]bool{}
	for i := range s.Layers {
		layer := &s.Layers[i]
		l := looks[layer.Digest]
		layer.Compression, layer.Missing = l.compression, l.missing
		if l.size >= 0 && l.size != layer.Size && !l.missing && !layer.Unlisted {
			layer.ActualSize = &l.size
			if l.size == 0 {
				layer.Compression = "" // no bytes to tell it by
			}
		}
		if !counted[layer.Digest] {
			s.Totals.count(layer)
		}
		counted[layer.Digest] = true
	}
	s.Totals.Layers, s.Totals.Blobs = len(s.Layers), len(looks)
	s.Totals.Duplicates = s.Totals.Layers - s.Totals.Blobs
	return nil
}

func (t *Totals) count(l *Layer) {
	switch {
	case l.Missing:
		t.Missing++
	case l.ActualSize != nil:
		t.Damaged++
	default:
		t.ByCompression[l.Compression] += l.Size
	}
}

// detectSized is detect, but also returns the blob's size, or -1 if the place is not near.
func detectSized(ctx context.Context, src layout.Source, blob buildcache.Descriptor) (encoding compress.Encoding, size int64, err error) {
	files, near := src.(layout.RandomAccess)
	if !near {
		encoding, err = detect(ctx, src, blob)
		return encoding, -1, err
	}
	file, err := files.OpenAt(ctx, blob)
	if err != nil {
		return encoding, -1, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if encoding, err = compress.Detect(file, file.Size()); err != nil {
		err = &layout.BlobError{Digest: blob.Digest, Place: src.String(), Err: err}
	}
	return encoding, file.Size(), err
}

// detect returns how a blob is compressed, whatever its size should be. Without random access, estargz looks like gzip.
func detect(ctx context.Context, src layout.Source, blob buildcache.Descriptor) (encoding compress.Encoding, err error) {
	if _, near := src.(layout.RandomAccess); near {
		encoding, _, err = detectSized(ctx, src, blob)
		return encoding, err
	}
	r, err := src.Open(ctx, blob)
	if err != nil {
		return encoding, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if encoding.Compression, err = compress.DetectStream(r); err != nil {
		err = &layout.BlobError{Digest: blob.Digest, Place: src.String(), Err: err}
	}
	return encoding, err
}

func (s *Summary) addResults(config *buildcache.Config) {
	add := func(top int, at time.Time) {
		s.Results++
		if top >= 0 && top < len(config.Layers) {
			s.Layers[top].Results++
		}
		if t := known(at); t != nil {
			if s.Oldest == nil || t.Before(*s.Oldest) {
				s.Oldest = t
			}
			if s.Newest == nil || t.After(*s.Newest) {
				s.Newest = t
			}
		}
	}
	for _, record := range config.Records {
		for _, result := range record.Results {
			add(result.Layer, result.CreatedAt.Time)
		}
		for _, chain := range record.Chains {
			top := -1
			if len(chain.Layers) > 0 {
				top = chain.Layers[len(chain.Layers)-1]
			}
			add(top, chain.CreatedAt.Time)
		}
	}
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
