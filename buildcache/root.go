package buildcache

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Reading limits, in bytes.
const (
	// MaxRoot is the largest root that is read; no registry accepts a larger one.
	MaxRoot = 4 << 20
	// MaxConfig is the largest cache config that is read.
	MaxConfig = 16 << 20
	// MaxImport is the largest root, and the largest config, that any BuildKit so far imports. Larger ones are exported without
	// a warning and never hit.
	MaxImport = 1 << 20
)

// maxRootValues is the most JSON values that a root or an index.json may have; see checkValues. BuildKit's descriptors have
// six, in 200 bytes or more.
const maxRootValues = 1 << 17

// Errors of ParseRoot. For the first two, BuildKit's importer rejects the cache as well.
var (
	ErrAmbiguousRoot = errors.New("both a manifest and a list of manifests")
	ErrMediaType     = errors.New("mediaType does not match the content")
	// ErrNotCache marks a manifest without a cache config: an image, an index of images, or another artifact.
	ErrNotCache = errors.New("no cache config in it")
)

// Root is the manifest of a cache, in any form.
type Root struct {
	Form      Form
	MediaType string       // as the root states it, "" if it states none
	Config    Descriptor   // the cache config; in a list the last one, as in BuildKit
	Layers    []Descriptor // in order, with the duplicates that BuildKit writes on purpose
	Ignored   []Descriptor // the earlier configs of a list, which no importer reads
	Extra     Extra
	version   int
}

// DetectMediaType tells a manifest from a list of manifests by content, as BuildKit's importer does: the members decide, and a
// known mediaType must agree with them. Without a known one it returns Docker's media type.
func DetectMediaType(raw []byte) (string, error) {
	var keys struct {
		MediaType *string         `json:"mediaType"`
		Config    json.RawMessage `json:"config"`
		Manifests json.RawMessage `json:"manifests"`
		Layers    json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(raw, &keys); err != nil {
		return "", err
	}
	manifest := keys.Config != nil || keys.Layers != nil
	if manifest && keys.Manifests != nil {
		return "", ErrAmbiguousRoot
	}
	inferred := MediaTypeDockerList
	if manifest {
		inferred = MediaTypeDockerManifest
	}
	if keys.MediaType == nil {
		return inferred, nil
	}
	switch *keys.MediaType {
	case MediaTypeDockerList, MediaTypeOCIIndex:
		if manifest {
			return "", fmt.Errorf("%w: %s", ErrMediaType, *keys.MediaType)
		}
	case MediaTypeDockerManifest, MediaTypeOCIManifest:
		if !manifest {
			return "", fmt.Errorf("%w: %s", ErrMediaType, *keys.MediaType)
		}
	default:
		return inferred, nil
	}
	return *keys.MediaType, nil
}

// ParseRoot reads the root of a cache. It fails if BuildKit's importer would reject the bytes, with ErrNotCache if they are
// well-formed but not a cache, with a *SizeError above MaxRoot, and with a *ValuesError if they have too many values.
func ParseRoot(raw []byte) (*Root, error) {
	if len(raw) > MaxRoot {
		return nil, &SizeError{What: "root", Size: int64(len(raw)), Limit: MaxRoot}
	}
	if err := checkValues("root", raw, maxRootValues); err != nil {
		return nil, err
	}
	root, err := decodeRoot(raw)
	if err != nil {
		return nil, err
	}
	if root.Config.Digest == "" {
		return nil, ErrNotCache
	}
	return root, nil
}

func decodeRoot(raw []byte) (*Root, error) {
	if plain, ok := parsePlain(raw); ok {
		return plain.root(), nil
	}
	mediaType, err := DetectMediaType(raw)
	if err != nil {
		return nil, err
	}
	root := &Root{Form: formOf(mediaType)}
	if root.Form.IsList() {
		return root, root.decodeList(raw)
	}
	return root, root.decodeManifest(raw)
}

// formOf returns the form of a root whose media type is one that DetectMediaType returns.
func formOf(mediaType string) Form {
	switch mediaType {
	case MediaTypeDockerList:
		return DockerList
	case MediaTypeOCIIndex:
		return OCIIndex
	case MediaTypeDockerManifest:
		return DockerManifest
	default:
		return Artifact
	}
}

// root returns the root that was read.
func (p *plainRoot) root() *Root {
	root := &Root{Form: formOf(p.mediaType), MediaType: p.mediaType, Layers: p.layers, version: int(p.version)}
	if root.Form.IsList() {
		root.takeList(p.manifests)
	} else {
		root.takeConfig(*p.config)
	}
	return root
}

func (r *Root) decodeList(raw []byte) error {
	// BuildKit reads into this type, so what does not fit it is refused here as well.
	if err := json.Unmarshal(raw, new(ocispec.Index)); err != nil {
		return err
	}
	var entries []Descriptor
	err := decodeObject(raw, &r.Extra, field{"schemaVersion", &r.version, false},
		field{"mediaType", &r.MediaType, false}, field{"manifests", &entries, false})
	if err != nil {
		return err
	}
	r.takeList(entries)
	return nil
}

// takeList separates the layers in a list from its configs.
func (r *Root) takeList(entries []Descriptor) {
	for _, d := range entries {
		if d.MediaType != MediaTypeConfig {
			r.Layers = append(r.Layers, d)
			continue
		}
		if r.Config.Digest != "" {
			r.Ignored = append(r.Ignored, r.Config)
		}
		r.Config = d
	}
}

func (r *Root) decodeManifest(raw []byte) error {
	if err := json.Unmarshal(raw, new(ocispec.Manifest)); err != nil {
		return err
	}
	var config Descriptor
	err := decodeObject(raw, &r.Extra, field{"schemaVersion", &r.version, false},
		field{"mediaType", &r.MediaType, false}, field{"config", &config, false}, field{"layers", &r.Layers, false})
	if err != nil {
		return err
	}
	r.takeConfig(config)
	return nil
}

// takeConfig takes the config of a manifest if it is a cache config.
func (r *Root) takeConfig(config Descriptor) {
	if config.MediaType == MediaTypeConfig {
		r.Config = config
	}
}

// MarshalJSON writes the root. A root that BuildKit exported comes out as the same bytes, and after WithForm as the bytes that
// BuildKit would have written in that form.
func (r *Root) MarshalJSON() ([]byte, error) {
	head := []field{{"schemaVersion", 2, false}, {"mediaType", r.Form.MediaType(), false}}
	layers := r.Layers
	if layers == nil {
		layers = []Descriptor{} // never null: BuildKit would call the root ambiguous, registries refuse it
	}
	if !r.Form.IsList() {
		return encodeObject(r.Extra, append(head, field{"config", r.Config, false}, field{"layers", &layers, false})...)
	}
	entries := append(layers[:len(layers):len(layers)], r.Config)
	return encodeObject(r.Extra, append(head, field{"manifests", &entries, false})...)
}

// WithForm returns the root in another form: the same config, and the same layers in the same order, with the media types that
// BuildKit gives layers there. It leaves out configs that no importer reads, also those among the layers of a manifest, which
// would become configs again in a list.
func (r *Root) WithForm(form Form) *Root {
	out := &Root{Form: form, MediaType: form.MediaType(), Config: r.Config, Extra: r.Extra, version: 2}
	out.Layers = make([]Descriptor, 0, len(r.Layers))
	for _, layer := range r.Layers {
		if layer.MediaType == MediaTypeConfig {
			continue
		}
		layer.MediaType = layerTypeIn(form, layer.MediaType)
		out.Layers = append(out.Layers, layer)
	}
	return out
}

// IsCanonical reports whether WithForm, given the root's own form, would change nothing, so that a conversion to that form has
// nothing to do.
func (r *Root) IsCanonical() bool {
	if r.MediaType != r.Form.MediaType() || r.version != 2 || len(r.Ignored) > 0 {
		return false
	}
	for _, layer := range r.Layers {
		if layer.MediaType == MediaTypeConfig || layerTypeIn(r.Form, layer.MediaType) != layer.MediaType {
			return false
		}
	}
	return true
}

// LayersByDigest returns, for each layer blob, the descriptor that BuildKit's importer uses: the last one with its digest.
func (r *Root) LayersByDigest() map[digest.Digest]Descriptor {
	byDigest := make(map[digest.Digest]Descriptor, len(r.Layers))
	for _, layer := range r.Layers {
		byDigest[layer.Digest] = layer
	}
	return byDigest
}

// SizeError says that something is larger than a limit. Sizes are in bytes.
type SizeError struct {
	What        string
	Size, Limit int64
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s has %d bytes, the limit is %d", e.What, e.Size, e.Limit)
}

// SetConfig points the root to another config, given as its bytes.
func (r *Root) SetConfig(raw []byte) {
	config := r.Config.Clone()
	config.Digest, config.Size = digest.FromBytes(raw), int64(len(raw))
	config.Extra = withoutData(config.Extra)
	r.Config = config
}
