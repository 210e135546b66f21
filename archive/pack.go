package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/layout"
)

// packVerb is what events say that happens to blobs.
const packVerb = "pack"

// copyBuffer is how much of a blob is read at once, in bytes.
const copyBuffer = 1 << 20

// Chosen is a root that is to go into an archive, and the place that it and its blobs are read from.
type Chosen struct {
	Source layout.Source
	Entry  layout.Entry
}

// Target says where an archive goes. One of the two is set.
type Target struct {
	// File is the path. With volumes, FILE.001 and so on are made.
	File string
	// Stream takes the archive. It is written to from another goroutine, which outlives Pack where a Write blocks
	// while the context is done.
	Stream io.Writer
}

// PackOptions are for Pack. The zero value makes a whole archive in one file.
type PackOptions struct {
	// Have says what the far side holds: it is left out, and the archive says that it is required.
	Have []Holder
	// VolumeSize splits the archive into volumes of that many bytes; 0 does not.
	VolumeSize int64
	// Parity is how many recovery volumes to add: so many volumes, any of them, can be lost.
	Parity int
	// DryRun says what would be packed, and writes nothing.
	DryRun bool
	// Work is the work directory of the file, where the caller has opened it already; nil else.
	Work *Work
	// Layout says how long to wait for the lock of another process that packs to the same file.
	Layout  layout.Options
	OnEvent layout.Handler
}

// PackedTag is a root in an archive.
type PackedTag struct {
	Tag    string        `json:"tag"` // "" for none
	Digest digest.Digest `json:"digest"`
	Kind   string        `json:"kind"` // KindCache or KindImage
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
}

// Pack writes roots and all that they reach into an archive. The same content gives the same bytes. Every blob is verified
// while it is written; one that is damaged ends it, with nothing published and nothing left behind. What has the file's
// name stays whole until then.
//
// Errors carry types: *layout.BlobError for bad blobs, *TagConflictError for two roots with one tag, *layout.LockedError
// where another process packs to the same file; ErrSplit where volumes can't be as asked for.
func Pack(ctx context.Context, chosen []Chosen, to Target, o PackOptions) (result *PackResult, err error) {
	if to.Stream == nil {
		if err := checkTarget(to.File); err != nil {
			return nil, err
		}
	}
	plan, err := planPack(ctx, chosen, o)
	if err != nil {
		return nil, err
	}
	if result, err = plan.result(to, o); err != nil || o.DryRun {
		return result, err
	}
	if to.Stream != nil {
		err = plan.writeStream(ctx, to.Stream, o)
	} else {
		err = plan.writeFile(ctx, to.File, o)
	}
	if err != nil {
		return nil, err
	}
	return result, nil
}

// writeFile writes the archive beside file, and gives it its name in the end.
func (p *packPlan) writeFile(ctx context.Context, file string, o PackOptions) (err error) {
	work := o.Work
	if work == nil {
		if work, err = OpenWork(ctx, file, o.Layout); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, work.Close()) }()
	}
	out, err := newOutput(work, p, o)
	if err != nil {
		return err
	}
	return p.writeTo(ctx, out, o.OnEvent)
}

// planPack finds out what the roots reach and what of it goes into the archive, and whether that is there.
func planPack(ctx context.Context, chosen []Chosen, o PackOptions) (*packPlan, error) {
	roots := make([]rooted, len(chosen))
	for i, c := range chosen {
		blobs, err := layout.Graph(ctx, c.Source, c.Entry.Root)
		if err != nil {
			return nil, fmt.Errorf("%s: root %s: %w", sourceName(c.Source), c.Entry.Root.Digest, err)
		}
		raw, err := layout.ReadBlob(ctx, c.Source, c.Entry.Root, buildcache.MaxRoot)
		if err != nil {
			return nil, fmt.Errorf("read root: %w", err)
		}
		roots[i] = rooted{Chosen: c, kind: kindOf(raw), blobs: blobs}
	}
	held, err := heldBlobs(ctx, roots, o.Have)
	if err != nil {
		return nil, err
	}
	plan, err := newPackPlan(roots, held)
	if err != nil {
		return nil, err
	}
	for _, entry := range plan.entries {
		if err := entry.look(ctx); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

// look fails where a blob is missing or has another size, as far as that can be told cheaply: better now than after
// hours.
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
			Digest: e.blob.Digest, Place: sourceName(e.source),
			Err: fmt.Errorf("%w: want %d bytes, got %d", layout.ErrBlobSize, e.size, size),
		}
	}
	return nil
}

// result says what the plan comes to.
func (p *packPlan) result(to Target, o PackOptions) (*PackResult, error) {
	result := &PackResult{ID: p.id, Size: p.total, DryRun: o.DryRun, Tags: []PackedTag{}}
	for _, root := range p.roots {
		result.Tags = append(result.Tags, PackedTag{Tag: root.Entry.Tag, Digest: root.Entry.Root.Digest, Kind: root.kind})
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
		return result, nil
	case o.VolumeSize == 0:
		return nil, fmt.Errorf("%w: recovery volumes need volumes", ErrSplit)
	case to.Stream != nil:
		return nil, fmt.Errorf("%w: a stream has no volumes", ErrSplit)
	}
	dir, stem := filepath.Split(to.File)
	list, err := planVolumes(stem, p.total, p.id, o.VolumeSize, o.Parity)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", to.File, ErrSplit, err)
	}
	result.Volumes, result.RecoveryVolumes = cap(list.sums), o.Parity
	for i := range result.Volumes {
		result.Files = append(result.Files, dir+list.volumeFile(stem, i))
	}
	for i := range o.Parity {
		result.Files = append(result.Files, dir+recoveryFile(stem, i+1))
	}
	result.Files = append(result.Files, to.File+listSuffix)
	return result, nil
}

func newOutput(work *Work, plan *packPlan, o PackOptions) (output, error) {
	if o.VolumeSize > 0 {
		return newVolumes(work.dir, work.file, plan.total, plan.id, o.VolumeSize, o.Parity, work.fs())
	}
	return newFileOutput(work.dir, work.file, work.fs())
}

// writeStream writes the archive to w. A Write that blocks, as into a pipe that nobody reads, is left alone once ctx is
// done.
func (p *packPlan) writeStream(ctx context.Context, w io.Writer, o PackOptions) error {
	done := make(chan error, 1)
	go func() { done <- p.writeTo(ctx, newStreamOutput(w), o.OnEvent) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// writeTo writes the archive to out and commits it, or discards it.
func (p *packPlan) writeTo(ctx context.Context, out output, handler layout.Handler) error {
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
			return fmt.Errorf("entry %s would stand at %d instead of %d", entry.name, tar.offset, entry.offset)
		}
		if err := tar.begin(entry.name, entry.size); err != nil {
			return err
		}
		if err := entry.writeTo(ctx, tar, buffer, handler); err != nil {
			return err
		}
		if err := tar.end(entry.size); err != nil {
			return err
		}
	}
	return tar.finish()
}

// writeTo writes the bytes of an entry. Those of a blob are verified.
func (e *tarEntry) writeTo(ctx context.Context, w io.Writer, buffer []byte, handler layout.Handler) error {
	if e.source == nil {
		_, err := w.Write(e.data)
		return err
	}
	return handler.Track(packVerb, e.blob.Digest, e.size, func(done func(int64)) (err error) {
		raw, err := layout.OpenVerified(ctx, e.source, e.blob)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, raw.Close()) }()
		_, err = io.CopyBuffer(&countingWriter{w: w, done: done}, struct{ io.Reader }{raw}, buffer)
		return err
	})
}

// countingWriter tells how much went through it.
type countingWriter struct {
	w    io.Writer
	done func(bytes int64)
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.done(int64(n))
	return n, err
}

// PackChanged makes an archive of what change tags in the place that it is given: a place over src whose blobs need no
// copying; see NewStaging. The archive is made beside to.File, and so is what change writes;
// for a stream or a dry run that is in the directory for temporary files.
func PackChanged(
	ctx context.Context, src Store, to Target, o PackOptions, change func(ctx context.Context, dst layout.Place) error,
) (result *PackResult, err error) {
	file := to.File
	if o.DryRun {
		file = "" // nothing is written where it would be
	}
	work, err := OpenWork(ctx, file, o.Layout)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, work.Close()) }()
	stage, err := work.Stage(ctx, src)
	if err != nil {
		return nil, err
	}
	if err := change(ctx, stage); err != nil {
		return nil, err
	}
	entries, err := stage.Entries(ctx)
	if err != nil {
		return nil, err
	}
	chosen := make([]Chosen, len(entries))
	for i, entry := range entries {
		chosen[i] = Chosen{Source: stage, Entry: entry}
	}
	o.Work = work
	return Pack(ctx, chosen, to, o)
}
