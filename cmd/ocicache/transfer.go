package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ocicache/ocicache/buildcache"
	"github.com/ocicache/ocicache/convert"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// transferFlags are the flags of commands that copy caches from one place to another.
type transferFlags struct {
	tag         string
	dryRun      bool
	direct      bool // no mirror is asked for SRC
	forRegistry string
	noPreflight bool
	trust       bool
	overwrite   bool
	digestFile  string
	base        string
	registry    *registryFlags
}

func (f *transferFlags) add(a *app, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.tag, "tag", "", "`TAG` of the cache in SRC")
	flags.StringVar(&f.base, "base", "", baseUsage)
	f.addTarget(a, cmd)
}

// addTarget adds the flags about DST.
func (f *transferFlags) addTarget(a *app, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.dryRun, "dry-run", false, "show what would be done, and write nothing")
	flags.BoolVar(&a.link, "link", false, "hard-link unchanged layers into DST")
	flags.StringVar(&f.digestFile, "digestfile", "", "write the digest of the result to this `FILE`")
	flags.StringVar(&f.forRegistry, "for", "", "follow the rules of this `REGISTRY`: a host or a profile")
	flags.BoolVar(&f.noPreflight, "no-preflight", false, "push even what the registry is certain to refuse")
	f.registry = addRegistryFlags(cmd, src, dest)
	f.registry.addGiveUp()
}

// addTrust is for commands that recompress.
func (f *transferFlags) addTrust(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.trust, "trust-destination", false, "reuse recompressed layers of DST without reading them")
}

func (f *transferFlags) addOverwrite(cmd *cobra.Command) {
	addOverwrite(cmd, &f.overwrite, "replace DST if it is an archive (oci-archive:FILE)")
}

// ofArchives marks the --overwrite flag of commands that write archives. In other commands the flag means something else.
const ofArchives = "archives"

func addOverwrite(cmd *cobra.Command, overwrite *bool, usage string) {
	cmd.Flags().BoolVar(overwrite, "overwrite", false, usage)
	cmd.Flags().Lookup("overwrite").Annotations = map[string][]string{ofArchives: {}}
}

// transfer is what a command line with SRC and DST asks for.
type transfer struct {
	src    *places.Opened
	dst    layout.Place // nil for a dry run to a place that does not exist, and for an archive
	dstRef layout.Reference
	// file is the archive to write, "" for none.
	file    string
	srcName string
	dstName string
	tag     string // of the result, "" for the source's
	inPlace bool   // there is no DST
	jobs    int
}

// parseEnds reads SRC and DST. Without DST, SRC is both.
func parseEnds(flags *transferFlags, args []string) (from, to layout.Reference, err error) {
	if from, err = parse(args[0], flags.tag); err != nil {
		return from, to, err
	}
	if len(args) == 1 {
		if from.Digest != "" {
			err = &usageError{fmt.Errorf("%s: the result needs a tag, and this is a digest; give a DST", from)}
		}
		return from, from, err
	}
	if to, err = parseDestination(args[1]); err == nil && to.IsLocal() {
		err = checkNotOutput(to.Path)
	}
	return from, to, err
}

// newTransfer opens SRC. Without DST, SRC is both. DST is opened by openDestination, once there is something to copy
// there.
func (a *app) newTransfer(ctx context.Context, flags *transferFlags, args []string) (*transfer, error) {
	from, to, err := parseEnds(flags, args)
	if err != nil {
		return nil, err
	}
	t := &transfer{dstRef: to}
	if err := flags.checkDigestFile(from, t.dstRef); err != nil {
		return nil, err
	}
	if err := flags.registry.check(from, t.dstRef); err != nil && len(args) > 1 {
		return nil, err
	}
	if err := flags.registry.check(from); err != nil {
		return nil, err
	}
	if err := flags.registry.checkSide(src, "SRC", baseOf(flags.base, from)...); err != nil {
		return nil, err
	}
	if err := flags.registry.checkSide(dest, "DST", t.dstRef); err != nil {
		return nil, err
	}
	if t.src, err = a.openFrom(ctx, from, t.dstRef, flags); err != nil {
		return nil, err
	}
	if err := flags.checkDigestFileIn(t.src.Source); err != nil {
		return nil, err
	}
	t.srcName, t.dstName, t.jobs = t.src.Source.String(), t.dstRef.String(), a.jobsFor(from, t.dstRef)
	if len(args) == 1 {
		t.dstName, t.inPlace = t.srcName, true
		if t.dst, err = t.src.Place(); err != nil {
			return nil, &usageError{fmt.Errorf("%s can't be changed in place; give a DST", from)}
		}
		a.noteReadOnly(flags.dryRun, from)
	}
	return t, nil
}

// openFrom opens SRC. If DST is in a registry, blobs that an archive was packed without are taken from there, as in unpack.
func (a *app) openFrom(ctx context.Context, from, to layout.Reference, flags *transferFlags) (*places.Opened, error) {
	options := flags.registry.options(src)
	options.Registry.Direct = flags.direct || from == to
	if flags.base == "" && places.IsArchive(from) && to.IsFar() {
		under, err := a.open(ctx, to, "", flags.registry.options(dest))
		if err != nil {
			return nil, err
		}
		options.Base = under.Source
		return a.open(ctx, from, "", options)
	}
	return a.open(ctx, from, flags.base, options)
}

// openDestination opens DST for writing or, in a dry run, what exists of it.
func (a *app) openDestination(ctx context.Context, t *transfer, flags *transferFlags) error {
	t.tag = t.dstRef.Tag
	if places.SameFile(t.src.Reference, t.dstRef) {
		var err error
		if t.dst, err = t.src.Place(); err != nil {
			return &usageError{fmt.Errorf("%s can't be changed in place", t.dstRef)}
		}
		return nil
	}
	to, err := a.create(ctx, t.dstRef, flags.dryRun, flags.registry.options(dest))
	if err != nil || to.Source == nil {
		return err
	}
	a.noteReadOnly(flags.dryRun, t.dstRef)
	if t.dst, err = to.Place(); err != nil {
		return &usageError{err}
	}
	if !t.dstRef.IsLocal() { // its tag is shown separately
		t.dstName = to.Source.String()
	}
	return nil
}

// jobsFor returns how many blobs to work on at once: for a remote place at least enough to keep the network busy, because
// most of the time is spent waiting.
func (a *app) jobsFor(refs ...layout.Reference) int {
	const forNetwork = 6
	if a.jobs > 0 {
		return a.jobs
	}
	for _, ref := range refs {
		if !ref.IsLocal() {
			return max(runtime.GOMAXPROCS(0), forNetwork)
		}
	}
	return 0
}

// rules returns the rules for a destination: those of --for, else those known for its registry, else none.
func (f *transferFlags) rules(ref layout.Reference) (convert.Rules, error) {
	var profile registry.Profile
	switch {
	case f.forRegistry != "":
		var err error
		if profile, err = profileFor(f.forRegistry); err != nil {
			return nil, err
		}
	case isRegistry(ref):
		profile, _ = registry.ProfileForRepository(ref.Path) // or the zero profile, which takes any form
	default:
		return nil, nil
	}
	if f.noPreflight {
		return unchecked{profile}, nil
	}
	return profile, nil
}

// unchecked is a profile's rules without a check beforehand.
type unchecked struct{ registry.Profile }

// Check finds nothing.
func (unchecked) Check(*layout.Cache) []buildcache.Problem { return nil }

// profileFor returns the profile with a name, or for a host.
func profileFor(name string) (registry.Profile, error) {
	if profile, ok := registry.ProfileByName(strings.ToLower(name)); ok {
		return profile, nil
	}
	if profile, ok := registry.ProfileForHost(name); ok {
		return profile, nil
	}
	return registry.Profile{}, &unknownProfileError{name}
}

// errNoRules says that --to auto has nothing to go by.
var errNoRules = errors.New("--to auto needs a registry to go by: a DST in one, or --for REGISTRY")

// complete sets the options that follow from the flags and the destination.
func (f *transferFlags) complete(t *transfer, o *convert.Options) error {
	o.Jobs, o.DryRun, o.TrustDestination = t.jobs, f.dryRun, f.trust
	var err error
	if o.Rules, err = f.rules(t.dstRef); err != nil {
		return err
	}
	if o.Form == convert.AutoForm && o.Rules == nil {
		return &usageError{errNoRules}
	}
	return nil
}

// runTransfer converts what SRC names to DST and writes the result. It serves convert and copy.
func (a *app) runTransfer(ctx context.Context, flags *transferFlags, args []string, options convert.Options) error {
	t, entries, err := a.toBring(ctx, flags, args)
	if err != nil {
		return unpublished(err)
	}
	if err := flags.complete(t, &options); err != nil {
		return err
	}
	result := convertResult{Source: t.srcName, Destination: t.dstName, to: t.dstRef, Caches: []convertedCache{}, CacheFrom: []string{}}
	handler, stop := a.show()
	options.OnEvent = handler
	err = a.convertAll(ctx, t, flags, entries, options, &result)
	stop()
	failed := result.err()
	if len(entries) == 1 {
		err, failed = unpublished(err), unpublished(failed)
	}
	if lines := result.digests(); err == nil && len(lines) > 0 {
		err = flags.writeDigests(ctx, lines...)
	}
	if err != nil {
		result.Error = err.Error()
	}
	if slices.ContainsFunc(result.Caches, func(c convertedCache) bool { return c.Result != nil && c.Unnamed > 0 }) {
		result.gcRefuses = a.foreseeFreed(ctx, t.dst)
	}
	// What was done is reported even before an error. If a single cache failed, the error says everything, except in JSON.
	told := len(result.Caches) > 1 || len(result.Caches) == 1 && (a.json || failed == nil)
	if err == nil && failed == nil || told {
		err = errors.Join(err, a.write(result, result.render))
	}
	return errors.Join(err, failed)
}

// toBring opens what is needed and finds the caches to convert: all of SRC if it is changed in place, else one.
func (a *app) toBring(ctx context.Context, flags *transferFlags, args []string) (t *transfer, entries []layout.Entry, err error) {
	if t, err = a.newTransfer(ctx, flags, args); err != nil {
		return nil, nil, err
	}
	if flags.overwrite && (len(args) == 1 || t.dstRef.Transport != layout.TransportArchive) {
		return nil, nil, &usageError{errors.New("--overwrite is only for a DST that is an archive: oci-archive:FILE")}
	}
	if len(args) == 1 {
		entries, err = cachesInPlace(ctx, t.src)
	} else {
		entries, err = a.oneToBring(ctx, t, flags)
	}
	return t, entries, err
}

// oneToBring finds the one cache of SRC and then opens DST for it.
func (a *app) oneToBring(ctx context.Context, t *transfer, flags *transferFlags) ([]layout.Entry, error) {
	entry, err := t.src.Cache(ctx)
	if err != nil {
		return nil, err
	}
	if t.dstRef.Transport == layout.TransportArchive {
		t.file, t.tag = t.dstRef.Path, t.dstRef.Tag
	} else if err := a.openDestination(ctx, t, flags); err != nil {
		return nil, err
	}
	t.tag = cmp.Or(t.tag, entry.Tag, layout.DefaultTag)
	return []layout.Entry{entry}, nil
}
