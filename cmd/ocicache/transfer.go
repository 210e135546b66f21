package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// baseUsage says what --base is for.
const baseUsage = "where an archive finds the blobs that it was packed without: a layout, an archive or a repository"

// transferFlags are the flags of commands that bring caches from one place to another.
type transferFlags struct {
	tag         string
	dryRun      bool
	forRegistry string
	noPreflight bool
	base        string
	registry    *registryFlags
}

func (f *transferFlags) add(a *app, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.tag, "tag", "", "the cache of SRC")
	flags.StringVar(&f.base, "base", "", baseUsage)
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would be done, and write nothing")
	flags.BoolVar(&a.link, "link", false, "hard-link unchanged layers into DST instead of copying them")
	flags.StringVar(&f.forRegistry, "for", "", "the rules of this registry apply: a host, or a name from 'ocicache registries'")
	flags.BoolVar(&f.noPreflight, "no-preflight", false, "push even what the registry surely refuses")
	f.registry = addRegistryFlags(cmd, src, dest)
}

// transfer is what a command line with SRC and DST comes to.
type transfer struct {
	src     source
	entries []layout.Entry
	dst     layout.Place // nil for a dry run to a place that is not there, and for an archive
	file    string       // the archive to write, or ""
	dstRef  layout.Reference
	srcName string
	dstName string
	tag     string // of the result, "" for the source's
	jobs    int
}

// newTransfer opens SRC and DST. Without DST it is SRC, with every cache in it.
func (a *app) newTransfer(ctx context.Context, flags *transferFlags, args []string) (*transfer, error) {
	refs := make([]layout.Reference, len(args))
	for i, text := range args {
		tag := ""
		if i == 0 {
			tag = flags.tag
		}
		var err error
		if refs[i], err = parse(text, tag); err != nil {
			return nil, err
		}
	}
	if err := flags.registry.check(refs...); err != nil {
		return nil, err
	}
	from, err := a.open(ctx, refs[0], flags.base, flags.registry.options(src))
	if err != nil {
		return nil, err
	}
	t := &transfer{src: from, dstRef: refs[0], srcName: from.String(), jobs: a.jobsFor(refs...)}
	if len(refs) == 1 {
		same, ok := from.(place)
		if !ok {
			return nil, &usageError{fmt.Errorf("%s is not changed in place; give a DST", refs[0])}
		}
		t.dst, t.dstName = same, t.srcName
		t.entries, err = selected(ctx, refs[0], from)
		return t, err
	}
	t.dstRef, t.dstName = refs[1], refs[1].String()
	entry, err := layout.One(ctx, from, tagOf(refs[0], from))
	if err != nil {
		return nil, err
	}
	t.entries = []layout.Entry{entry}
	if refs[1].Transport == layout.TransportArchive {
		t.file, t.tag = refs[1].Path, refs[1].Tag
	} else if err := t.openDestination(ctx, a, flags, refs); err != nil {
		return nil, err
	}
	t.tag = cmp.Or(t.tag, entry.Tag, "latest")
	return t, nil
}

func (t *transfer) openDestination(ctx context.Context, a *app, flags *transferFlags, refs []layout.Reference) error {
	if same(refs[0], refs[1]) {
		there, ok := t.src.(place)
		if !ok {
			return &usageError{fmt.Errorf("%s is not changed in place", refs[0])}
		}
		t.dst, t.tag = there, refs[1].Tag
		return nil
	}
	access := flags.registry.options(dest)
	open := func() (place, error) { return a.create(ctx, refs[1], access) }
	if flags.dryRun {
		open = func() (place, error) { return a.openPlace(refs[1], access) }
	}
	to, err := open()
	if errors.Is(err, errNoPlace) && flags.dryRun {
		t.dst, t.tag = nil, refs[1].Tag
		return nil
	}
	if err != nil {
		return err
	}
	t.dst, t.tag = to, tagOf(refs[1], to)
	if repository, ok := to.(*registry.Repository); ok {
		t.dst, t.dstName = repository.Whole(), repository.String()
	}
	return nil
}

// jobsFor returns how many blobs to work on at once: for a registry more than there are processors, as most of the time
// goes by waiting.
func (a *app) jobsFor(refs ...layout.Reference) int {
	const forNetwork = 6
	if a.jobs > 0 {
		return a.jobs
	}
	for _, ref := range refs {
		if isRegistry(ref) {
			return max(runtime.GOMAXPROCS(0), forNetwork)
		}
	}
	return 0
}

// selected returns the caches that a reference stands for: every one of a bare path, else one.
func selected(ctx context.Context, ref layout.Reference, from source) ([]layout.Entry, error) {
	if takesAll(ref) {
		return layout.All(ctx, from)
	}
	entry, err := layout.One(ctx, from, tagOf(ref, from))
	return []layout.Entry{entry}, err
}

// takesAll says whether a reference stands for every cache in its place.
func takesAll(ref layout.Reference) bool {
	return ref.Transport == layout.TransportPath && ref.Tag == ""
}

// profile returns the rules for what goes to dst: those of --for, else those known for its host.
func (f *transferFlags) profile(ref layout.Reference, to layout.Place) (registry.Profile, bool, error) {
	if f.forRegistry != "" {
		profile, err := profileFor(f.forRegistry)
		return profile, err == nil, err
	}
	repository, ok := to.(*registry.Repository)
	if !ok || !isRegistry(ref) {
		return registry.Profile{}, false, nil
	}
	profile, ok := registry.ProfileForHost(repository.Host())
	return profile, ok, nil
}

// profileFor returns the profile with a name or for a host.
func profileFor(name string) (registry.Profile, error) {
	if profile, ok := registry.ProfileByName(name); ok {
		return profile, nil
	}
	if profile, ok := registry.ProfileForHost(name); ok {
		return profile, nil
	}
	return registry.Profile{}, &unknownProfileError{name}
}

// preflight returns the check of what goes to the destination, or nil where nothing is known or wanted.
func (f *transferFlags) preflight(t *transfer) (func(*layout.Cache) []buildcache.Problem, error) {
	profile, ok, err := f.profile(t.dstRef, t.dst)
	if err != nil || !ok || f.noPreflight {
		return nil, err
	}
	return profile.Check, nil
}

// convertAll converts the caches of a transfer and writes the result.
func (a *app) convertAll(ctx context.Context, t *transfer, options convert.Options) error {
	result := convertResult{Source: t.srcName, Destination: t.dstName, Caches: []*convert.Result{}}
	handler, stop := a.show()
	options.OnEvent = handler
	var err error
	for _, entry := range t.entries {
		var done *convert.Result
		done, err = a.convertOne(ctx, t, entry, options)
		if err != nil {
			break
		}
		result.Caches = append(result.Caches, done)
	}
	stop()
	// What was done before an error is said all the same.
	if err == nil || len(result.Caches) > 0 {
		err = errors.Join(err, a.write(result, result.render))
	}
	return err
}

// convertOne converts one cache of a transfer.
func (a *app) convertOne(ctx context.Context, t *transfer, entry layout.Entry, options convert.Options) (*convert.Result, error) {
	tag := cmp.Or(t.tag, entry.Tag)
	if t.file == "" || options.DryRun {
		return convert.Convert(ctx, t.src, entry, t.dst, tag, options)
	}
	var done *convert.Result
	to := archive.PackOptions{Layout: a.layoutOptions(), OnEvent: options.OnEvent}
	_, err := archive.PackChanged(ctx, t.src, archive.Target{File: t.file}, to, func(ctx context.Context, dst layout.Place) (err error) {
		done, err = convert.Convert(ctx, t.src, entry, dst, tag, options)
		return err
	})
	return done, err
}
