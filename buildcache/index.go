package buildcache

import (
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxIndex is the largest index.json that is read, in bytes.
const MaxIndex = 16 << 20

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
// BuildKit could not read, and with a *SizeError above MaxIndex.
func ParseIndex(raw []byte) (*Index, error) {
	if len(raw) > MaxIndex {
		return nil, &SizeError{What: "index.json", Size: int64(len(raw)), Limit: MaxIndex}
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
// first. An entry that is named by more than one name is found by any of them.
func (x *Index) Check(caches map[digest.Digest]bool) []Problem {
	var problems []Problem
	for i, d := range x.Entries {
		if !caches[d.Digest] {
			continue
		}
		where := fmt.Sprintf("index.json manifests[%d]", i)
		name := d.Annotations[annotationImageName]
		finds := func(tag string) bool { return tag != "" && x.Find(tag) == i }
		switch {
		case finds(d.Tag()) || finds(name):
		case d.Tag() == "" && name == "":
			problems = append(problems, NewProblem(Untagged, where, "").On(d.Digest))
		default:
			p := NewProblem(TagShadowed, where, fmt.Sprintf("BuildKit finds manifests[%d] under the tag %q", x.Find(d.Tag()), d.Tag()))
			p.Cache = d.Tag()
			problems = append(problems, p.On(d.Digest))
		}
	}
	return problems
}
