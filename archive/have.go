package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// heldLookUps is how many blobs a place is asked for at once.
const heldLookUps = 8

// Holder says which of the wanted blobs the far side of an air gap holds.
type Holder func(ctx context.Context, wanted []buildcache.Descriptor) ([]Blob, error)

// HeldList is the Holder of a list.
func HeldList(blobs []Blob) Holder {
	return func(context.Context, []buildcache.Descriptor) ([]Blob, error) { return blobs, nil }
}

// HeldBy is the Holder of a place like the one on the far side, or the very one. What the tagged ones of the entries reach
// counts, where none are named of all entries, if it is there with its size; other blobs may be deleted at any time. A
// root that can't be read counts for nothing.
func HeldBy(place layout.Source, entries ...layout.Entry) Holder {
	return func(ctx context.Context, wanted []buildcache.Descriptor) ([]Blob, error) {
		reached, err := reachable(ctx, place, entries)
		if err != nil {
			return nil, err
		}
		var mu sync.Mutex
		var held []Blob
		group, ctx := parallel.New(ctx, heldLookUps)
		for _, blob := range wanted {
			if !reached[blob.Digest] {
				continue
			}
			group.Go(func() error {
				has, err := place.Has(ctx, blob)
				if err == nil && has {
					mu.Lock()
					held = append(held, Blob{Digest: blob.Digest, Size: blob.Size})
					mu.Unlock()
				}
				return err
			})
		}
		return held, group.Wait()
	}
}

// reachable returns what the tagged ones of some roots reach.
func reachable(ctx context.Context, place layout.Source, entries []layout.Entry) (map[digest.Digest]bool, error) {
	if len(entries) == 0 {
		var err error
		if entries, err = place.Entries(ctx); err != nil {
			return nil, err
		}
	}
	reached := map[digest.Digest]bool{}
	for _, entry := range entries {
		if entry.Tag == "" {
			continue
		}
		blobs, err := layout.Graph(ctx, place, entry.Descriptor)
		var bad *layout.BlobError
		var size *buildcache.SizeError
		if errors.As(err, &bad) || errors.As(err, &size) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, blob := range blobs {
			reached[blob.Digest] = true
		}
	}
	return reached, nil
}

// HeldAfter is the Holder of what the far side holds after it has taken what a file tells of: a receipt from there, or
// an archive that was unpacked there, which may be named as Open takes it. Which one it is shows its content.
func HeldAfter(file string) Holder {
	return func(ctx context.Context, wanted []buildcache.Descriptor) (held []Blob, err error) {
		if !IsInVolumes(file) {
			head, err := durable.ReadRegular(file, 1)
			if err != nil {
				return nil, err
			}
			if bytes.Equal(head, []byte("{")) {
				receipt, err := ReadReceipt(file)
				if err != nil {
					return nil, err
				}
				return receipt.Blobs, nil
			}
		}
		archive, err := Open(ctx, []string{file}, OpenOptions{})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, archive.Close()) }()
		if description := archive.Description(); description != nil {
			return append(description.Blobs[:len(description.Blobs):len(description.Blobs)], description.Requires...), nil
		}
		return HeldBy(archive)(ctx, wanted)
	}
}

// heldBlobs asks all holders about what the roots reach.
func heldBlobs(ctx context.Context, roots []rooted, holders []Holder) (map[digest.Digest]int64, error) {
	held := map[digest.Digest]int64{}
	if len(holders) == 0 {
		return held, nil
	}
	var wanted []buildcache.Descriptor
	seen := map[digest.Digest]bool{}
	for _, root := range roots {
		for _, blob := range root.blobs {
			if !seen[blob.Digest] {
				seen[blob.Digest] = true
				wanted = append(wanted, blob)
			}
		}
	}
	for _, holder := range holders {
		blobs, err := holder(ctx, wanted)
		if err != nil {
			return nil, fmt.Errorf("find out what the far side holds: %w", err)
		}
		for _, blob := range blobs {
			held[blob.Digest] = blob.Size
		}
	}
	return held, nil
}
