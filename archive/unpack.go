package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// UnpackOptions are for Unpack and UnpackStream. The zero value unpacks everything that has a tag.
type UnpackOptions struct {
	// Tags chooses the tags to unpack; nil for all.
	Tags func(tag string) bool
	// Tag is the tag for the root that has none in the archive, if there is only one such root; "" for latest.
	Tag string
	// Base is where to look for required blobs that the layout does not have; nil for none.
	Base layout.Source
	// Create makes the layout if dst is nil, once it is known that nothing is missing, or before that for a stream that says so
	// only at its end. A dry run calls it too; then it must fail as it otherwise would, but make and return no layout.
	Create func(ctx context.Context) (*layout.Dir, error)
	// DryRun says what would be done, and does none of it. The layout may be nil then.
	DryRun bool
	// Jobs is how many blobs to work on at once; 0 for one per processor.
	Jobs int
	// MaxSize is how many bytes a compressed stream may unpack to; 0 for DefaultMaxSize plus 100 times what was read of
	// it. An uncompressed stream has no limit: its bytes are there.
	MaxSize int64
	// OnEvent is told of progress.
	OnEvent layout.Handler
}

// Count is how many blobs there are of something, and their size together.
type Count struct {
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
}

func (c *Count) add(size int64) {
	c.Blobs++
	c.Bytes += size
}

// UnpackedTag is what became of one tag.
type UnpackedTag struct {
	Tag    string        `json:"tag"`
	Digest digest.Digest `json:"digest"`
	// Was is what the tag named before, "" for a new tag. If it equals Digest, nothing had to be done.
	Was  digest.Digest `json:"was,omitempty"`
	Kind layout.Kind   `json:"kind"` // of a cache or an image
}

// UnpackResult says what Unpack did, or would do.
type UnpackResult struct {
	Archive string        `json:"archive"`
	ID      digest.Digest `json:"id,omitempty"` // "" for archives from other tools
	DryRun  bool          `json:"dryRun"`
	Tags    []UnpackedTag `json:"tags"`
	// Written counts blobs that were written from the archive, FromBase those from the base, and Present those that were
	// already there, with the right bytes.
	Written  Count `json:"written"`
	FromBase Count `json:"fromBase"`
	Present  Count `json:"present"`
	// Unneeded counts blobs in the archive that no chosen tag needs.
	Unneeded Count `json:"unneeded"`
	// PassedOver is how many files in the archive do not belong to a layout.
	PassedOver int      `json:"passedOver"`
	Notes      []string `json:"notes,omitempty"`

	proved map[digest.Digest]int64 // blobs of the layout whose bytes this run has seen to be right
}

// Unpack brings the caches and images of an archive into a layout. Before it writes anything it makes sure that everything
// is there: in the archive, in the layout with the right bytes, or in the base; else it fails with a *MissingError that
// lists what is not. Blobs are verified as they are written. The tags move last; tags of the layout that the archive does
// not have stay. After an interruption, the next run uses what was left.
func Unpack(ctx context.Context, a *Archive, dst *layout.Dir, o UnpackOptions) (*UnpackResult, error) {
	if o.Base == nil {
		o.Base = a.base
	}
	w := newUnpacker(a, dst, o)
	w.result.ID, w.result.PassedOver = a.id, a.passed
	w.result.Notes = append(w.result.Notes, a.notes...)
	entries, err := a.Entries(ctx)
	if err != nil {
		return nil, err
	}
	found, err := w.findOut(ctx, &a.parsed, entries)
	if err != nil {
		return nil, err
	}
	needed := map[digest.Digest]bool{}
	for _, n := range found.needs {
		needed[n.blob.Digest] = true
	}
	for blob, at := range a.blobs {
		if !needed[blob] {
			w.result.Unneeded.add(at.size)
		}
	}
	if err := w.begin(ctx, found); err != nil || o.DryRun {
		return w.result, errors.Join(err, w.finish())
	}
	err = w.write(ctx, found, inArchive, inBase)
	if err == nil {
		err = w.tag(ctx)
	}
	return w.result, errors.Join(err, w.finish())
}

// unpacker brings what was found into a layout.
type unpacker struct {
	joined
	o      UnpackOptions
	index  *buildcache.Index // of the layout, before anything was written
	roots  []layout.Entry
	unlock func() error

	resultMu sync.Mutex
	result   *UnpackResult
}

func newUnpacker(archive holder, dst *layout.Dir, o UnpackOptions) *unpacker {
	return &unpacker{
		joined: joined{archive: archive, dst: dst, base: o.Base}, o: o,
		result: &UnpackResult{Archive: archive.String(), DryRun: o.DryRun, Tags: []UnpackedTag{}, proved: map[digest.Digest]int64{}},
	}
}

// findOut finds out what the chosen entries need. It fails if something is missing.
func (w *unpacker) findOut(ctx context.Context, what *parsed, entries []layout.Entry) (*findings, error) {
	selected, notes, err := selectEntries(w.String(), entries, w.o)
	if err != nil {
		return nil, err
	}
	w.result.Notes = append(w.result.Notes, notes...)
	found, err := w.look(ctx, selected, w.o.Jobs)
	if err != nil {
		return nil, err
	}
	if len(found.partial) > 0 && what.description != nil {
		if err := w.addRequired(ctx, found, what.description, w.o.Jobs); err != nil {
			return nil, err
		}
	}
	return found, w.missing(found)
}

// begin prepares to write what was found. In a dry run it only says what would be written.
func (w *unpacker) begin(ctx context.Context, found *findings) error {
	if w.o.DryRun {
		if err := w.checkPrepare(ctx); err != nil {
			return err
		}
		if err := w.plan(ctx, found); err != nil {
			return err
		}
		return w.foretell(ctx, found)
	}
	if err := w.prepare(ctx); err != nil {
		return err
	}
	if err := w.plan(ctx, found); err != nil {
		return err
	}
	return w.recheck(ctx, found)
}

// prepare makes the layout if there is none, and locks it.
func (w *unpacker) prepare(ctx context.Context) (err error) {
	if w.unlock != nil {
		return nil
	}
	if w.dst == nil {
		if w.o.Create == nil {
			return errors.New("no layout to unpack to")
		}
		if w.dst, err = w.o.Create(ctx); err != nil {
			return err
		}
	}
	if err := w.readIndex(ctx); err != nil {
		return err
	}
	w.unlock, err = w.dst.Lock(ctx)
	return err
}

// checkPrepare is prepare for a dry run.
func (w *unpacker) checkPrepare(ctx context.Context) error {
	if w.dst != nil {
		return layout.CheckCreate(w.dst.String())
	}
	if w.o.Create == nil {
		return nil
	}
	_, err := w.o.Create(ctx)
	return err
}

// readIndex reads the layout's tags, once.
func (w *unpacker) readIndex(ctx context.Context) (err error) {
	switch {
	case w.index != nil:
	case w.dst == nil:
		w.index = buildcache.NewIndex()
	default:
		w.index, err = w.dst.Index(ctx)
	}
	return err
}

// finish releases the lock.
func (w *unpacker) finish() error {
	if w.unlock == nil {
		return nil
	}
	unlock := w.unlock
	w.unlock = nil
	return unlock()
}

// plan notes what the tags name and will name. A tag may move to another root, but not from a cache to an image or back.
func (w *unpacker) plan(ctx context.Context, found *findings) error {
	if err := w.readIndex(ctx); err != nil {
		return err
	}
	w.roots = found.roots
	byTag := w.index.ByTag()
	for _, root := range found.roots {
		tag := UnpackedTag{Tag: root.Tag, Digest: root.Descriptor.Digest, Kind: root.Kind}
		if at, ok := byTag[root.Tag]; ok {
			tag.Was = w.index.Entries[at].Digest
			if err := w.checkKind(ctx, tag, w.index.Entries[at]); err != nil {
				return err
			}
			w.noteMovedBack(ctx, root, w.index.Entries[at])
		}
		w.result.Tags = append(w.result.Tags, tag)
	}
	return nil
}

// checkKind refuses to replace an image by a cache, or a cache by an image.
func (w *unpacker) checkKind(ctx context.Context, tag UnpackedTag, was buildcache.Descriptor) error {
	if tag.Was == tag.Digest {
		return nil
	}
	old, err := layout.Classify(ctx, w.dst, layout.Entry{Descriptor: was})
	if err != nil {
		return err
	}
	if old.Kind == layout.KindCache && tag.Kind.IsImage() || old.IsForeign() && tag.Kind == layout.KindCache {
		return &layout.TakenError{Place: w.dst.String(), Tag: tag.Tag, Root: tag.Was, Is: old.Kind, Want: tag.Kind}
	}
	return nil // a broken root may be replaced, unless it shows that it is somebody else's
}

// recheck makes sure, now that nobody may delete, that what the layout had is still there.
func (w *unpacker) recheck(ctx context.Context, found *findings) error {
	for _, n := range found.needs {
		if n.at != inLayout {
			continue
		}
		has, err := w.dst.Has(ctx, n.blob)
		if err != nil {
			return err
		}
		if !has {
			n.at = nowhere
			continue
		}
		w.count(&w.result.Present, n.blob)
	}
	return w.missing(found)
}

// foretell counts what would be written. It reads what the layout has, as a real run does: a damaged blob is written
// again.
func (w *unpacker) foretell(ctx context.Context, found *findings) error {
	states := make([]blobState, len(found.needs))
	group, groupCtx := parallel.New(ctx, jobsOf(w.o.Jobs))
	for i, n := range found.needs {
		group.Go(func() (err error) {
			states[i], err = w.inspect(groupCtx, n.blob.Digest)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, n := range found.needs {
		switch {
		case states[i] == blobRight:
			w.result.Present.add(n.blob.Size)
		case n.at == inBase:
			w.result.FromBase.add(n.blob.Size)
		default:
			w.result.Written.add(n.blob.Size)
		}
	}
	return nil
}

// write brings the needed blobs of the given origins into the layout, several at once.
func (w *unpacker) write(ctx context.Context, found *findings, from ...origin) error {
	var total, lacking int64
	var blobs []*need
	for _, n := range found.needs {
		if !slices.Contains(from, n.at) {
			continue
		}
		blobs = append(blobs, n)
		total += n.blob.Size
		has, err := w.dst.Has(ctx, n.blob)
		if err != nil {
			return err
		}
		if !has {
			lacking += n.blob.Size
		}
	}
	if err := w.dst.CheckRoom(w.base, lacking); err != nil {
		return err
	}
	w.o.OnEvent.Send(layout.Event{Kind: layout.EventPlan, Verb: verb, Count: len(blobs), Total: total})
	group, ctx := parallel.New(ctx, jobsOf(w.o.Jobs))
	for _, n := range blobs {
		group.Go(func() error {
			if n.at == inBase {
				return w.put(ctx, n.blob, &w.result.FromBase, w.base, func() (io.ReadCloser, error) { return w.base.Open(ctx, n.blob) })
			}
			return w.put(ctx, n.blob, &w.result.Written, w, func() (io.ReadCloser, error) { return w.archive.openIn(ctx, n.blob) })
		})
	}
	return group.Wait()
}

// verb is what events say happens to a blob.
const verb = "unpack"

// put stores one blob, and counts it as written, or as present if it was already there with the right bytes.
func (w *unpacker) put(ctx context.Context, blob buildcache.Descriptor, written *Count, src fmt.Stringer, open layout.OpenFunc) error {
	opened := false
	err := w.o.OnEvent.Track(verb, blob.Digest, blob.Size, func(done func(int64)) error {
		err := w.dst.Put(ctx, blob, layout.Counted(ctx, func() (io.ReadCloser, error) {
			opened = true
			return open()
		}, done))
		return layout.BlameSource(err, src)
	})
	if err != nil {
		return err
	}
	if !opened {
		written = &w.result.Present
	}
	w.count(written, blob)
	return nil
}

// count notes that a blob is in the layout with the right bytes.
func (w *unpacker) count(as *Count, blob buildcache.Descriptor) {
	w.resultMu.Lock()
	defer w.resultMu.Unlock()
	as.add(blob.Size)
	w.result.proved[blob.Digest] = blob.Size
}

// tag moves the tags, all in one step, unless somebody else has moved one meanwhile.
func (w *unpacker) tag(ctx context.Context) error {
	var moves []layout.Tagging
	for i, root := range w.roots {
		if tag := w.result.Tags[i]; tag.Was != tag.Digest {
			moves = append(moves, layout.Tagging{Tag: root.Tag, Root: root.Descriptor, Was: tag.Was})
		}
	}
	if len(moves) == 0 {
		return nil
	}
	if err := w.dst.TagAll(ctx, moves); err != nil {
		return fmt.Errorf("move the tags: %w", err)
	}
	return nil
}
