package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// origin is where a needed blob is.
type origin int

const (
	nowhere origin = iota
	inArchive
	inLayout
	inBase
)

// find says where a blob is. It fails if the archive has the blob with another size than needed.
func (j *joined) find(ctx context.Context, blob buildcache.Descriptor) (at origin, damaged bool, err error) {
	if err := buildcache.CheckDigest(blob.Digest); err != nil {
		return nowhere, false, &HostileError{Archive: j.String(), Err: fmt.Errorf("a manifest references a blob by an invalid digest: %w", err)}
	}
	if size, ok := j.archive.sizeIn(blob.Digest); ok {
		if size != blob.Size {
			err = &layout.BlobError{
				Digest: blob.Digest, Place: j.String(),
				Err: fmt.Errorf("%w: want %d bytes, got %d", layout.ErrBlobSize, blob.Size, size),
			}
		}
		return inArchive, false, err
	}
	if j.dst != nil {
		has, err := j.dst.Has(ctx, blob)
		if err != nil {
			return nowhere, false, err
		}
		state := blobAbsent
		if has {
			state, err = j.inspect(ctx, blob.Digest)
		} else if any, openErr := j.dst.OpenFile(ctx, blob); openErr == nil { // of another size
			state, err = blobDamaged, any.Close()
		}
		if err != nil || state == blobRight {
			return inLayout, false, err
		}
		damaged = state == blobDamaged
	}
	if j.base != nil {
		has, err := j.base.Has(ctx, blob)
		if err != nil {
			return nowhere, false, fmt.Errorf("look in the base: %w", err)
		}
		if has {
			return inBase, false, nil
		}
	}
	return nowhere, damaged, nil
}

// need is a blob that chosen roots reach, and where it is.
type need struct {
	blob    buildcache.Descriptor
	roots   []int // indexes of findings.roots, only of the first root with each digest
	at      origin
	damaged bool // the layout has a damaged copy, and nothing else has it
}

// findings are what unpacking needs, and where it is.
type findings struct {
	roots  []layout.Entry // KindDangling if a root is missing
	byRoot map[digest.Digest][]int
	needs  []*need // each digest once, manifests before what they name
	// partial are the roots with missing manifests, so not all that they need is known; indexes as in need.roots.
	partial []int
}

// tags returns all tags of the roots.
func (s *findings) tags(roots []int) []string {
	var names []string
	for _, root := range roots {
		same, ok := s.byRoot[s.roots[root].Descriptor.Digest]
		if !ok {
			same = []int{root}
		}
		for _, i := range same {
			names = append(names, s.roots[i].Tag)
		}
	}
	return names
}

// look finds out what the roots reach, and where it is. A root with several tags is read once.
func (j *joined) look(ctx context.Context, entries []layout.Entry, jobs int) (*findings, error) {
	found := &findings{roots: make([]layout.Entry, len(entries)), byRoot: map[digest.Digest][]int{}}
	for i, entry := range entries {
		var err error
		if found.roots[i], err = j.classify(ctx, entry, found.roots[:i], found.byRoot); err != nil {
			return nil, err
		}
		found.byRoot[entry.Descriptor.Digest] = append(found.byRoot[entry.Descriptor.Digest], i)
	}
	byDigest := map[digest.Digest]*need{}
	for i, entry := range entries {
		if found.byRoot[entry.Descriptor.Digest][0] != i {
			continue
		}
		lacking := false
		err := layout.Walk(ctx, j, entry.Descriptor, func(node layout.Node) error {
			found.add(node.Descriptor, i, byDigest)
			if errors.Is(node.Err, layout.ErrBlobMissing) {
				lacking = true
				return nil
			}
			return node.Err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: tag %q: %w", j, entry.Tag, err)
		}
		if lacking {
			found.partial = append(found.partial, i)
		}
	}
	slices.SortStableFunc(found.needs, func(a, b *need) int { return layout.CompareForReading(a.blob, b.blob) })
	return found, j.locate(ctx, found, jobs)
}

// classify says what a root is. It repeats what was found for an earlier root with the same digest.
func (j *joined) classify(
	ctx context.Context, entry layout.Entry, before []layout.Entry, byRoot map[digest.Digest][]int,
) (layout.Entry, error) {
	if same := byRoot[entry.Descriptor.Digest]; len(same) > 0 {
		entry.Kind, entry.Err = before[same[0]].Kind, before[same[0]].Err
		return entry, nil
	}
	return layout.Classify(ctx, j, entry)
}

// add notes that a root needs a blob.
func (s *findings) add(blob buildcache.Descriptor, root int, byDigest map[digest.Digest]*need) {
	n := byDigest[blob.Digest]
	if n == nil {
		n = &need{blob: buildcache.Descriptor{MediaType: blob.MediaType, Digest: blob.Digest, Size: blob.Size}}
		byDigest[blob.Digest] = n
		s.needs = append(s.needs, n)
	}
	n.roots = append(n.roots, root)
}

// locate finds out where everything is.
func (j *joined) locate(ctx context.Context, found *findings, jobs int) error {
	group, ctx := parallel.New(ctx, jobsOf(jobs))
	for _, n := range found.needs {
		group.Go(func() error {
			var err error
			n.at, n.damaged, err = j.find(ctx, n.blob)
			return err
		})
	}
	return group.Wait()
}

// addRequired adds what the description says is required, because the manifests that would say it are missing. Some of it may
// be needed only by tags that were not chosen, but nothing better is known.
func (j *joined) addRequired(ctx context.Context, found *findings, d *Description, jobs int) error {
	known := map[digest.Digest]bool{}
	for _, n := range found.needs {
		known[n.blob.Digest] = true
	}
	for _, blob := range d.Requires {
		if !known[blob.Digest] {
			found.needs = append(found.needs, &need{blob: buildcache.Descriptor{Digest: blob.Digest, Size: blob.Size}, roots: found.partial})
		}
	}
	found.partial = nil
	return j.locate(ctx, found, jobs)
}

// jobsOf returns how many blobs to work on at once.
func jobsOf(jobs int) int { return cmp.Or(jobs, runtime.GOMAXPROCS(0)) }

// missing returns an error that lists what was found nowhere, or nil.
func (j *joined) missing(found *findings) error {
	e := &MissingError{Archive: j.String(), Partial: len(found.partial) > 0}
	if j.dst != nil {
		e.Into = j.dst.String()
	}
	if j.base != nil {
		e.Base = j.base.String()
	}
	for _, n := range found.needs {
		if n.at == nowhere {
			e.Blobs = append(e.Blobs, MissingBlob{
				Blob: Blob{Digest: n.blob.Digest, Size: n.blob.Size}, Tags: found.tags(n.roots), Damaged: n.damaged,
			})
		}
	}
	if len(e.Blobs) == 0 {
		return nil
	}
	slices.SortStableFunc(e.Blobs, func(a, b MissingBlob) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	return e
}
