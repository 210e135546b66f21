package layout

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ocicache/ocicache/buildcache"
)

// Recipe says how a blob was made of another. The same recipe gives the same bytes.
type Recipe struct {
	From        digest.Digest          `json:"from"`
	Compression buildcache.Compression `json:"compression"`
	Level       int                    `json:"level"`
	Version     string                 `json:"version"` // of the encoder, as its bytes depend on it
}

// Memory is a place that remembers what was recompressed to what. Losing it costs time, nothing else.
type Memory interface {
	// Recall returns what the recipes gave, for those whose outcome is still there.
	Recall(ctx context.Context) (map[Recipe]buildcache.Blob, error)
	// Remember notes an outcome.
	Remember(ctx context.Context, recipe Recipe, outcome buildcache.Blob) error
}

const (
	journalName = "journal"
	// maxJournal is how much of a journal is read, and how long it may get, in bytes.
	maxJournal = 32 << 20
)

// journalLine is one line of the journal.
type journalLine struct {
	Recipe
	Digest           digest.Digest `json:"digest"`
	Size             int64         `json:"size"`
	DiffID           digest.Digest `json:"diffID"`
	TOCDigest        digest.Digest `json:"tocDigest,omitempty"`
	UncompressedSize int64         `json:"uncompressedSize,omitempty"`
}

func (d *Dir) journalPath() string { return filepath.Join(d.state(), journalName) }

// Recall reads the journal. Lines that can't be read, torn ones among them, are passed over, and so are outcomes
// whose blob is gone or has another size.
func (d *Dir) Recall(ctx context.Context) (map[Recipe]buildcache.Blob, error) {
	known := map[Recipe]buildcache.Blob{}
	file, err := os.OpenFile(d.journalPath(), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	lines := bufio.NewScanner(io.LimitReader(file, maxJournal))
	lines.Buffer(nil, maxJournal+1) // no line, however long, hides those behind it
	for lines.Scan() {
		var line journalLine
		if json.Unmarshal(lines.Bytes(), &line) != nil || buildcache.CheckDigest(line.DiffID) != nil {
			continue
		}
		has, err := d.Has(ctx, buildcache.Descriptor{Digest: line.Digest, Size: line.Size})
		if err != nil || !has {
			continue
		}
		known[line.Recipe] = buildcache.Blob{
			Digest: line.Digest, Size: line.Size, Compression: line.Compression, DiffID: line.DiffID,
			TOCDigest: line.TOCDigest, UncompressedSize: line.UncompressedSize,
		}
	}
	return known, nil
}

// Remember adds a line to the journal. A journal that has grown too long starts anew.
func (d *Dir) Remember(_ context.Context, recipe Recipe, outcome buildcache.Blob) error {
	line, err := json.Marshal(journalLine{
		Recipe: recipe, Digest: outcome.Digest, Size: outcome.Size, DiffID: outcome.DiffID,
		TOCDigest: outcome.TOCDigest, UncompressedSize: outcome.UncompressedSize,
	})
	if err != nil {
		return err
	}
	if info, err := os.Stat(d.journalPath()); err == nil && info.Size() > maxJournal {
		if err := os.Remove(d.journalPath()); err != nil {
			return err
		}
	}
	// A line torn by a crash must not spoil this one, so each begins with an end of line.
	return d.fs.Append(d.journalPath(), bytes.Join([][]byte{nil, line, nil}, []byte("\n")))
}
