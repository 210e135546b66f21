package buildcache

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// MaxIndex is the largest index.json that is read, in bytes. It has room for more than ten thousand tags; real ones
	// have some KB.
	MaxIndex = 4 << 20
)

// annotationImageName is where containerd and BuildKit put an image's full name in index.json.
const annotationImageName = "io.containerd.image.name"

// Index is the index.json of an OCI layout: what has which tag.
type Index struct {
	Entries       []Descriptor
	schemaVersion int
	mediaType     string
	extra         Extra
}

// NewIndex returns the index of an empty layout.
func NewIndex() *Index { return &Index{schemaVersion: 2, mediaType: MediaTypeOCIIndex} }

// ParseIndex reads index.json. Old BuildKits write it without a mediaType, and it is kept so. It fails on bytes that
// BuildKit could not read, and with a *SizeError above
// MaxIndex, and with a *ValuesError where it is full of tiny values.
func ParseIndex(raw []byte) (*Index, error) {
	if len(raw) > MaxIndex {
		return nil, &SizeError{What: "index.json", Size: int64(len(raw)), Limit: MaxIndex}
	}
	if err := checkValues("index.json", raw, maxRootValues); err != nil {
		return nil, err
	}
	// BuildKit reads into this type, so what does not fit it is refused here as well. So is what follows the object: that
	// is a file which BuildKit has written anew and not yet cut to its length.
	if err := json.Unmarshal(raw, new(ocispec.Index)); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	index := &Index{}
	if err := decodeObject(raw, &index.extra, index.fields()...); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	return index, nil
}

func (x *Index) fields() []field {
	return []field{
		{"schemaVersion", &x.schemaVersion, false},
		{"mediaType", &x.mediaType, x.mediaType == ""},
		{"manifests", &x.Entries, false},
	}
}

// MarshalJSON writes the index, with everything that was in it.
func (x *Index) MarshalJSON() ([]byte, error) {
	if x.Entries == nil {
		x.Entries = []Descriptor{}
	}
	return encodeObject(x.extra, x.fields()...)
}

// Tag returns the tag of an entry: its ref.name annotation, or "" if it has none.
func (d Descriptor) Tag() string { return d.Annotations[ocispec.AnnotationRefName] }

// Find returns the place of the entry that BuildKit takes for tag, or -1: first one that containerd named so, then
// one with that tag.
func (x *Index) Find(tag string) int {
	named := func(annotation string) int {
		return slices.IndexFunc(x.Entries, func(d Descriptor) bool {
			name, ok := d.Annotations[annotation]
			return ok && name == tag
		})
	}
	if i := named(annotationImageName); i >= 0 {
		return i
	}
	return named(ocispec.AnnotationRefName)
}

// Put points tag to root: in the place of the entry that had it, with that entry's other annotations, else at the
// end. Further entries with the same tag, which nothing could find, are dropped.
func (x *Index) Put(tag string, root Descriptor) {
	at := x.Find(tag)
	if at < 0 {
		entry := Descriptor{MediaType: root.MediaType, Digest: root.Digest, Size: root.Size}
		entry.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
		x.Entries = append(x.Entries, entry)
		return
	}
	x.Replace(at, root)
	name := x.Entries[at].Annotations[annotationImageName]
	kept := x.Entries[:at+1]
	for _, d := range x.Entries[at+1:] {
		if d.Tag() != tag || d.Annotations[annotationImageName] != name {
			kept = append(kept, d)
		}
	}
	x.Entries = kept
}

// Replace points the entry at place i to root. Its annotations stay; data that it embedded is dropped.
func (x *Index) Replace(i int, root Descriptor) {
	entry := x.Entries[i].Clone()
	entry.MediaType, entry.Digest, entry.Size = root.MediaType, root.Digest, root.Size
	entry.Extra = withoutData(entry.Extra)
	x.Entries[i] = entry
}

// Clone returns a copy whose entries can be changed without changing x.
func (x *Index) Clone() *Index {
	out := *x
	out.Entries = slices.Clone(x.Entries)
	return &out
}

// Check reports entries that BuildKit can't find by a tag: those without one, and those whose tag another entry takes
// first. An entry that is named by more than one name is found by any of them, and a root by any of its entries.
func (x *Index) Check(caches map[digest.Digest]bool) []Problem {
	first := x.byTag()
	found := map[digest.Digest]bool{}
	for _, i := range first {
		found[x.Entries[i].Digest] = true
	}
	var problems []Problem
	for i, d := range x.Entries {
		if !caches[d.Digest] {
			continue
		}
		where := fmt.Sprintf("index.json manifests[%d]", i)
		tags := slices.DeleteFunc([]string{d.Tag(), d.Annotations[annotationImageName]}, func(tag string) bool { return tag == "" })
		switch {
		case slices.ContainsFunc(tags, func(tag string) bool { return x.Entries[first[tag]].Digest == d.Digest }):
		case len(tags) > 0:
			p := NewProblem(TagShadowed, where, fmt.Sprintf("BuildKit finds manifests[%d] under the tag %q", first[tags[0]], tags[0]))
			p.Cache = d.Tag()
			problems = append(problems, p.On(d.Digest))
		case !found[d.Digest]:
			problems = append(problems, NewProblem(Untagged, where, "").On(d.Digest))
		}
	}
	return problems
}

// byTag returns what Find returns, for all tags at once.
func (x *Index) byTag() map[string]int {
	first := map[string]int{}
	for _, annotation := range []string{annotationImageName, ocispec.AnnotationRefName} {
		for i, d := range x.Entries {
			tag := d.Annotations[annotation]
			if _, taken := first[tag]; tag != "" && !taken {
				first[tag] = i
			}
		}
	}
	return first
}
