package buildcache

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// NoParent is the Parent of a layer without one. The zero value means layer 0, also in BuildKit's JSON, which then omits it.
const NoParent = -1

// Config is the cache config: the blob of media type MediaTypeConfig. It is the same in every form of a cache.
type Config struct {
	Layers  []Layer
	Records []Record
	Extra   Extra
}

// Layer is a layer blob on top of its parent. The same blob may occur several times, on different parents.
type Layer struct {
	Blob        digest.Digest
	Parent      int // index in Config.Layers, or NoParent
	Annotations *LayerAnnotations
	Extra       Extra
}

// LayerAnnotations describe a layer where no manifest does: in caches that BuildKit keeps in object stores. Local
// exports do not have them, and the importer of local caches ignores them. Size is in bytes.
type LayerAnnotations struct {
	MediaType string
	DiffID    digest.Digest
	Size      int64
	CreatedAt Time
	Extra     Extra
}

// Record is one cache key. A record without results is still needed, for the records that link to it.
type Record struct {
	Results []Result
	Chains  []Chain
	Digest  digest.Digest
	Inputs  [][]Input // for each input of the operation, the alternatives
	Extra   Extra
}

// isRandom reports whether nothing can hit the record, so that BuildKit drops it after reading it.
func (r Record) isRandom() bool { return strings.HasPrefix(r.Digest.String(), "random:") }

// Result is a layer with all of its parents.
type Result struct {
	Layer     int // index in Config.Layers
	CreatedAt Time
	Extra     Extra
}

// Chain is a list of layers, lowest first, whose parents are not followed. BuildKit writes it in inline caches.
type Chain struct {
	Layers    []int // indexes in Config.Layers
	CreatedAt Time
	Extra     Extra
}

// Input links a record to one that it depends on.
type Input struct {
	Selector string
	Link     int // index in Config.Records
	Extra    Extra
}

// Time is a point in time that remembers the text it was read from, so that rewriting a config does not change it.
type Time struct {
	time.Time
	text string
}

// UnmarshalJSON reads an RFC 3339 time.
func (t *Time) UnmarshalJSON(data []byte) error {
	if err := t.Time.UnmarshalJSON(data); err != nil {
		return err
	}
	t.text = string(data)
	return nil
}

// MarshalJSON writes the text that was read, if any.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.text != "" {
		return []byte(t.text), nil
	}
	return t.Time.MarshalJSON()
}

// maxConfigValues is the most JSON values that a cache config may have. BuildKit's records have about ten, in 200 bytes, so
// that a config of MaxConfig bytes has fewer than a million.
const maxConfigValues = 1 << 20

// ParseConfig reads a cache config. It fails if BuildKit's importer could not read the JSON, with a *SizeError above MaxConfig,
// and with a *ValuesError if it has too many values. Validate checks whether indexes and links make sense.
func ParseConfig(raw []byte) (*Config, error) {
	if len(raw) > MaxConfig {
		return nil, &SizeError{What: "cache config", Size: int64(len(raw)), Limit: MaxConfig}
	}
	if err := checkValues("cache config", raw, maxConfigValues); err != nil {
		return nil, err
	}
	config := &Config{}
	if err := json.Unmarshal(raw, config); err != nil {
		return nil, err
	}
	return config, nil
}

func (c *Config) fields() []field {
	return []field{
		{"layers", &c.Layers, len(c.Layers) == 0},
		{"records", &c.Records, len(c.Records) == 0},
	}
}

// UnmarshalJSON reads a config and keeps the members it does not know.
func (c *Config) UnmarshalJSON(data []byte) error {
	return decodeObject(data, &c.Extra, c.fields()...)
}

// MarshalJSON writes the config. A config that BuildKit wrote comes out as the same bytes.
func (c *Config) MarshalJSON() ([]byte, error) { return encodeObject(c.Extra, c.fields()...) }

func (l *Layer) fields() []field {
	return []field{
		{"blob", &l.Blob, l.Blob == ""},
		{"parent", &l.Parent, l.Parent == 0},
		{"annotations", &l.Annotations, l.Annotations == nil},
	}
}

// UnmarshalJSON reads a layer and keeps the members it does not know.
func (l *Layer) UnmarshalJSON(data []byte) error { return decodeObject(data, &l.Extra, l.fields()...) }

// MarshalJSON writes the layer as BuildKit does.
func (l Layer) MarshalJSON() ([]byte, error) { return encodeObject(l.Extra, l.fields()...) }

func (a *LayerAnnotations) fields() []field {
	return []field{
		{"mediaType", &a.MediaType, a.MediaType == ""},
		{"diffID", &a.DiffID, a.DiffID == ""},
		{"size", &a.Size, a.Size == 0},
		{"createdAt", &a.CreatedAt, false},
	}
}

// UnmarshalJSON reads annotations and keeps the members it does not know.
func (a *LayerAnnotations) UnmarshalJSON(data []byte) error {
	return decodeObject(data, &a.Extra, a.fields()...)
}

// MarshalJSON writes the annotations as BuildKit does.
func (a LayerAnnotations) MarshalJSON() ([]byte, error) { return encodeObject(a.Extra, a.fields()...) }

func (r *Record) fields() []field {
	return []field{
		{"layers", &r.Results, len(r.Results) == 0}, // BuildKit's name for results
		{"chains", &r.Chains, len(r.Chains) == 0},
		{"digest", &r.Digest, r.Digest == ""},
		{"inputs", &r.Inputs, len(r.Inputs) == 0},
	}
}

// UnmarshalJSON reads a record and keeps the members it does not know.
func (r *Record) UnmarshalJSON(data []byte) error {
	return decodeObject(data, &r.Extra, r.fields()...)
}

// MarshalJSON writes the record as BuildKit does.
func (r Record) MarshalJSON() ([]byte, error) { return encodeObject(r.Extra, r.fields()...) }

func (r *Result) fields() []field {
	return []field{{"layer", &r.Layer, false}, {"createdAt", &r.CreatedAt, false}}
}

// UnmarshalJSON reads a result and keeps the members it does not know.
func (r *Result) UnmarshalJSON(data []byte) error {
	return decodeObject(data, &r.Extra, r.fields()...)
}

// MarshalJSON writes the result as BuildKit does.
func (r Result) MarshalJSON() ([]byte, error) { return encodeObject(r.Extra, r.fields()...) }

func (c *Chain) fields() []field {
	return []field{{"layers", &c.Layers, false}, {"createdAt", &c.CreatedAt, false}}
}

// UnmarshalJSON reads a chain and keeps the members it does not know.
func (c *Chain) UnmarshalJSON(data []byte) error { return decodeObject(data, &c.Extra, c.fields()...) }

// MarshalJSON writes the chain as BuildKit does.
func (c Chain) MarshalJSON() ([]byte, error) { return encodeObject(c.Extra, c.fields()...) }

func (i *Input) fields() []field {
	return []field{{"selector", &i.Selector, i.Selector == ""}, {"link", &i.Link, false}}
}

// UnmarshalJSON reads an input and keeps the members it does not know.
func (i *Input) UnmarshalJSON(data []byte) error { return decodeObject(data, &i.Extra, i.fields()...) }

// MarshalJSON writes the input as BuildKit does.
func (i Input) MarshalJSON() ([]byte, error) { return encodeObject(i.Extra, i.fields()...) }
