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

// BuildKits before v0.34 write to a layout without a lock, and take the blobs that they find there as they are, however old. Nobody can
// see that they have; what can be seen of them is below. An export that is seen by none of it, and that writes index.json only
// after gc has removed what it had found there, is broken by that.

// writesLately is how long ago an export that is still going on has written to a blob at the latest. What one left that was interrupted
// keeps gc from its work for so long.
const writesLately = time.Hour

// lookAtIngest notes whether somebody seems to be writing blobs. Whoever takes the lock can't be.
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

// spare returns the blobs that are not reached and stay: those that are young, and those that a young one speaks of, which was
// written for an entry that is to come. While somebody seems to be writing, they are all.
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

// errIndexChanged says that what index.json reaches has to be found out anew.
var errIndexChanged = errors.New("index.json has changed")

// noteIndex remembers which index.json is about to be read. A change between here and the reading is taken for one that came later.
func (c *collector) noteIndex() (err error) {
	c.noted, err = c.root.Stat(indexName)
	return err
}

// checkIndex fails with errIndexChanged where index.json is not the one any more that was read.
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

// isIngest reports whether something in ingest/ is a blob that containerd's store, which is BuildKit's too, has begun: a
// directory that is named after a digest, with nothing but these files.
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
