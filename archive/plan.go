package archive

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// layoutContent is the content of oci-layout.
const layoutContent = `{"imageLayoutVersion":"1.0.0"}`

// TagConflictError says that two roots would have the same tag in an archive.
type TagConflictError struct {
	Tag    string
	Places [2]string
	Roots  [2]digest.Digest
}

func (e *TagConflictError) Error() string {
	return fmt.Sprintf("two roots have the tag %q: %s in %s and %s in %s; choose one with oci:DIR:TAG or --tag, "+
		"or give one of them another tag and choose that", e.Tag, e.Roots[0], e.Places[0], e.Roots[1], e.Places[1])
}

// ErrTag marks roots that nobody could unpack again: with an invalid tag, or without one if there are several of them or
// another has the default tag.
var ErrTag = errors.New("can't be unpacked under a tag")

// checkTags refuses what Unpack would refuse or skip.
func checkTags(roots []rooted) error {
	untagged, byDefault := 0, false
	for _, root := range roots {
		if root.Entry.Tag == "" {
			untagged++
		} else if err := layout.CheckTag(root.Entry.Tag); err != nil {
			return fmt.Errorf("%s: root %s: %w: %w", root.Source, root.Entry.Descriptor.Digest, ErrTag, err)
		}
		byDefault = byDefault || root.Entry.Tag == layout.DefaultTag
	}
	if untagged > 1 {
		return fmt.Errorf("%w: %d roots have no tag, but only one can get a default tag", ErrTag, untagged)
	}
	if untagged == 1 && byDefault {
		return fmt.Errorf("%w: a root has no tag, and another one has the default tag %q", ErrTag, layout.DefaultTag)
	}
	return nil
}

// rooted is a root that goes into an archive.
type rooted struct {
	Chosen
	blobs []buildcache.Descriptor // all that it reaches, as layout.Graph returns it
}

// tarEntry is one entry of the tar: a file with data, or a blob of a source.
type tarEntry struct {
	name   string
	size   int64
	offset int64 // of its header
	data   []byte
	blob   buildcache.Descriptor
	source layout.Source // nil for a file
	of     layout.Entry  // the first root that reaches the blob
}

// packPlan is everything about an archive except the bytes of its blobs.
type packPlan struct {
	id          digest.Digest
	description *Description
	roots       []rooted // in the order of index.json
	entries     []tarEntry
	total       int64 // of the whole tar, in bytes
	notes       []string
}

// newPackPlan lays out an archive. What is in held, with the same size, is left out. The same roots give the same plan
// in any order, because they are sorted by tag. It does no I/O.
func newPackPlan(roots []rooted, held map[digest.Digest]int64) (*packPlan, error) {
	return planWithin(MaxEntries, roots, held)
}

// planWithin is newPackPlan with another limit on the number of entries.
func planWithin(limit int, roots []rooted, held map[digest.Digest]int64) (*packPlan, error) {
	roots, err := uniqueRoots(roots)
	if err == nil {
		err = checkTags(roots)
	}
	if err != nil {
		return nil, err
	}
	blobs, err := mergeGraphs(roots)
	if err != nil {
		return nil, err
	}
	index, err := packedIndex(roots)
	if err != nil {
		return nil, err
	}
	plan := &packPlan{roots: roots, description: &Description{Index: digest.FromBytes(index)}}
	packed := blobs[:0]
	for _, entry := range blobs {
		blob := Blob{Digest: entry.blob.Digest, Size: entry.size}
		if size, ok := held[blob.Digest]; ok && size == blob.Size {
			plan.description.Requires = append(plan.description.Requires, blob)
			continue
		}
		plan.description.Blobs = append(plan.description.Blobs, blob)
		packed = append(packed, entry)
	}
	if entries := len(packed) + 3; entries > limit {
		return nil, &buildcache.SizeError{What: "the archive (in entries)", Size: int64(entries), Limit: int64(limit)}
	}
	description, err := plan.description.Marshal()
	if err != nil {
		return nil, fmt.Errorf("write the bundle description: %w", err)
	}
	if len(description) > MaxDescription {
		return nil, &buildcache.SizeError{What: "the bundle description", Size: int64(len(description)), Limit: MaxDescription}
	}
	plan.id = digest.FromBytes(description)
	plan.entries = append([]tarEntry{
		newFile(layoutName, []byte(layoutContent)), newFile(indexName, index), newFile(descriptionName, description),
	}, packed...)
	return plan, plan.place()
}

func newFile(name string, data []byte) tarEntry {
	return tarEntry{name: name, size: int64(len(data)), data: data}
}

// place gives every entry its offset.
func (p *packPlan) place() error {
	for i := range p.entries {
		entry := &p.entries[i]
		head, err := tarHeader(entry.name, entry.size)
		if err != nil {
			return err
		}
		entry.offset = p.total
		p.total += int64(len(head)) + entry.size + tarPadding(entry.size)
	}
	p.total += endSize
	return nil
}

// uniqueRoots sorts roots by tag and drops duplicates.
func uniqueRoots(roots []rooted) ([]rooted, error) {
	roots = slices.Clone(roots)
	slices.SortStableFunc(roots, func(a, b rooted) int {
		return cmp.Or(cmp.Compare(a.Entry.Tag, b.Entry.Tag), cmp.Compare(a.Entry.Descriptor.Digest, b.Entry.Descriptor.Digest))
	})
	unique := roots[:0]
	for _, root := range roots {
		if len(unique) == 0 || unique[len(unique)-1].Entry.Tag != root.Entry.Tag {
			unique = append(unique, root)
			continue
		}
		other := unique[len(unique)-1]
		switch {
		case other.Entry.Descriptor.Digest == root.Entry.Descriptor.Digest:
		case root.Entry.Tag == "":
			unique = append(unique, root)
		default:
			return nil, &TagConflictError{
				Tag: root.Entry.Tag, Places: [2]string{other.Source.String(), root.Source.String()},
				Roots: [2]digest.Digest{other.Entry.Descriptor.Digest, root.Entry.Descriptor.Digest},
			}
		}
	}
	return unique, nil
}

// eachOnce returns each root once, however many tags it has.
func eachOnce(roots []rooted) []rooted {
	seen := map[digest.Digest]bool{}
	return slices.DeleteFunc(slices.Clone(roots), func(root rooted) bool {
		again := seen[root.Entry.Descriptor.Digest]
		seen[root.Entry.Descriptor.Digest] = true
		return again
	})
}

// mergeGraphs returns what the roots reach, each blob once: manifests first, then configs, then layers.
func mergeGraphs(roots []rooted) ([]tarEntry, error) {
	var blobs []tarEntry
	sizes := map[digest.Digest]int64{}
	for _, root := range eachOnce(roots) {
		for _, blob := range root.blobs {
			if err := buildcache.CheckDigest(blob.Digest); err != nil {
				return nil, &layout.BlobError{Digest: blob.Digest, Place: root.Source.String(), Err: err}
			}
			size, seen := sizes[blob.Digest]
			if seen && size == blob.Size {
				continue
			}
			if seen || blob.Size < 0 {
				return nil, &layout.BlobError{Digest: blob.Digest, Place: root.Source.String(), Err: fmt.Errorf(
					"%w: one descriptor says %d bytes, another %d", layout.ErrBlobSize, blob.Size, size)}
			}
			sizes[blob.Digest] = blob.Size
			blobs = append(blobs, tarEntry{
				name: path.Join(blobsName, blob.Digest.Algorithm().String(), blob.Digest.Encoded()),
				size: blob.Size, blob: blob, source: root.Source, of: root.Entry,
			})
		}
	}
	slices.SortStableFunc(blobs, func(a, b tarEntry) int { return layout.CompareForReading(a.blob, b.blob) })
	return blobs, nil
}

// packedIndex returns index.json. A cache has only its tag there, wherever it comes from; images keep what other tools
// know them by, and get their tag if their place keeps it outside the descriptor.
func packedIndex(roots []rooted) ([]byte, error) {
	index := buildcache.NewIndex()
	for i, root := range roots {
		entry := root.Entry.Descriptor.Clone()
		if root.Entry.Kind == layout.KindCache {
			entry = buildcache.Descriptor{}
		}
		if root.Entry.Tag != "" && entry.Tag() == "" {
			if entry.Annotations == nil {
				entry.Annotations = map[string]string{}
			}
			entry.Annotations[ocispec.AnnotationRefName] = root.Entry.Tag
		}
		index.Entries = append(index.Entries, entry)
		index.Replace(i, root.Entry.Descriptor)
	}
	raw, err := json.Marshal(index)
	if err != nil {
		return nil, fmt.Errorf("write index.json: %w", err)
	}
	if len(raw) > buildcache.MaxIndex {
		return nil, &buildcache.SizeError{What: indexName, Size: int64(len(raw)), Limit: buildcache.MaxIndex}
	}
	return raw, nil
}
