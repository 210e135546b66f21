package main

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// mergeSources are the caches to merge, and their places, each once.
type mergeSources struct {
	sources []convert.MergeSource
	opened  []*places.Opened
	hidden  []string // notes on caches that are not sources because others hide them
	toCome  error    // why what DST names is not a source yet; nil if it was not meant to be, or if it is one
}

// find returns the index of a place among the opened ones, or -1.
func (m *mergeSources) find(ref layout.Reference) int {
	return slices.IndexFunc(m.opened, func(o *places.Opened) bool { return places.Same(o.Reference, ref) })
}

// openSources opens the places of the sources, each once, and finds the caches in them. A source that DST names too is opened as
// DST would be, and skipped if it does not exist yet.
func (a *app) openSources(
	ctx context.Context, flags *transferFlags, merge mergeFlags, refs []layout.Reference, dst layout.Reference,
) (*mergeSources, error) {
	m := &mergeSources{}
	for _, ref := range refs {
		err := a.openSource(ctx, flags, merge, m, ref, dst)
		if isTarget(ref, dst) && isToCome(err) {
			m.toCome, err = err, nil
		}
		if err != nil {
			return nil, err
		}
	}
	if len(m.sources) == 0 {
		return nil, m.toCome
	}
	return m, nil
}

// isTarget reports whether a source is what DST names, judging by the references.
func isTarget(ref, dst layout.Reference) bool {
	same := places.Same(ref, dst) || ref.IsLocal() && dst.IsLocal() && filepath.Clean(ref.Path) == filepath.Clean(dst.Path)
	return same && ref.Digest == "" && cmp.Or(ref.Tag, layout.DefaultTag) == cmp.Or(dst.Tag, layout.DefaultTag)
}

// isToCome reports whether an error says that what was named does not exist yet. An untagged cache in its place does exist.
func isToCome(err error) bool {
	var (
		notThere  *places.NotThereError
		notFound  *layout.NotFoundError
		ambiguous *layout.AmbiguousError
	)
	switch {
	case errors.As(err, &notFound):
		return len(notFound.Unnamed) == 0
	case errors.As(err, &notThere), errors.As(err, &ambiguous):
		return true
	}
	return false
}

// openSource opens the place of one source, unless it is already open, and finds the caches.
func (a *app) openSource(
	ctx context.Context, flags *transferFlags, merge mergeFlags, m *mergeSources, ref, dst layout.Reference,
) error {
	at := m.find(ref)
	if at < 0 {
		options := flags.registry.options(src)
		if places.Same(ref, dst) {
			options = flags.registry.options(dest)
			options.Registry.Push, options.Registry.Direct = ref.IsFar() && !flags.dryRun, true
		}
		base := merge.base
		if !places.IsArchive(ref) {
			base = ""
		}
		from, err := a.open(ctx, ref, base, options)
		if err != nil {
			return err
		}
		at, m.opened = len(m.opened), append(m.opened, from)
	}
	named := *m.opened[at]
	named.Reference = ref
	entries, err := named.Caches(ctx)
	if err != nil {
		return err
	}
	if places.MeansAll(ref) {
		hidden, err := hiddenNotes(ctx, &named, nil)
		if err != nil {
			return err
		}
		m.hidden = append(m.hidden, hidden...)
	}
	for _, entry := range entries {
		m.sources = append(m.sources, convert.MergeSource{Source: named.Source, Entry: entry})
	}
	return nil
}

// distinct returns one reference for each place.
func distinct(refs []layout.Reference) (all []layout.Reference) {
	for _, ref := range refs {
		if !slices.ContainsFunc(all, func(other layout.Reference) bool { return places.Same(ref, other) }) {
			all = append(all, ref)
		}
	}
	return all
}
