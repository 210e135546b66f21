package convert

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/compress"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// MergeSource is a cache to merge, and the place that has it.
type MergeSource struct {
	Source layout.Source
	Entry  layout.Entry
}

// MergeOptions say how caches are merged. The zero value makes an artifact, and keeps all layers as they are.
type MergeOptions struct {
	Options // Prune drops results of the merged cache
	// WithTarget makes what the tag names in the destination a source as well, if it exists. For the first of several jobs that all
	// add to one tag it doesn't: then it is skipped with a note.
	WithTarget bool
	// Overwrite replaces what the tag names even if it is not a source and has results that no source has. Without it, that is a
	// *LossError.
	Overwrite bool
}

// MergeResult says what a merge did, or would do. Sizes are in bytes.
type MergeResult struct {
	Tag     string        `json:"tag"`
	Was     digest.Digest `json:"was,omitempty"` // what the tag named before, if that was another root
	Sources []MergedCache `json:"sources"`
	// Before is the cache that the tag named before, if it was another one and could be read. NotMerged is how many of its results
	// no source has, unless it was a source itself. Results that the rules drop don't count.
	Before    *MergedCache `json:"before,omitempty"`
	NotMerged int          `json:"notMerged,omitempty"`
	To        Root         `json:"to"`
	// Unchanged says that the tag already named the result, and everything in it was there.
	Unchanged bool              `json:"unchanged"`
	Config    int64             `json:"configSize,omitempty"`
	Result    buildcache.Extent `json:"result"`
	// Superseded counts results replaced by a newer one of the same record, Cut alternative inputs that would have led BuildKit in
	// a circle, and Dropped what BuildKit doesn't import from the sources.
	Superseded int                `json:"superseded"`
	Cut        int                `json:"cut"`
	Dropped    buildcache.Dropped `json:"dropped"`
	Freed      []buildcache.Freed `json:"freed,omitempty"` // by the rules of Prune
	Undated    int                `json:"undated,omitempty"`
	// Attempts is how often it was merged: once more each time the tag had moved meanwhile, if its cache was a source.
	Attempts int `json:"attempts"`
	// Unnamed is how many bytes no tag of the destination reaches any more; layout.Dir.GC frees them.
	Unnamed int64         `json:"unnamed,omitempty"`
	DryRun  bool          `json:"dryRun,omitempty"`
	Layers  []LayerResult `json:"layers"`
	layout.Effort
	Notes []string `json:"notes,omitempty"`
}

// MergedCache is a source of a merge.
type MergedCache struct {
	Place string `json:"place"`
	Tag   string `json:"tag,omitempty"`
	Root
	ConfigSize int64 `json:"configSize"`
	buildcache.Extent
}

// mergeAttempts bounds how often a merge starts over because the tag moved.
const mergeAttempts = 8

// errNoSources says that a merge has nothing to merge.
var errNoSources = errors.New("nothing to merge")

// Merge combines several caches into one and stores it in dst under the given tag. It serves the builds of all of them; the order
// of the sources doesn't matter. buildcache.Merge says what that means for caches. Layers that dst lacks come from whichever
// source has them. With a compression, layers with the same diffID become one; if one of them has that compression already,
// the others are not recompressed.
//
// One of the sources may be what the tag names. If the tag moves meanwhile, that source is read again and everything is merged
// again, a bounded number of times. (Registries have no compare-and-swap: of two writers at the very same moment, only one may win.)
// Otherwise it works like Convert: the tag moves last, to what was proved to be whole, and errors have the same types. In addition
// it fails with a *LossError, with a *TooLargeError, and with buildcache's *RefusedError and *ConflictError.
//
// For a dry run, dst may be nil.
func Merge(ctx context.Context, sources []MergeSource, dst layout.Place, tag string, o MergeOptions) (result *MergeResult, err error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if len(sources) == 0 && !o.WithTarget {
		return nil, errNoSources
	}
	if dst == nil && !o.DryRun {
		return nil, errNoDestination
	}
	begun := time.Now()
	if o.decoder == nil {
		o.decoder = compress.NewDecoder()
	}
	if o.Form == "" {
		o.Form = buildcache.Artifact
	}
	if locker, ok := dst.(layout.Locker); ok && !o.DryRun {
		unlock, lockErr := locker.Lock(ctx)
		if lockErr != nil {
			return nil, lockErr
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	m := &merger{sources: slices.Clone(sources), dst: dst, tag: tag, o: o}
	if err := m.addTarget(ctx); err != nil {
		return nil, err
	}
	return m.mergeUntilQuiet(ctx, begun)
}

// mergeUntilQuiet merges, and merges again if the tag has moved meanwhile.
func (m *merger) mergeUntilQuiet(ctx context.Context, begun time.Time) (*MergeResult, error) {
	for attempts := 1; ; attempts++ {
		result, err := m.merge(ctx)
		if err == nil {
			result.Attempts, result.Took = attempts, layout.Seconds(time.Since(begun))
			return result, nil
		}
		if attempts == mergeAttempts {
			return nil, err
		}
		if again, refreshErr := m.refresh(ctx, err); refreshErr != nil || !again {
			return nil, errors.Join(err, refreshErr)
		}
	}
}

// merger combines several caches into one.
type merger struct {
	sources []MergeSource
	dst     layout.Place
	tag     string
	o       MergeOptions
}

// isTarget reports whether a source is what the tag names.
func (m *merger) isTarget(s MergeSource) bool {
	return m.dst != nil && layout.Same(s.Source, m.dst) && s.Entry.Tag == m.tag
}

// addTarget adds what the tag names to the sources, if that is wanted and it exists.
func (m *merger) addTarget(ctx context.Context) error {
	if !m.o.WithTarget || m.dst == nil || slices.ContainsFunc(m.sources, m.isTarget) {
		return nil
	}
	now, err := layout.Find(ctx, m.dst, m.tag)
	if err != nil || now == nil || now.Kind.IsImage() { // an image is never replaced, as target will say
		return err
	}
	if err := now.Check(ctx, m.dst); err != nil {
		return err
	}
	m.sources = append(m.sources, MergeSource{m.dst, *now})
	return nil
}

// refresh looks up those sources again that the tag names, if err says that it has moved. It reports whether to merge again.
func (m *merger) refresh(ctx context.Context, err error) (again bool, _ error) {
	var moved *layout.TagMovedError
	if !errors.As(err, &moved) {
		return false, nil
	}
	for i, source := range m.sources {
		if !m.isTarget(source) {
			continue
		}
		now, err := layout.Find(ctx, m.dst, m.tag)
		if err != nil || now == nil {
			return false, err
		}
		m.sources[i].Entry, again = *now, true
	}
	if !again && m.o.WithTarget { // somebody else was first
		before := len(m.sources)
		err := m.addTarget(ctx)
		return len(m.sources) > before, err
	}
	return again, nil
}

// merge reads the sources, and stores the result.
func (m *merger) merge(ctx context.Context) (*MergeResult, error) {
	was, err := m.was(ctx)
	if err != nil {
		return nil, err
	}
	if len(m.sources) == 0 {
		return nil, errNoSources
	}
	caches, err := m.load(ctx)
	if err != nil {
		return nil, err
	}
	old, err := m.replaced(ctx, caches, was)
	if err != nil {
		return nil, err
	}
	u, err := m.unite(caches)
	if err != nil {
		return nil, err
	}
	if err := m.checkLoss(u, old, was); err != nil {
		return nil, err
	}
	j, warnings, err := m.prepare(ctx, caches, u, was)
	if err != nil {
		return nil, err
	}
	var done *Result
	if m.o.DryRun {
		done, err = j.preview(ctx)
	} else {
		done, err = j.carryOut(ctx)
	}
	if err != nil {
		return nil, err
	}
	result := u.result(m, caches, done)
	m.compare(ctx, result, u, old, was)
	result.Notes = append(result.Notes, notesOf(warnings)...)
	return result, nil
}

// was returns the digest that the tag names in the destination, and must still name at the end.
func (m *merger) was(ctx context.Context) (digest.Digest, error) {
	for _, source := range m.sources {
		if m.isTarget(source) {
			return source.Entry.Descriptor.Digest, nil
		}
	}
	return target(ctx, nil, layout.Entry{}, m.dst, m.tag, nil)
}

// load reads the roots and configs of all sources.
func (m *merger) load(ctx context.Context) ([]*layout.Cache, error) {
	caches := make([]*layout.Cache, len(m.sources))
	group, ctx := parallel.New(ctx, lookUps)
	for i, source := range m.sources {
		group.Go(func() (err error) {
			if err = source.Entry.Check(ctx, source.Source); err != nil {
				return err
			}
			if caches[i], err = layout.Load(ctx, source.Source, source.Entry); err != nil {
				err = fmt.Errorf("%s: %w", source.name(), err)
			}
			return err
		})
	}
	return caches, group.Wait()
}

// name says which cache a source is.
func (s MergeSource) name() string {
	if s.Entry.Tag == "" {
		return s.Source.String()
	}
	return fmt.Sprintf("%s, tag %s", s.Source, s.Entry.Tag)
}
