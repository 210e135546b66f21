package inspect

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/layout"
)

// Unreached is what is in a layout directory, but not reached by any entry of index.json, tagged or not.
type Unreached struct {
	Blobs []digest.Digest `json:"blobs"`
	Bytes int64           `json:"bytes"`
	// Incomplete says that something that an entry reaches is missing, so that garbage collection may refuse.
	Incomplete bool `json:"-"`
}

// Unreachable returns the blobs of a layout that no entry of index.json reaches, whether of a cache or of an image.
func Unreachable(ctx context.Context, dir *layout.Dir) (Unreached, error) {
	u := Unreached{Blobs: []digest.Digest{}}
	reached, err := layout.Reach(ctx, dir)
	if err != nil {
		return u, err
	}
	blobs, err := dir.Blobs(ctx)
	if err != nil {
		return u, err
	}
	for _, blob := range blobs {
		if reached[blob.Digest] {
			delete(reached, blob.Digest)
			continue
		}
		u.Blobs = append(u.Blobs, blob.Digest)
		u.Bytes += blob.Size
	}
	u.Incomplete = len(reached) > 0
	return u, nil
}
