package migrate

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Shard is a share of the caches of a plan, by a hash of source and tag: the shards of one count together are the whole, and no
// cache is in two of them. The zero value is the whole.
type Shard struct {
	Index int // from 1
	Of    int
}

// maxShards bounds the number of shards.
const maxShards = 100_000

// ParseShard reads I/N, shard I of 1 to N, or N alone: then completionIndex says which, as Kubernetes gives it to a pod of an
// Indexed Job, counting from 0.
func ParseShard(text, completionIndex string) (Shard, error) {
	before, after, isPair := strings.Cut(text, "/")
	if !isPair {
		before, after = "", text
	}
	of, err := strconv.Atoi(after)
	if err != nil || of < 1 || of > maxShards {
		return Shard{}, fmt.Errorf("shard %q: want I/N or N, with N from 1 to %d", text, maxShards)
	}
	if !isPair {
		index, err := strconv.Atoi(completionIndex)
		if err != nil || index < 0 || index >= of {
			return Shard{}, fmt.Errorf("shard %q: JOB_COMPLETION_INDEX is %q; want 0 to %d, or a shard as I/N", text, completionIndex, of-1)
		}
		return Shard{Index: index + 1, Of: of}, nil
	}
	index, err := strconv.Atoi(before)
	if err != nil || index < 1 || index > of {
		return Shard{}, fmt.Errorf("shard %q: there are the shards 1/%d to %d/%d", text, of, of, of)
	}
	return Shard{Index: index, Of: of}, nil
}

// String returns the shard as ParseShard reads it, or "" for the whole.
func (s Shard) String() string {
	if s.Of == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Index, s.Of)
}

// Has reports whether a cache is in the shard.
func (s Shard) Has(source, tag string) bool {
	if s.Of <= 1 {
		return true
	}
	sum := sha256.Sum256([]byte(source + "\x00" + tag))
	return binary.BigEndian.Uint64(sum[:8])%uint64(s.Of) == uint64(s.Index-1) //nolint:gosec // both are small and positive
}
