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

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
)

// Recipe says how one blob was made from another. The same recipe gives the same bytes.
type Recipe struct {
	From        digest.Digest          `json:"from"`
	Compression buildcache.Compression `json:"compression"`
	Level       int                    `json:"level"`
	Version     string                 `json:"version"` // of the encoder, which its bytes depend on
}

// Journal is a place that remembers what was recompressed to what. Losing that only costs time, so an error of a journal
// is no reason to fail.
type Journal interface {
	// Recall returns what the recipes are claimed to have produced, for outcomes that are still there. Neither their
	// digests nor their diffIDs have been proved.
	Recall(ctx context.Context) (map[Recipe]buildcache.Blob, error)
	// Remember records an outcome.
	Remember(ctx context.Context, recipe Recipe, outcome buildcache.Blob) error
}

const (
	journalName = "journal"
	// maxJournal is how many bytes of a journal are read, and how long it may grow.
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

// Recall reads the journal. It skips lines that can't be read, such as torn ones, and outcomes whose blob is gone or has another
// size. What it returns are claims of whoever can write to the layout: the caller has to prove that a blob has these bytes, and
// that they are the outcome.
func (d *Dir) Recall(ctx context.Context) (map[Recipe]buildcache.Blob, error) {
	known := map[Recipe]buildcache.Blob{}
	file, err := d.openJournal(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	lines := bufio.NewScanner(io.LimitReader(file, maxJournal))
	lines.Buffer(nil, maxJournal+1) // no line is so long that it hides those after it
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

// openJournal opens the journal to read it.
func (d *Dir) openJournal(ctx context.Context) (_ *os.File, err error) {
	root, err := d.openRoot(durable.On(ctx))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	state, err := root.Open(stateName)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	file, _, err := state.OpenRegular(journalName)
	return file, err
}

// Remember adds a line to the journal. A journal that has grown too long starts over.
func (d *Dir) Remember(ctx context.Context, recipe Recipe, outcome buildcache.Blob) (err error) {
	line, err := json.Marshal(journalLine{
		Recipe: recipe, Digest: outcome.Digest, Size: outcome.Size, DiffID: outcome.DiffID,
		TOCDigest: outcome.TOCDigest, UncompressedSize: outcome.UncompressedSize,
	})
	if err != nil {
		return err
	}
	desk, err := d.openDesk(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, desk.Close()) }()
	file, size, err := desk.state.OpenRegular(journalName)
	if err == nil {
		err = file.Close()
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil && size > maxJournal {
		err = desk.state.Remove(journalName)
	}
	if err != nil {
		return err
	}
	// A line torn by a crash must not spoil this one, so each one starts with a newline.
	return desk.state.Append(journalName, bytes.Join([][]byte{nil, line, nil}, []byte("\n")))
}
