package layout

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/internal/durable"
)

// BuildKits before v0.34 write to a layout without a lock, and reuse the blobs they find there, however old. Nobody can see that they
// do; what can be seen of them is below. gc breaks an export that shows no such sign and writes index.json only after gc has
// removed what the export had found there.

// writesLately is how recently an export that is still going on must have written to a blob. One that was interrupted blocks gc for
// this long.
const writesLately = time.Hour

// lookAtIngest notes whether somebody seems to be writing blobs without the lock.
func (c *collector) lookAtIngest() (err error) {
	dir, err := c.root.Open(ingestName)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, durable.ErrSymlink) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	items, err := dir.List()
	if err != nil {
		return err
	}
	for _, item := range items {
		ours, err := isIngest(dir, item)
		var modified time.Time
		if err == nil && ours {
			_, modified, err = dir.Tree(item.Name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if ours && c.isYoung(modified) && c.now.Sub(modified) < writesLately {
			c.result.Writing = ingestName + "/" + item.Name
		}
	}
	return nil
}

// isYoung reports whether something is too young to be removed.
func (c *collector) isYoung(modified time.Time) bool {
	return c.o.Grace > 0 && c.now.Sub(modified) < c.o.Grace
}

// spare returns the unreached blobs that stay: young ones, and those that a young one mentions, which was written for an entry yet to
// come. While somebody seems to be writing, all of them stay.
func (c *collector) spare(ctx context.Context, reached map[digest.Digest]bool) (map[digest.Digest]bool, error) {
	young := &speech{dir: c.dir, has: c.has, reached: maps.Clone(reached)}
	for _, s := range c.stores {
		for blob, item := range s.blobs {
			if !reached[blob] && (c.result.Writing != "" || c.isYoung(item.Modified)) {
				young.reached[blob] = true
				young.next = append(young.next, blob)
			}
		}
	}
	return young.reached, young.follow(ctx)
}

// errIndexChanged says that what index.json reaches has to be determined again.
var errIndexChanged = errors.New("index.json has changed")

// noteIndex remembers which index.json is about to be read. A change between this and the reading counts as one after it.
func (c *collector) noteIndex() (err error) {
	c.noted, err = c.root.Stat(indexName)
	return err
}

// checkIndex fails with errIndexChanged if index.json is no longer the one that was read.
func (c *collector) checkIndex() error {
	now, err := c.root.Stat(indexName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if now != c.noted {
		return errIndexChanged
	}
	return nil
}

// isIngest reports whether something in ingest/ is a blob begun by containerd's content store, which BuildKit uses as well: a
// directory named after a digest, with none but the files below.
func isIngest(dir *durable.Dir, item durable.Item) (_ bool, err error) {
	if item.Type != fs.ModeDir || digest.SHA256.Validate(item.Name) != nil {
		return false, nil
	}
	begun, err := dir.Open(item.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, begun.Close()) }()
	files, err := begun.List()
	for _, file := range files {
		switch strings.TrimSuffix(file.Name, ".tmp") {
		case "data", "ref", "startedat", "updatedat", "total":
		default:
			return false, err
		}
		if file.Type != 0 {
			return false, err
		}
	}
	return true, err
}
