package buildcache

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrNoInline marks an image that carries no inline cache, or one without any result.
var ErrNoInline = errors.New("no inline cache in it")

// LayerCountError says that an image's config does not have as many diffIDs as its manifest has layers. BuildKit skips the
// inline cache of such an image, with only a warning in the daemon's log.
type LayerCountError struct{ Layers, DiffIDs int }

func (e *LayerCountError) Error() string {
	return fmt.Sprintf("its manifest and its config differ in the number of layers (%d and %d); BuildKit passes over the inline cache of such an image",
		e.Layers, e.DiffIDs)
}

// InlineError says that an inline cache is damaged: BuildKit rejects it, or could not use the cache made from it.
type InlineError struct {
	Image    digest.Digest // the manifest
	Problems []Problem     // errors only; each Where is that in a cache of this image alone
	Err      error         // if there are no problems: why the inline cache can't be read
}

func (e *InlineError) Error() string {
	text := fmt.Sprintf("the inline cache of the image %s is damaged: ", e.Image)
	if len(e.Problems) == 0 {
		return text + e.Err.Error()
	}
	return text + summarize(e.Problems)
}

// Unwrap returns the cause, or nil if problems are the cause.
func (e *InlineError) Unwrap() error { return e.Err }

// Image is what an image's manifest and config say about its layers and its inline cache.
type Image struct {
	Digest   digest.Digest // of the manifest
	Config   Descriptor
	Layers   []Descriptor // lowest first
	Platform string       // such as linux/arm64/v8, "" if the config names none; ReadConfig sets it and all fields below
	DiffIDs  []digest.Digest
	Ages     []time.Time // when the layers were created; nil unless the history has one entry for each
	inline   []byte      // JSON; nil if there is none
}

// ParseImage reads the manifest of an image. It fails if BuildKit's importer could not read it, with ErrNoInline if it is a
// list or has no config or no layers, with a *SizeError above MaxRoot, and with a *ValuesError if it has too many values.
func ParseImage(raw []byte) (*Image, error) {
	if len(raw) > MaxRoot {
		return nil, &SizeError{What: "manifest", Size: int64(len(raw)), Limit: MaxRoot}
	}
	if err := checkValues("manifest", raw, maxRootValues); err != nil {
		return nil, err
	}
	mediaType, err := DetectMediaType(raw)
	if err != nil {
		return nil, err
	}
	if mediaType != MediaTypeDockerManifest && mediaType != MediaTypeOCIManifest {
		return nil, ErrNoInline
	}
	// BuildKit reads into this type, so what does not fit it is refused here as well.
	if err := json.Unmarshal(raw, new(ocispec.Manifest)); err != nil {
		return nil, err
	}
	image := &Image{Digest: digest.FromBytes(raw)}
	var rest Extra
	err = decodeObject(raw, &rest, field{"config", &image.Config, false}, field{"layers", &image.Layers, false})
	if err != nil {
		return nil, err
	}
	if image.Config.Digest == "" || len(image.Layers) == 0 {
		return nil, ErrNoInline
	}
	return image, nil
}

// imageConfig is what BuildKit's importer reads from an image's config.
type imageConfig struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
	RootFS       struct {
		DiffIDs []digest.Digest `json:"diff_ids"`
	} `json:"rootfs"`
	Inline  []byte `json:"moby.buildkit.cache.v0"`
	History []struct {
		Created    *time.Time `json:"created"`
		EmptyLayer bool       `json:"empty_layer"`
	} `json:"history"`
}

// ReadConfig adds what the image's config says. It fails with an *InlineError if BuildKit's importer could not read it, and
// with a *SizeError above MaxConfig.
func (m *Image) ReadConfig(raw []byte) error {
	if len(raw) > MaxConfig {
		return &SizeError{What: "image config", Size: int64(len(raw)), Limit: MaxConfig}
	}
	var config imageConfig
	if err := json.Unmarshal(raw, &config); err != nil {
		return &InlineError{Image: m.Digest, Err: fmt.Errorf("read image config: %w", err)}
	}
	parts := []string{config.OS, config.Architecture, config.Variant}
	m.Platform = strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), "/")
	m.DiffIDs, m.inline = config.RootFS.DiffIDs, config.Inline
	var ages []time.Time
	for _, entry := range config.History {
		switch {
		case entry.EmptyLayer:
		case entry.Created == nil:
			ages = append(ages, time.Time{})
		default:
			ages = append(ages, *entry.Created)
		}
	}
	// With more or fewer entries than layers nobody can tell which belongs to which.
	if m.Ages = nil; len(ages) == len(m.Layers) {
		m.Ages = ages
	}
	return nil
}

// Inline reads the inline cache of the image alone, after ReadConfig. It fails with ErrNoInline, with a *LayerCountError if
// BuildKit would skip it, and with an *InlineError if it is damaged or needs a layer that can't be used.
func (m *Image) Inline() (*Inline, error) {
	if m.inline == nil {
		return nil, ErrNoInline
	}
	if len(m.DiffIDs) != len(m.Layers) {
		return nil, &LayerCountError{Layers: len(m.Layers), DiffIDs: len(m.DiffIDs)}
	}
	inline := &Inline{Image: m}
	if err := json.Unmarshal(m.inline, &inline.records); err != nil {
		return nil, &InlineError{Image: m.Digest, Err: fmt.Errorf("read records: %w", err)}
	}
	needed := 0
	for _, record := range inline.records {
		needed = max(needed, m.neededBy(record))
		if !record.isRandom() {
			inline.Results += len(record.Results) + len(record.Chains)
		}
	}
	if inline.Results == 0 {
		return nil, ErrNoInline
	}
	for i, layer := range m.Layers[:needed] {
		inline.layers = append(inline.layers, m.describe(layer, i))
	}
	if err := inline.check(); err != nil {
		return nil, err
	}
	return inline, nil
}

// neededBy returns how many of the image's layers a record needs, counted from the lowest. Validate reports the layers beyond
// them.
func (m *Image) neededBy(record Record) int {
	needed := 0
	need := func(layer int) {
		if layer < len(m.Layers) {
			needed = max(needed, layer+1)
		}
	}
	for _, result := range record.Results {
		need(result.Layer)
	}
	for _, chain := range record.Chains {
		for _, layer := range chain.Layers {
			need(layer)
		}
	}
	return needed
}

// describe returns a layer's descriptor as a cache has it. It leaves out what an image may say beyond that.
func (m *Image) describe(layer Descriptor, i int) Descriptor {
	d := Descriptor{
		MediaType: layerTypeIn(Artifact, layer.MediaType), Digest: layer.Digest, Size: layer.Size,
		URLs: slices.Clone(layer.URLs), Annotations: maps.Clone(layer.Annotations),
	}
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	if _, err := d.CreatedAt(); err != nil {
		delete(d.Annotations, AnnotationCreatedAt) // BuildKit can do without it, but fails on this one
	}
	if m.Ages != nil && !m.Ages[i].IsZero() {
		d.Annotations[AnnotationCreatedAt] = m.Ages[i].Format(time.RFC3339Nano)
	}
	d.Annotations[AnnotationDiffID] = m.DiffIDs[i].String()
	return d
}

// Inline is the inline cache of one image. It is sound: every index in it is valid.
type Inline struct {
	Image   *Image
	Results int // of records that something can hit; more than 0

	layers  []Descriptor // of the image, from the lowest to the highest that a result needs, as a cache describes them
	records []Record     // their layer indexes are the image's
}

// Layers returns how many layers of the image the cache needs, counted from the lowest.
func (n *Inline) Layers() int { return len(n.layers) }

// Records returns how many records there are.
func (n *Inline) Records() int { return len(n.records) }

// check checks, against the importer's rules, the cache that BuildKit makes from this inline cache alone, with each layer on
// the one before. Among the layers and records of other images, an index that is too large would point to something.
func (n *Inline) check() error {
	alone := &union{layers: n.layers, config: Config{Records: n.records}}
	for i, layer := range n.layers {
		alone.config.Layers = append(alone.config.Layers, Layer{Blob: layer.Digest, Parent: i - 1})
	}
	root, config, err := alone.cache()
	if err != nil {
		return err
	}
	problems := slices.DeleteFunc(Validate(root, 0, config), func(p Problem) bool {
		return p.Severity != SeverityError || p.Kind == ConfigTooLarge // as an inline cache it may have any size
	})
	if len(problems) > 0 {
		return &InlineError{Image: n.Image.Digest, Problems: problems}
	}
	return nil
}

// Unite makes one cache, in the form Artifact, out of the inline caches of images, mostly those of one image for its platforms.
// With it, BuildKit hits what it would hit with each of them. The same inline caches in the same order give the same bytes. The
// root's Config already points to the bytes of the config's MarshalJSON.
//
// It fails with an *InlineError if two images describe one layer differently. Validate tells whether the cache is small enough
// to be imported.
func Unite(inlines []*Inline) (*Root, *Config, error) {
	u := &union{places: map[place]int{}, listed: map[digest.Digest]Descriptor{}}
	for _, inline := range inlines {
		if err := u.add(inline); err != nil {
			return nil, nil, err
		}
	}
	return u.cache()
}

// place is a layer on its parent. Images that begin with the same layers share them.
type place struct {
	blob   digest.Digest
	parent int
}

// union is a cache to which inline caches are added.
type union struct {
	config Config
	layers []Descriptor // of the root, one for each layer of the config, as BuildKit lists them
	places map[place]int
	listed map[digest.Digest]Descriptor // the one descriptor that every layer with this blob has
}

func (u *union) add(inline *Inline) error {
	at := make([]int, len(inline.layers)) // where the image's layers are in the config
	parent := NoParent
	for i, layer := range inline.layers {
		index, err := u.place(layer, parent)
		if err != nil {
			return &InlineError{Image: inline.Image.Digest, Err: err}
		}
		at[i], parent = index, index
	}
	base := len(u.config.Records)
	for _, record := range inline.records {
		u.config.Records = append(u.config.Records, record.moved(at, base))
	}
	return nil
}

// place returns the index of a layer on a parent, and adds it if it is new.
func (u *union) place(layer Descriptor, parent int) (int, error) {
	first, ok := u.listed[layer.Digest]
	if !ok {
		u.listed[layer.Digest], first = layer, layer
	}
	if first.Size != layer.Size || first.MediaType != layer.MediaType || first.DiffID() != layer.DiffID() {
		return 0, fmt.Errorf("the layer %s is described in two ways: %s of %d bytes with diffID %s, and %s of %d bytes with diffID %s",
			layer.Digest, first.MediaType, first.Size, first.DiffID(), layer.MediaType, layer.Size, layer.DiffID())
	}
	key := place{layer.Digest, parent}
	index, ok := u.places[key]
	if !ok {
		index = len(u.config.Layers)
		u.places[key] = index
		u.config.Layers = append(u.config.Layers, Layer{Blob: layer.Digest, Parent: parent})
		u.layers = append(u.layers, first)
	}
	return index, nil
}

// moved returns a copy of the record for a config in which layer i is at[i], and record i is base+i.
func (r Record) moved(at []int, base int) Record {
	r.Results = slices.Clone(r.Results)
	for i := range r.Results {
		r.Results[i].Layer = at[r.Results[i].Layer]
	}
	r.Chains = slices.Clone(r.Chains)
	for i := range r.Chains {
		r.Chains[i].Layers = slices.Clone(r.Chains[i].Layers)
		for j, layer := range r.Chains[i].Layers {
			r.Chains[i].Layers[j] = at[layer]
		}
	}
	r.Inputs = slices.Clone(r.Inputs)
	for i := range r.Inputs {
		r.Inputs[i] = slices.Clone(r.Inputs[i])
		for j := range r.Inputs[i] {
			r.Inputs[i][j].Link += base
		}
	}
	return r
}

// cache returns what was added as root and config.
func (u *union) cache() (*Root, *Config, error) {
	raw, err := json.Marshal(&u.config)
	if err != nil {
		return nil, nil, fmt.Errorf("write cache config: %w", err)
	}
	root := &Root{Form: Artifact, MediaType: MediaTypeOCIManifest, Layers: u.layers, version: 2}
	root.Config.MediaType = MediaTypeConfig
	root.SetConfig(raw)
	return root, &u.config, nil
}
