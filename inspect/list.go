package inspect

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/internal/parallel"
	"github.com/ocicache/ocicache/layout"
)

// Listed is an entry of a place. Fields that only caches have are zero for others. Sizes are in bytes.
type Listed struct {
	Tag       string        `json:"tag,omitempty"`
	Digest    digest.Digest `json:"digest"`
	Kind      layout.Kind   `json:"kind"`
	MediaType string        `json:"mediaType,omitempty"`
	// Shadowed says that another entry takes the tag first, so that nothing finds this one by its tag.
	Shadowed     bool                     `json:"shadowed,omitempty"`
	Form         buildcache.Form          `json:"form,omitempty"`
	Compressions []buildcache.Compression `json:"compressions,omitempty"` // by what the descriptors say
	Size         int64                    `json:"size,omitempty"`         // of root, config if it can be read, and distinct layers
	// Own is the size of what no other entry reaches, and what would be free without this one: 0 if another tag names the same
	// root. It is nil if not all entries were looked at, or could be read.
	Own     *int64       `json:"own,omitempty"`
	Records int          `json:"records,omitempty"`
	Results int          `json:"results,omitempty"`
	Newest  *time.Time   `json:"newest,omitempty"` // of the results, nil if none has a time
	Problem string       `json:"problem,omitempty"`
	Err     error        `json:"-"` // what Problem says, if root or config could not be read
	Entry   layout.Entry `json:"-"`
}

// List says what the entries of a place are. It reads roots and configs, each root once. What is wrong with an entry is said in
// its Problem.
func List(ctx context.Context, src layout.Source, entries []layout.Entry) ([]Listed, error) {
	return listWith(ctx, src, entries, nil)
}

// listWith is List. If o is not nil, it also tells o what the entries reach.
func listWith(ctx context.Context, src layout.Source, entries []layout.Entry, o *owners) ([]Listed, error) {
	type root struct {
		digest    digest.Digest
		mediaType string // a registry looks for it by this
		tag       string // if there is no digest
	}
	roots := make([]*Listed, len(entries))
	looked := map[root]*Listed{} // a root can have thousands of tags
	group, inGroup := parallel.New(ctx, looksAtOnce)
	for i, entry := range entries {
		at := root{digest: entry.Descriptor.Digest, mediaType: entry.Descriptor.MediaType}
		if at.digest == "" {
			at.tag = entry.Tag
		}
		if roots[i] = looked[at]; roots[i] != nil {
			continue
		}
		l := &Listed{}
		roots[i], looked[at] = l, l
		group.Go(func() (err error) {
			*l, err = list(inGroup, src, entry, o)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all := make([]Listed, len(entries))
	seen := map[string]bool{}
	for i, entry := range entries {
		l := *roots[i]
		l.Tag, l.Entry.Tag = entry.Tag, entry.Tag
		l.Shadowed = entry.Tag != "" && seen[entry.Tag]
		seen[entry.Tag] = true
		all[i] = l
	}
	return all, nil
}

func list(ctx context.Context, src layout.Source, entry layout.Entry, o *owners) (Listed, error) {
	entry, err := layout.Classify(ctx, src, entry)
	l := Listed{Digest: entry.Descriptor.Digest, Kind: entry.Kind, MediaType: entry.Descriptor.MediaType, Entry: entry}
	if err != nil {
		return l, err
	}
	if entry.Err != nil {
		l.Problem = entry.Err.Error()
	}
	if entry.Kind == layout.KindCache {
		cache, err := layout.Load(ctx, src, entry)
		switch {
		case err == nil:
			l.describe(cache)
			if o != nil {
				o.addCache(cache)
			}
			return l, nil
		case ctx.Err() != nil || errors.Is(err, fs.ErrPermission):
			return l, err
		}
		l.Problem, l.Err = err.Error(), err
		if cache := loadRoot(ctx, src, entry); cache != nil {
			l.describe(cache)
			if o != nil {
				o.addCache(cache)
			}
			return l, nil
		}
	}
	if o == nil {
		return l, nil
	}
	return l, o.addOther(ctx, src, entry.Descriptor)
}

// loadRoot returns a cache of which only the root can be read, as its layers are still there. It returns nil if not even the
// root can be read.
func loadRoot(ctx context.Context, src layout.Source, entry layout.Entry) *layout.Cache {
	raw, err := layout.ReadBlob(ctx, src, entry.Descriptor, buildcache.MaxRoot)
	if err != nil {
		return nil
	}
	root, err := buildcache.ParseRoot(raw)
	if err != nil {
		return nil
	}
	return &layout.Cache{Entry: entry, RawRoot: raw, Root: root, Config: &buildcache.Config{}}
}

// describe says what is in a cache.
func (l *Listed) describe(cache *layout.Cache) {
	l.Form, l.Records = cache.Root.Form, len(cache.Config.Records)
	l.Size = int64(len(cache.RawRoot)) + int64(len(cache.RawConfig))
	for _, layer := range cache.Root.LayersByDigest() {
		l.Size += layer.Size
		packed, ok := buildcache.LayerCompression(layer.MediaType)
		if layer.Annotations[buildcache.AnnotationTOCDigest] != "" {
			packed = buildcache.Estargz
		}
		if ok && !slices.Contains(l.Compressions, packed) {
			l.Compressions = append(l.Compressions, packed)
		}
	}
	slices.SortFunc(l.Compressions, func(a, b buildcache.Compression) int { return cmp.Compare(a, b) })
	for _, record := range cache.Config.Records {
		for _, result := range record.Results {
			l.see(result.CreatedAt.Time)
		}
		for _, chain := range record.Chains {
			l.see(chain.CreatedAt.Time)
		}
	}
	if !buildcache.IsListType(l.MediaType) {
		l.MediaType = cmp.Or(cache.Root.MediaType, l.MediaType)
	}
}

// see counts a result.
func (l *Listed) see(created time.Time) {
	l.Results++
	if !created.IsZero() && (l.Newest == nil || created.After(*l.Newest)) {
		created = created.UTC()
		l.Newest = &created
	}
}
