package main

import (
	"crypto/sha256"
	"encoding/hex"
	"iter"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
)

// syncRows are what happened to the caches of a sync, in order. Each holds only what a row of the table shows, in little memory, because
// there may be very many.
type syncRows struct {
	blocks [][]syncRow
}

// rowsInBlock is how many rows are allocated together, so that adding rows copies none.
const rowsInBlock = 256

// syncRow is what a row shows. If that is more than usual, the result holds the cache.
type syncRow struct {
	to    string
	root  [sha256.Size]byte
	moved int64
	how   syncKind
}

type syncKind uint8

const (
	broughtOver syncKind = iota
	thereAlready
	inResult
)

// isUsual reports whether a row can hold what the table shows of a cache.
func isUsual(c convert.SyncEntry) bool {
	plain := c.Err == nil && c.NotInFull == "" && c.Was == "" && c.Pruned == nil && c.Foreseen == 0
	return plain && c.ToDigest.Validate() == nil && c.ToDigest.Algorithm() == digest.SHA256
}

// keeps reports whether the result has to hold a cache.
func (r *syncRows) keeps(c convert.SyncEntry) bool { return !isUsual(c) }

// add adds what happened to a cache.
func (r *syncRows) add(c convert.SyncEntry) {
	row := syncRow{to: c.To, moved: c.Moved, how: inResult}
	if isUsual(c) {
		if row.how = broughtOver; c.Skipped {
			row.how = thereAlready
		}
		_, _ = hex.Decode(row.root[:], []byte(c.ToDigest.Encoded())) // it is valid
	}
	last := len(r.blocks) - 1
	if last < 0 || len(r.blocks[last]) == rowsInBlock {
		last++
		r.blocks = append(r.blocks, make([]syncRow, 0, rowsInBlock))
	}
	r.blocks[last] = append(r.blocks[last], row)
}

// all returns what is known of all caches. kept are those that the result holds.
func (r *syncRows) all(kept []convert.SyncEntry) iter.Seq[convert.SyncEntry] {
	return func(yield func(convert.SyncEntry) bool) {
		for _, block := range r.blocks {
			for _, row := range block {
				c := convert.SyncEntry{To: row.to, Skipped: row.how == thereAlready, Effort: layout.Effort{Moved: row.moved}}
				if row.how == inResult {
					c, kept = kept[0], kept[1:]
				} else {
					c.ToDigest = digest.NewDigestFromBytes(digest.SHA256, row.root[:])
				}
				if !yield(c) {
					return
				}
			}
		}
	}
}
