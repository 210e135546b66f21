package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/dustin/go-humanize"
	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/volumes"
	"github.com/ocicache/ocicache/layout"
)

// packVerb is what events say happens to a blob.
const packVerb = "pack"

// copyBuffer is how much of a blob is read at once, in bytes.
const copyBuffer = 1 << 20

// Chosen is a root to pack, and the place from which it and its blobs are read.
type Chosen struct {
	Source layout.Source
	Entry  layout.Entry
}

// Target says where an archive goes. One of the two is set.
type Target struct {
	// File is the path. With volumes, FILE.001 and so on are made.
	File string
	// Stream receives the archive. Another goroutine writes to it, and outlives Pack if a Write blocks when the context is
	// done.
	Stream io.Writer
}

// PackOptions are for Pack. The zero value makes a whole archive in one file.
type PackOptions struct {
	// Have says what the far side holds. It is left out, and the archive says that it is required.
	Have []Holder
	// VolumeSize splits the archive into volumes of that many bytes; 0 does not.
	VolumeSize int64
	// Parity is how many recovery volumes to add: any volumes can be lost, up to this number.
	Parity int
	// Overwrite lets the archive replace an older one with its name that Pack wrote: FILE if both are a single file, and
	// volumes that a list of ours proves to be ours. Without it, all names that the archive could need must be free.
	Overwrite bool
	// DryRun says what would be packed, and writes nothing.
	DryRun bool
	// Change turns a root that goes into the archive into another one, tags that in dst, and returns it. dst lies next to
	// the archive, for a stream among the temporary files, and shows the blobs of the root's source too, so that these
	// need no copying. Change may return the entry as it is. nil changes nothing.
	Change func(ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place) (layout.Entry, error)
	// Layout says how long to wait for the lock of another process that packs to the same file.
	Layout  layout.Options
	OnEvent layout.Handler
}

// claim says how the names of the archive are claimed.
func (o PackOptions) claim() volumes.TargetOptions {
	return volumes.TargetOptions{Split: o.VolumeSize > 0, Overwrite: o.Overwrite, Ours: isOurs}
}

// PackedTag is a root in an archive.
type PackedTag struct {
	Tag    string        `json:"tag"` // "" for none
	Digest digest.Digest `json:"digest"`
	Kind   layout.Kind   `json:"kind"` // of a cache or an image
}

// PackResult says what Pack wrote, or would write.
type PackResult struct {
	ID digest.Digest `json:"id"`
	// Files are what was written: the archive, or volumes, recovery volumes and their list; nil for a stream.
	Files           []string    `json:"files,omitempty"`
	Size            int64       `json:"size"` // of the tar, in bytes
	Volumes         int         `json:"volumes,omitempty"`
	RecoveryVolumes int         `json:"recoveryVolumes,omitempty"`
	DryRun          bool        `json:"dryRun,omitempty"`
	Tags            []PackedTag `json:"tags"`
	// Packed are the blobs in the archive, Required those that were left out because the far side has them.
	Packed   Count `json:"packed"`
	Required Count `json:"required"`
	// Notes say what in PackOptions.Have does not count, whether there are more recovery volumes than volumes, and in a dry run what
	// does not fit.
	Notes []string `json:"notes,omitempty"`

	onDisk int64 // the size of all Files together, in bytes
}

// Pack writes roots and everything that they reach into an archive. The same content gives the same bytes. Every blob is
// verified as it is written; a damaged one ends Pack, with nothing published and nothing left behind. Until the end,
// files that have the archive's names stay as they were.
//
// Errors have types: *layout.BlobError for bad blobs, *TagConflictError for two roots with one tag, *ExistsError for names
// that are taken, *NameError for a name like a volume's, *OccupiedError for a file that is part of a source, *layout.LockedError if another
// process packs to the same file, *layout.RoomError and *FullError for a full disk, and ErrSplit for volumes that can't be made as asked.
func Pack(ctx context.Context, chosen []Chosen, to Target, o PackOptions) (result *PackResult, err error) {
	if (to.File == "") == (to.Stream == nil) {
		return nil, errors.New("an archive can be written to a file or to a stream, but not both")
	}
	w, err := begin(ctx, chosen, to, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if o.Change != nil {
		// Find out what can't be packed before doing the work.
		if _, err := planPack(ctx, chosen, nil); err != nil {
			return nil, err
		}
		if chosen, err = w.change(ctx, chosen, o.Change); err != nil {
			return nil, orFull(err, 0)
		}
	}
	plan, err := planPack(ctx, chosen, o.Have)
	if err != nil {
		return nil, err
	}
	result, split, err := plan.result(to, o)
	if err == nil && o.DryRun && to.File != "" {
		result.noteRoom(filepath.Dir(to.File))
	}
	if err != nil || o.DryRun {
		return result, err
	}
	if to.Stream != nil {
		err = plan.writeStream(ctx, to.Stream, o)
	} else {
		if err := layout.CheckRoom(filepath.Dir(to.File), result.onDisk); err != nil {
			return nil, err
		}
		err = plan.writeFile(ctx, w, split, o.OnEvent)
	}
	if err != nil {
		return nil, orFull(err, result.onDisk)
	}
	return result, nil
}

// noteRoom adds a note in a dry run if the archive surely does not fit.
func (r *PackResult) noteRoom(dir string) {
	if err := layout.CheckRoom(dir, r.onDisk); err != nil {
		r.Notes = append(r.Notes, fmt.Sprintf("not enough space: %v", err))
	}
}

// begin makes sure that the archive can have its names, and opens the work directory, or returns nil if none is needed.
// In a dry run that directory is not where the archive would be.
func begin(ctx context.Context, chosen []Chosen, to Target, o PackOptions) (*work, error) {
	if to.Stream == nil {
		if err := o.checkOccupied(to.File, sources(chosen)); err != nil {
			return nil, err
		}
		if !o.DryRun {
			return openFileWork(ctx, to.File, o)
		}
		if _, err := volumes.Claim(ctx, to.File, o.claim()); err != nil {
			return nil, err
		}
	}
	if o.Change == nil {
		return nil, nil
	}
	return openStreamWork(ctx, o.Layout)
}

// change calls change for every root. Roots of one source share a place.
func (w *work) change(
	ctx context.Context, chosen []Chosen,
	change func(context.Context, layout.Source, layout.Entry, layout.Place) (layout.Entry, error),
) ([]Chosen, error) {
	changed := make([]Chosen, len(chosen))
	for i, c := range chosen {
		at := slices.IndexFunc(chosen[:i], func(other Chosen) bool { return layout.Same(other.Source, c.Source) })
		var stage layout.Place
		if at >= 0 {
			stage, _ = changed[at].Source.(layout.Place) // it is one
		} else {
			var err error
			if stage, err = w.stage(ctx, c.Source); err != nil {
				return nil, err
			}
		}
		entry, err := change(ctx, c.Source, c.Entry, stage)
		if err != nil {
			return nil, err
		}
		changed[i] = Chosen{Source: stage, Entry: entry}
	}
	return changed, nil
}

// writeFile writes the archive in its work directory, and gives it its names at the end.
func (p *packPlan) writeFile(ctx context.Context, w *work, split *volumes.Plan, handler layout.Handler) error {
	out, err := volumes.Create(w.dir, w.target, split, durable.On(ctx))
	if err != nil {
		return err
	}
	return p.writeTo(ctx, out, handler)
}

func sources(chosen []Chosen) []layout.Source {
	all := make([]layout.Source, len(chosen))
	for i, c := range chosen {
		all[i] = c.Source
	}
	return all
}

// planPack finds out what the roots reach, how much of that goes into the archive, and whether that is there.
func planPack(ctx context.Context, chosen []Chosen, have []Holder) (*packPlan, error) {
	roots, first := make([]rooted, len(chosen)), map[digest.Digest]int{}
	for i, c := range chosen {
		root := c.Entry.Descriptor.Digest
		if at, ok := first[root]; ok && layout.Same(c.Source, roots[at].Source) { // another tag of it
			c.Entry.Kind, c.Entry.Err = roots[at].Entry.Kind, roots[at].Entry.Err
			roots[i] = rooted{Chosen: c, blobs: roots[at].blobs}
			continue
		}
		blobs, err := layout.Graph(ctx, c.Source, c.Entry.Descriptor)
		if err != nil {
			return nil, fmt.Errorf("%s: root %s: %w", c.Source.String(), root, err)
		}
		if c.Entry, err = layout.Classify(ctx, c.Source, c.Entry); err != nil {
			return nil, fmt.Errorf("read root: %w", err)
		}
		roots[i], first[root] = rooted{Chosen: c, blobs: blobs}, i
	}
	held, notes, err := heldBlobs(ctx, roots, have)
	if err != nil {
		return nil, err
	}
	plan, err := newPackPlan(roots, held)
	if err != nil {
		return nil, err
	}
	plan.notes = notes
	for _, entry := range plan.entries {
		if err := entry.look(ctx); err != nil {
			return nil, entry.blame(err)
		}
	}
	return plan, nil
}

// blame adds to the error about a blob which tag it belongs to, and whether it is the root or the cache config of a cache.
func (e *tarEntry) blame(err error) error {
	var blob *layout.BlobError
	if !errors.As(err, &blob) {
		return err
	}
	switch {
	case e.of.Kind.IsImage():
		err = &layout.OfImageError{Err: err}
	case e.of.Kind != layout.KindCache:
	case e.blob.Digest == e.of.Descriptor.Digest:
		err = &layout.UnreadError{What: "root", Err: err}
	case e.blob.MediaType == buildcache.MediaTypeConfig:
		err = &layout.UnreadError{What: "cache config", Err: err}
	}
	if e.of.Tag == "" {
		return err
	}
	return fmt.Errorf("%s, tag %s: %w", e.source, e.of.Tag, err)
}

// look fails if a blob is missing or has another size, as far as that can be told cheaply: better now than hours
// later.
func (e *tarEntry) look(ctx context.Context) error {
	files, ok := e.source.(layout.RandomAccess)
	if !ok {
		return nil
	}
	section, err := files.OpenAt(ctx, e.blob)
	if err != nil {
		return err
	}
	size := section.Size()
	if err := section.Close(); err != nil {
		return err
	}
	if size != e.size {
		return &layout.BlobError{
			Digest: e.blob.Digest, Place: e.source.String(),
			Err: fmt.Errorf("%w: want %d bytes, got %d", layout.ErrBlobSize, e.size, size),
		}
	}
	return nil
}

// result says what the plan amounts to, and how the archive is split; nil if it is not.
func (p *packPlan) result(to Target, o PackOptions) (*PackResult, *volumes.Plan, error) {
	result := &PackResult{ID: p.id, Size: p.total, onDisk: p.total, DryRun: o.DryRun, Tags: []PackedTag{}, Notes: p.notes}
	for _, root := range p.roots {
		result.Tags = append(result.Tags, PackedTag{Tag: root.Entry.Tag, Digest: root.Entry.Descriptor.Digest, Kind: root.Entry.Kind})
	}
	for _, blob := range p.description.Blobs {
		result.Packed.add(blob.Size)
	}
	for _, blob := range p.description.Requires {
		result.Required.add(blob.Size)
	}
	switch {
	case o.VolumeSize == 0 && o.Parity == 0:
		if to.Stream == nil {
			result.Files = []string{to.File}
		}
		return result, nil, nil
	case o.VolumeSize == 0:
		return nil, nil, fmt.Errorf("%w: recovery volumes need volumes", ErrSplit)
	case to.Stream != nil:
		return nil, nil, fmt.Errorf("%w: a stream can't have volumes", ErrSplit)
	}
	split, err := volumes.NewPlan(to.File, p.total, p.id.String(), o.VolumeSize, o.Parity)
	if err != nil {
		return nil, nil, err
	}
	result.Volumes, result.RecoveryVolumes, result.Files, result.onDisk = split.Volumes(), o.Parity, split.Files(), split.Bytes()
	if o.Parity > split.Volumes() {
		result.Notes = append(slices.Clip(result.Notes), fmt.Sprintf("there are more recovery volumes than volumes: %s in all files together, for an archive of %s",
			humanize.Bytes(uint64(max(result.onDisk, 0))), humanize.Bytes(uint64(max(p.total, 0)))))
	}
	return result, split, nil
}

// writeStream writes the archive to w. A Write that blocks, as into a pipe that nobody reads, is abandoned once ctx is
// done.
func (p *packPlan) writeStream(ctx context.Context, w io.Writer, o PackOptions) error {
	done := make(chan error, 1)
	go func() { done <- p.writeTo(ctx, volumes.NewStream(w), o.OnEvent) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// writeTo writes the archive to out and commits it, or discards it.
func (p *packPlan) writeTo(ctx context.Context, out volumes.Writer, handler layout.Handler) error {
	if err := p.write(ctx, out, handler); err != nil {
		return errors.Join(err, out.Discard())
	}
	return out.Commit(ctx)
}

// write writes the tar.
func (p *packPlan) write(ctx context.Context, out io.Writer, handler layout.Handler) error {
	event := layout.Event{Kind: layout.EventPlan, Verb: packVerb}
	for _, blob := range p.description.Blobs {
		event.Count++
		event.Total += blob.Size
	}
	handler.Send(event)
	tar, buffer := &tarWriter{w: out}, make([]byte, copyBuffer)
	for _, entry := range p.entries {
		if tar.offset != entry.offset {
			return fmt.Errorf("entry %s would start at byte %d instead of %d", entry.name, tar.offset, entry.offset)
		}
		if err := tar.begin(entry.name, entry.size); err != nil {
			return err
		}
		if err := entry.writeTo(ctx, tar, buffer, handler); err != nil {
			return entry.blame(err)
		}
		if err := tar.end(entry.size); err != nil {
			return err
		}
	}
	return tar.finish()
}

// writeTo writes the bytes of an entry. It verifies those of a blob.
func (e *tarEntry) writeTo(ctx context.Context, w io.Writer, buffer []byte, handler layout.Handler) error {
	if e.source == nil {
		_, err := w.Write(e.data)
		return err
	}
	return handler.Track(packVerb, e.blob.Digest, e.size, func(done func(int64)) (err error) {
		open := func() (io.ReadCloser, error) { return layout.OpenVerified(ctx, e.source, e.blob) }
		raw, err := layout.Counted(ctx, open, done)()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, raw.Close()) }()
		_, err = io.CopyBuffer(w, struct{ io.Reader }{raw}, buffer)
		return err
	})
}
