package convert

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/layout"
)

// Convert changes one cache of src and stores it in dst, which may be src itself, under the given tag. The tag moves
// last, and only if the result was proved to be whole. An interrupted conversion leaves dst as it was, except for blobs
// that nothing names, and continues from there when it is run again.
//
// For a dry run, dst may be nil: a place that doesn't exist yet.
//
// Errors have types: *layout.BlobError, *DiffIDError and *TarError for bad layers, *EstargzError and *EmptyTarError for
// those that the wanted compression can't hold, *ProofError for a result that BuildKit would
// not import, *PreflightError for one that the destination's Rules refuse, *layout.TagMovedError, *layout.LockedError,
// *layout.TakenError.
func Convert(
	ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place, tag string, o Options,
) (result *Result, err error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if dst == nil && !o.DryRun {
		return nil, errNoDestination
	}
	if checker, ok := dst.(layout.TagChecker); ok {
		if err := checker.CheckTag(tag); err != nil { // before any layer is sent
			return nil, err
		}
	}
	begun := time.Now()
	o = o.normal()
	if o.decoder == nil {
		o.decoder = compress.NewDecoder()
	}
	if locker, ok := dst.(layout.Locker); ok && !o.DryRun {
		unlock, lockErr := locker.Lock(ctx)
		if lockErr != nil {
			return nil, lockErr
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	j, warnings, err := prepare(ctx, src, entry, dst, tag, o)
	if err != nil {
		return nil, err
	}
	if o.DryRun {
		result, err = j.preview(ctx)
	} else {
		result, err = j.carryOut(ctx)
	}
	if err != nil {
		if o.spent != nil {
			spent := j.spent()
			spent.Took = layout.Seconds(time.Since(begun))
			o.spent(spent)
		}
		return nil, err
	}
	result.Took = layout.Seconds(time.Since(begun))
	result.Notes = append(result.Notes, notesOf(warnings)...)
	return result, nil
}

// notesOf says what a registry may refuse.
func notesOf(warnings []buildcache.Problem) (notes []string) {
	for _, p := range warnings {
		notes = append(notes, fmt.Sprintf("the registry may refuse it: %s (%s)", p.Detail, p.Kind))
	}
	return notes
}

// prepare finds out what there is to do, and refuses what would fail in the end anyway.
func prepare(
	ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place, tag string, o Options,
) (*job, []buildcache.Problem, error) {
	was, err := target(ctx, src, entry, dst, tag, o.listed)
	if err != nil {
		return nil, nil, err
	}
	cache, err := layout.Load(ctx, src, entry)
	if err != nil {
		return nil, nil, err
	}
	if o.prunes() && layout.Same(src, dst) && tag == entry.Tag {
		return nil, nil, errPruneSource
	}
	whole := cache
	cache, pruning, err := o.cut(whole)
	if err != nil {
		return nil, nil, err
	}
	if prunesTagOf(src, entry, dst, was, cache) {
		return nil, nil, errPruneSource
	}
	if err := precheck(ctx, src, cache, o); err != nil {
		return nil, nil, err
	}
	known, err := gather(ctx, src, dst, cache, o)
	if err != nil {
		return nil, nil, err
	}
	cache, pruning, p, err := o.fitFirst(cache, pruning, known)
	if err != nil {
		return nil, nil, err
	}
	warnings, err := preflight(cache, p, o)
	if err != nil {
		return nil, nil, err
	}
	j := &job{
		src: src, dst: dst, inPlace: layout.Same(src, dst), tag: tag, was: was, cache: cache, whole: whole, pruning: pruning, plan: p, o: o,
	}
	j.forget(known.forgotten)
	return j, warnings, nil
}

// errNoDestination says that there is nowhere to write to.
var errNoDestination = errors.New("no destination to write to")

// errPruneSource says that dropping results on the way would drop them at the source.
var errPruneSource = errors.New("the result would replace its own source, which would lose what is pruned")

// prunesTagOf reports whether pruning would cut down the source itself: it was chosen by digest, and the destination's tag names it in
// the same place, which may have been opened twice.
func prunesTagOf(src layout.Source, entry layout.Entry, dst layout.Place, was digest.Digest, left *layout.Cache) bool {
	root := entry.Descriptor.Digest
	return entry.Tag == "" && was == root && left.Entry.Descriptor.Digest != root && src.String() == dst.String()
}

// job is a conversion that is ready to be carried out.
type job struct {
	src     layout.Source
	dst     layout.Place
	inPlace bool // src and dst are the same place
	tag     string
	was     digest.Digest // what tag names in dst
	cache   *layout.Cache
	// whole is the cache before pruning, nil if that is cache itself. pruning says what was dropped, nil if there are no rules.
	whole   *layout.Cache
	pruning *Pruning
	plan    *plan
	o       Options
	// finish makes root and config of the result from the executed plan; nil means assemble.
	finish func(*plan) (*layout.Cache, error)
	fitted *Pruning // what was dropped when the result was assembled, nil for nothing

	proved     atomic.Int64 // bytes of layers that were read only to prove something
	forgetting sync.Mutex
	forgotten  error // why the journal can't be used, for a note
}

// forget notes why the journal can't be used, only the first time. nil is ignored.
func (j *job) forget(err error) {
	j.forgetting.Lock()
	defer j.forgetting.Unlock()
	if j.forgotten == nil {
		j.forgotten = err
	}
}

// assembled makes root and config of the result.
func (j *job) assembled() (*layout.Cache, error) {
	if j.finish != nil {
		return j.finish(j.plan)
	}
	result, pruning, err := j.o.assemble(j.cache, j.plan)
	j.fitted = pruning
	return result, err
}

// target returns the digest that tag names in dst, "" for none. The tag must still name it at the end. dst is not asked if
// listed is given.
func target(
	ctx context.Context, src layout.Source, entry layout.Entry, dst layout.Place, tag string, listed *layout.Entry,
) (digest.Digest, error) {
	if dst == nil {
		return "", nil
	}
	if layout.Same(src, dst) && tag == entry.Tag {
		return entry.Descriptor.Digest, nil
	}
	if listed == nil {
		var err error
		if listed, err = layout.Find(ctx, dst, tag); err != nil {
			return "", err
		}
	}
	if listed == nil || listed.Descriptor.Digest == "" {
		return "", nil
	}
	found, err := layout.Classify(ctx, dst, *listed)
	if err != nil {
		return "", err
	}
	if found.IsForeign() {
		return "", &layout.TakenError{Place: dst.String(), Tag: tag, Root: found.Descriptor.Digest, Is: found.Kind, Want: layout.KindCache}
	}
	return found.Descriptor.Digest, nil
}
