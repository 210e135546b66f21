package archive

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/internal/volumes"
	"github.com/ocicache/ocicache/layout"
)

// heldLookUps is how many blobs a place is asked about at once.
const heldLookUps = 8

// Holder says what the far side of an air gap holds. If it knows that from files, it is a layout.Occupier too, so that no
// archive replaces them.
type Holder interface {
	// String names it in messages.
	fmt.Stringer
	// Held says which of the wanted blobs are there.
	Held(ctx context.Context, wanted []buildcache.Descriptor) (Held, error)
}

// Held is what a Holder says.
type Held struct {
	Blobs []Blob
	// Notes say what does not count, and why.
	Notes []string
}

// HeldList returns the Holder of a list of blobs.
func HeldList(blobs []Blob) Holder { return heldList(blobs) }

type heldList []Blob

func (h heldList) String() string { return "a list" }

func (h heldList) Held(context.Context, []buildcache.Descriptor) (Held, error) {
	return Held{Blobs: h}, nil
}

// HeldBy returns a Holder for a place like the one on the far side, or for that place itself. What the entries reach
// counts if it is there with its size. Without entries, those of the place that have a tag are taken: other blobs may be
// deleted at any time. A root that can't be read counts for nothing.
func HeldBy(place layout.Source, entries ...layout.Entry) Holder {
	return &heldBy{place: place, entries: entries, chosen: len(entries) > 0}
}

type heldBy struct {
	place   layout.Source
	entries []layout.Entry
	chosen  bool // only entries count, else all that have a tag
}

func (h *heldBy) String() string { return h.place.String() }

// Occupies reports whether a path is part of the place.
func (h *heldBy) Occupies(path string) bool {
	place, ok := h.place.(layout.Occupier)
	return ok && place.Occupies(path)
}

func (h *heldBy) Held(ctx context.Context, wanted []buildcache.Descriptor) (Held, error) {
	reached, notes, err := h.reachable(ctx)
	if err != nil {
		return Held{}, err
	}
	held := Held{Notes: notes}
	var mu sync.Mutex
	group, ctx := parallel.New(ctx, heldLookUps)
	for _, blob := range wanted {
		if !reached[blob.Digest] {
			continue
		}
		group.Go(func() error {
			has, err := h.place.Has(ctx, blob)
			if err == nil && has {
				mu.Lock()
				held.Blobs = append(held.Blobs, Blob{Digest: blob.Digest, Size: blob.Size})
				mu.Unlock()
			}
			return err
		})
	}
	err = group.Wait()
	return held, err
}

// roots returns the entries that count, each root once, and notes on the others.
func (h *heldBy) roots(ctx context.Context) (roots []layout.Entry, notes []string, err error) {
	entries := h.entries
	if !h.chosen {
		if entries, err = h.place.Entries(ctx); err != nil {
			return nil, nil, err
		}
	}
	seen := map[digest.Digest]bool{}
	for _, entry := range entries {
		switch {
		case !h.chosen && entry.Tag == "":
			notes = append(notes, fmt.Sprintf("%s: ignored this root because it has no tag: %s", h.place, entry.Descriptor.Digest))
		case !seen[entry.Descriptor.Digest]:
			seen[entry.Descriptor.Digest] = true
			roots = append(roots, entry)
		}
	}
	return roots, notes, nil
}

// reachable returns what those roots reach, and notes on what does not count.
func (h *heldBy) reachable(ctx context.Context) (map[digest.Digest]bool, []string, error) {
	roots, notes, err := h.roots(ctx)
	if err != nil {
		return nil, nil, err
	}
	reached := map[digest.Digest]bool{}
	for _, root := range roots {
		blobs, err := layout.Graph(ctx, h.place, root.Descriptor)
		var bad *layout.BlobError
		var size *buildcache.SizeError
		if errors.As(err, &bad) || errors.As(err, &size) {
			notes = append(notes, fmt.Sprintf("%s: ignored the blobs of %s because they can't be determined: %v",
				h.place, cmp.Or(root.Tag, root.Descriptor.Digest.String()), err))
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		for _, blob := range blobs {
			reached[blob.Digest] = true
		}
	}
	return reached, notes, nil
}

// HeldAfter returns a Holder for what the far side has according to a file: a receipt from there, or an archive that was
// unpacked there, named as for Open. The content of the file shows which of the two it is.
func HeldAfter(file string) Holder { return heldAfter(file) }

type heldAfter string

func (h heldAfter) String() string { return string(h) }

// Occupies reports whether a path is the file, or part of the archive in volumes that it belongs to.
func (h heldAfter) Occupies(path string) bool { return volumes.Occupies(string(h), path) }

func (h heldAfter) Held(ctx context.Context, wanted []buildcache.Descriptor) (held Held, err error) {
	if !IsInVolumes(string(h)) {
		head, err := durable.ReadRegular(string(h), 1)
		if err != nil {
			return Held{}, err
		}
		if bytes.Equal(head, []byte("{")) {
			receipt, err := ReadReceipt(string(h))
			if err != nil {
				return Held{}, err
			}
			return Held{Blobs: receipt.Blobs}, nil
		}
	}
	archive, err := Open(ctx, []string{string(h)}, OpenOptions{})
	if err != nil {
		return Held{}, err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	if description := archive.Description(); description != nil {
		return Held{Blobs: append(description.Blobs[:len(description.Blobs):len(description.Blobs)], description.Requires...)}, nil
	}
	entries, err := archive.Entries(ctx)
	if err != nil {
		return Held{}, err
	}
	unpacked, notes := nameUntagged(entries, UnpackOptions{})
	if len(unpacked) == len(entries) {
		notes = nil // they only say which tag the root without one gets
	}
	held, err = (&heldBy{place: archive, entries: unpacked, chosen: true}).Held(ctx, wanted)
	held.Notes = append(notes, held.Notes...)
	return held, err
}

// heldBlobs asks all holders about the blobs that the roots reach. The notes are theirs.
func heldBlobs(ctx context.Context, roots []rooted, holders []Holder) (held map[digest.Digest]int64, notes []string, err error) {
	held = map[digest.Digest]int64{}
	if len(holders) == 0 {
		return held, nil, nil
	}
	var wanted []buildcache.Descriptor
	seen := map[digest.Digest]bool{}
	for _, root := range eachOnce(roots) {
		for _, blob := range root.blobs {
			if !seen[blob.Digest] {
				seen[blob.Digest] = true
				wanted = append(wanted, blob)
			}
		}
	}
	for _, holder := range holders {
		said, err := holder.Held(ctx, wanted)
		if err != nil {
			return nil, nil, fmt.Errorf("find out what the far side has: %w", err)
		}
		for _, blob := range said.Blobs {
			held[blob.Digest] = blob.Size
		}
		notes = append(notes, said.Notes...)
	}
	return held, notes, nil
}
