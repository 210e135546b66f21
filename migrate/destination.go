package migrate

import (
	"context"
	"errors"
	"slices"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// destination is an open place that caches go to.
type destination struct {
	ref    layout.Reference // without a tag
	opened *places.Opened
	place  layout.Place // nil in a check if the place does not exist
	names  []string     // of the tags that were there, sorted
	lists  bool         // the place lists tags, and names are those
	// added are tags that this batch has written since.
	added map[string]bool
}

// has reports whether a tag is there.
func (d *destination) has(tag string) bool {
	_, listed := slices.BinarySearch(d.names, tag)
	return listed || d.added[tag]
}

// openTarget opens a place to write to, or in a check as much of it as there is.
func (w *work) openTarget(ctx context.Context, ref layout.Reference) (*destination, error) {
	ref.Tag = ""
	d := &destination{ref: ref, added: map[string]bool{}}
	open, options := places.Create, w.o.places(w.plan, ref)
	if w.dry {
		open = places.Open
		options.Registry.Push = true // so that it asks for the right to push
	}
	var err error
	d.opened, err = open(ctx, ref, options)
	var none *places.NotThereError
	if errors.As(err, &none) && w.dry {
		return d, nil
	}
	if err == nil {
		d.place, err = d.opened.Place()
	}
	if err != nil {
		return nil, err
	}
	lister, ok := d.place.(layout.Lister)
	if !ok {
		return d, nil
	}
	d.lists = true
	err = w.hosts.try(ctx, hostsOf(ref), func() error {
		var err error
		d.names, err = lister.Tags(ctx)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *destination) close() error {
	if d == nil || d.opened == nil {
		return nil
	}
	return d.opened.Close()
}

// closeTarget closes the target that was kept open.
func (w *work) closeTarget() error {
	err := w.dst.close()
	w.dst = nil
	return err
}

// only returns the place with a list of just these tags, if it lists tags: in a repository for all shards, few of the tags are
// looked at. more is how many others to add.
func (d *destination) only(tags []string, more int) layout.Place {
	resolver, ok := d.place.(layout.Resolver)
	if !d.lists || !ok {
		return d.place
	}
	tags = slices.DeleteFunc(tags, func(tag string) bool { return !d.has(tag) })
	wanted := map[string]bool{}
	for _, tag := range tags {
		wanted[tag] = true
	}
	for _, tag := range d.names { // in order, so the same ones each time
		if more == 0 {
			break
		}
		if !wanted[tag] {
			tags = append(tags, tag)
			more--
		}
	}
	return &scoped{Place: d.place, Resolver: resolver, tags: tags}
}

// scoped is a place that lists only some of its tags.
type scoped struct {
	layout.Place
	layout.Resolver
	tags []string
}

// Entries returns the roots of the tags.
func (s *scoped) Entries(ctx context.Context) ([]layout.Entry, error) {
	return registry.EntriesOf(ctx, s.tags, s.Resolve)
}
