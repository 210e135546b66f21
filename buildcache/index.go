package buildcache

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// MaxIndex is the largest index.json that is read, in bytes. It has room for more than ten thousand tags; real ones
	// have a few KB.
	MaxIndex = 4 << 20
)

// annotationImageName is where containerd and BuildKit put an image's full name in index.json.
const annotationImageName = "io.containerd.image.name"

// Index is the index.json of an OCI layout. It says what has which tag.
type Index struct {
	Entries       []Descriptor
	schemaVersion int
	mediaType     string
	extra         Extra
	lists         int // how many lists of entries it was read from, -1 if one is not a list
}

// NewIndex returns the index of an empty layout.
func NewIndex() *Index { return &Index{schemaVersion: 2, mediaType: MediaTypeOCIIndex, lists: 1} }

// errLists says that an index has several lists of entries. Readers take the entries of one of them, and whoever writes the index
// again loses those of the others.
var errLists = errors.New("it has several lists of manifests")

// ParseIndex reads index.json. It does not add a mediaType, which old BuildKits don't write. It fails on bytes that BuildKit
// could not read or that have several lists of entries, with a *SizeError above MaxIndex, and with a *ValuesError if there are too
// many values.
func ParseIndex(raw []byte) (*Index, error) {
	if len(raw) > MaxIndex {
		return nil, &SizeError{What: "index.json", Size: int64(len(raw)), Limit: MaxIndex}
	}
	if err := checkValues("index.json", raw, maxRootValues); err != nil {
		return nil, err
	}
	// BuildKit reads into this type, so what does not fit it is refused here as well. So is text after the object: it means
	// that BuildKit has rewritten the file and not yet truncated it.
	if err := json.Unmarshal(raw, new(ocispec.Index)); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	index := &Index{}
	if err := decodeObject(raw, &index.extra, index.fields()...); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	if index.lists = countLists(raw); index.lists > 1 {
		return nil, fmt.Errorf("index.json: %w", errLists)
	}
	return index, nil
}

// IsIndex reports whether a file is an image index, of OCI or of Docker: schema version 2 if it says one, a list of manifests, which may
// be null, and a digest for each of them. ParseIndex is less strict, because it reads what is known to be one.
func IsIndex(raw []byte) bool {
	index, err := ParseIndex(raw)
	if err != nil || index.lists == 0 || index.schemaVersion != 0 && index.schemaVersion != NewIndex().schemaVersion {
		return false
	}
	return !slices.ContainsFunc(index.Entries, func(d Descriptor) bool { return CheckDigest(d.Digest) != nil })
}

// countLists counts the members of an index that readers take for its list of entries. It returns -1 if there is one that is not a list.
func countLists(raw []byte) (lists int) {
	rest, ok := after(raw, '{')
	odd := false
	for ok {
		name, value, next, err := nextMember(rest)
		if err != nil || name == nil {
			break
		}
		rest = next
		var text string
		if json.Unmarshal(name, &text) != nil || !strings.EqualFold(text, "manifests") {
			continue
		}
		lists++
		_, list := after(value, '[')
		odd = odd || !list
	}
	if odd && lists == 1 {
		return -1
	}
	return lists
}

// ErrNoList says that an index has no list of entries, or null. Readers take that for no entries at all.
var ErrNoList = errors.New("it has no list of manifests")

// CheckList fails with ErrNoList unless there is a list. It is for callers that act on what a list lacks.
func (x *Index) CheckList() error {
	if x.lists != 1 {
		return ErrNoList
	}
	return nil
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

// Find returns the index of the entry that BuildKit finds by tag, or -1: the first one that containerd named so, else the first
// with that tag.
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

// Named is an entry of an index under one of its tags.
type Named struct {
	Tag string // "" if it has none
	At  int    // its index in Index.Entries
}

// Named lists the entries by tag. Of several with the same tag, the one that Find returns comes first, wherever it is in the
// index. An entry with two tags is listed twice.
func (x *Index) Named() []Named {
	var all []Named
	first, listed := x.ByTag(), map[string]bool{}
	for i, d := range x.Entries {
		for _, tag := range d.tags() {
			found := first[tag]
			if tag != "" && !listed[tag] {
				all = append(all, Named{tag, found})
				listed[tag] = true
			}
			if tag == "" || found != i {
				all = append(all, Named{tag, i})
			}
		}
	}
	return all
}

// tags returns the tags by which an entry may be found: its own, and containerd's name unless that is the same, or is the full
// name of an image, of which the tag is a part. An entry with neither has the tag "".
func (d Descriptor) tags() []string {
	tag, name := d.Tag(), d.Annotations[annotationImageName]
	switch {
	case name == "", name == tag, d.NamesImage():
		return []string{tag}
	case tag == "":
		return []string{name}
	default:
		return []string{tag, name}
	}
}

// NamesImage reports whether containerd gave an entry the full name of an image.
func (d Descriptor) NamesImage() bool {
	return strings.ContainsAny(d.Annotations[annotationImageName], "/:")
}

// FindUntagged returns the index of an entry of the root that has no tag, or -1.
func (x *Index) FindUntagged(root digest.Digest) int {
	return slices.IndexFunc(x.Entries, func(d Descriptor) bool { return d.Digest == root && d.tags()[0] == "" })
}

// Put points tag to root. It changes the entry that had the tag, which keeps its other annotations, or appends one. Further
// entries with the same tag stay as they are: nothing finds them by it, but nobody asked to drop them.
func (x *Index) Put(tag string, root Descriptor) { x.PutAll([]Tagged{{Tag: tag, Root: root}}) }

// Tagged is a root and the tag to give it.
type Tagged struct {
	Tag  string
	Root Descriptor
}

// PutAll does what Put does for each in turn. Its time is linear in the number of entries and tags together.
func (x *Index) PutAll(all []Tagged) {
	x.part(all)
	first := x.ByTag()
	for _, t := range all {
		if at, ok := first[t.Tag]; ok {
			x.Replace(at, t.Root)
			continue
		}
		entry := Descriptor{MediaType: t.Root.MediaType, Digest: t.Root.Digest, Size: t.Root.Size}
		entry.Annotations = map[string]string{ocispec.AnnotationRefName: t.Tag}
		first[t.Tag] = len(x.Entries)
		x.Entries = append(x.Entries, entry)
	}
}

// part splits each entry that is found by two tags of which one is about to move, so that the other stays where it is. The half
// whose tag moves first comes first.
func (x *Index) part(all []Tagged) {
	turns := map[string]int{} // the earlier the turn, the larger; 0 for a tag that stays
	for i, t := range slices.Backward(all) {
		turns[t.Tag] = len(all) - i
	}
	first := x.ByTag()
	parted := make([]Descriptor, 0, len(x.Entries))
	for i, d := range x.Entries {
		tags := d.tags()
		if len(tags) < 2 || first[tags[0]] != i || first[tags[1]] != i || turns[tags[0]] == turns[tags[1]] {
			parted = append(parted, d)
			continue
		}
		tagged, named := d.Clone(), d.Clone()
		delete(tagged.Annotations, annotationImageName)
		delete(named.Annotations, ocispec.AnnotationRefName)
		if turns[tags[0]] > turns[tags[1]] {
			parted = append(parted, tagged, named)
		} else {
			parted = append(parted, named, tagged)
		}
	}
	x.Entries = parted
}

// Replace points entry i to root. Its annotations stay; data that it embedded is dropped.
func (x *Index) Replace(i int, root Descriptor) {
	entry := x.Entries[i].Clone()
	entry.MediaType, entry.Digest, entry.Size = root.MediaType, root.Digest, root.Size
	entry.Extra = withoutData(entry.Extra)
	x.Entries[i] = entry
}

// Untag drops the entries of root that tag names. An entry that also has another tag only loses this one.
func (x *Index) Untag(tag string, root digest.Digest) {
	left := make([]Descriptor, 0, len(x.Entries))
	for _, d := range x.Entries {
		tags := d.tags()
		switch {
		case d.Digest != root || d.Tag() != tag && d.Annotations[annotationImageName] != tag:
			left = append(left, d)
		case len(tags) == 2:
			d = d.Clone()
			for _, name := range []string{annotationImageName, ocispec.AnnotationRefName} {
				if d.Annotations[name] == tag {
					delete(d.Annotations, name)
				}
			}
			left = append(left, d)
		}
	}
	x.Entries = left
}

// Clone returns a copy whose entries can be changed without changing x.
func (x *Index) Clone() *Index {
	out := *x
	out.Entries = slices.Clone(x.Entries)
	return &out
}

// Check reports the entries of caches that BuildKit can't find by a tag: those without one, and those whose tag another entry
// takes first, which only is a waste if that has the same root. An entry with several names is found by any of them, and a root by
// any of its entries.
func (x *Index) Check(caches map[digest.Digest]bool) []Problem {
	first := x.ByTag()
	found := map[digest.Digest]bool{}
	for tag, i := range first {
		if tag != "" {
			found[x.Entries[i].Digest] = true
		}
	}
	var problems []Problem
	for i, d := range x.Entries {
		if !caches[d.Digest] {
			continue
		}
		where := fmt.Sprintf("index.json manifests[%d]", i)
		tags := slices.DeleteFunc([]string{d.Tag(), d.Annotations[annotationImageName]}, func(tag string) bool { return tag == "" })
		isSame := func(tag string) bool { return x.Entries[first[tag]].Digest == d.Digest }
		switch {
		case slices.ContainsFunc(tags, func(tag string) bool { return first[tag] == i }):
		case slices.ContainsFunc(tags, isSame):
			tag := tags[slices.IndexFunc(tags, isSame)]
			p := NewProblem(TagShadowed, where, fmt.Sprintf("manifests[%d] has the tag %q already, and the same root", first[tag], tag))
			p.Cache = d.Tag()
			problems = append(problems, p.On(d.Digest).WithEffect(Waste))
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

// ByTag returns what Find returns, for all tags at once.
func (x *Index) ByTag() map[string]int {
	first := map[string]int{}
	for _, annotation := range []string{annotationImageName, ocispec.AnnotationRefName} {
		for i, d := range x.Entries {
			tag, ok := d.Annotations[annotation]
			if _, taken := first[tag]; ok && !taken {
				first[tag] = i
			}
		}
	}
	return first
}
