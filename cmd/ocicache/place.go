package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
)

// baseUsage says what --base is for.
const baseUsage = "`PLACE` that has the blobs an archive leaves out"

// parse reads a reference, with --tag for its tag.
func parse(text, tag string) (layout.Reference, error) {
	ref, err := layout.ParseReference(text)
	if err != nil {
		return ref, &usageError{err}
	}
	if tag == "" {
		return ref, nil
	}
	if err := layout.CheckTag(tag); err != nil {
		return ref, &usageError{fmt.Errorf("--tag: %w", err)}
	}
	if ref.Tag != "" && ref.Tag != tag {
		return ref, &usageError{fmt.Errorf("two tags for one cache: %q in %s and --tag %q", ref.Tag, text, tag)}
	}
	if ref.Digest != "" {
		return ref, &usageError{fmt.Errorf("two choices for one cache: the digest in %s and --tag %q", text, tag)}
	}
	if isRegistry(ref) { // registries accept fewer tags
		if _, err := layout.ParseReference(ref.String() + ":" + tag); err != nil {
			return ref, &usageError{fmt.Errorf("--tag: %w", err)}
		}
	}
	ref.Tag = tag
	return ref, nil
}

// parseDestination reads a reference that is written to.
func parseDestination(text string) (layout.Reference, error) {
	ref, err := parse(text, "")
	if err == nil && ref.Digest != "" {
		err = &usageError{fmt.Errorf("%s: give a tag, not a digest; the digest follows from what is written", ref)}
	}
	return ref, err
}

// isRegistry reports whether a reference names a registry.
func isRegistry(ref layout.Reference) bool { return ref.Transport == layout.TransportRegistry }

// open opens what a reference names, for reading. Blobs that an archive was packed without come from base or, if that is "", from
// o.Base. It is closed when the command ends.
func (a *app) open(ctx context.Context, ref layout.Reference, base string, o places.Options) (*places.Opened, error) {
	if base != "" && !places.IsArchive(ref) {
		return nil, &usageError{fmt.Errorf("--base is only for archives, and %s is not one", ref)}
	}
	if base != "" {
		baseRef, err := parse(base, "")
		if err != nil {
			return nil, err
		}
		opened, err := a.open(ctx, baseRef, "", o)
		if err != nil {
			return nil, fmt.Errorf("--base: %w", err)
		}
		o.Base = opened.Source
	}
	opened, err := places.Open(ctx, ref, a.options(o))
	if errors.Is(err, layout.ErrNotLayout) {
		err = &noCacheThereError{err}
	}
	return a.took(opened, err)
}

// noCacheThereError says that a directory to be read is not a layout, such as an empty one, so there is no cache to find.
type noCacheThereError struct{ err error }

func (e *noCacheThereError) Error() string { return e.err.Error() }
func (e *noCacheThereError) Unwrap() error { return e.err }

// openNamed opens the one place that a command line names, for reading.
func (a *app) openNamed(ctx context.Context, text, tag string, access *registryFlags) (*places.Opened, error) {
	return a.openAccessed(ctx, text, tag, access, false)
}

// openChanged opens the one place that a command line names, to change it or, in a dry run, to say how: no mirror of a registry is asked.
func (a *app) openChanged(ctx context.Context, text, tag string, access *registryFlags) (*places.Opened, error) {
	return a.openAccessed(ctx, text, tag, access, true)
}

func (a *app) openAccessed(ctx context.Context, text, tag string, access *registryFlags, direct bool) (*places.Opened, error) {
	ref, err := parse(text, tag)
	if err != nil {
		return nil, err
	}
	if err := access.check(ref); err != nil {
		return nil, err
	}
	o := access.options(either) // after check, which reads the password
	o.Registry.Direct = direct
	return a.open(ctx, ref, "", o)
}

// create opens what a reference names, for writing. Unless it is a dry run, it makes a layout if there is none. It is closed
// when the command ends.
func (a *app) create(ctx context.Context, ref layout.Reference, dryRun bool, o places.Options) (*places.Opened, error) {
	o.DryRun = dryRun
	opened, err := places.Create(ctx, ref, a.options(o))
	if err == nil {
		a.mayUnmake(opened.Source)
	}
	return a.took(opened, err)
}

// took notes what has to be closed, and prints notes about it.
func (a *app) took(opened *places.Opened, err error) (*places.Opened, error) {
	var writable *places.NotWritableError
	if errors.Is(err, layout.ErrReference) || errors.As(err, &writable) {
		err = &usageError{err}
	}
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, opened)
	if a.opens != nil {
		opened.Source = a.opens(opened.Source)
	}
	for _, note := range opened.Notes {
		a.note(opened.Reference.Path + ": " + note)
	}
	return opened, nil
}

// note prints a note on standard error.
func (a *app) note(text string) {
	if text = clean(text); a.speaksJSON() {
		a.sayLine(errorLine{Event: "note", Note: text})
	} else {
		fmt.Fprintf(a.stderr, "ocicache: %s\n", text)
	}
}

// noteReadOnly says that what a dry run describes would fail, if this user can't write to the directory.
func (a *app) noteReadOnly(dryRun bool, ref layout.Reference) {
	if !dryRun || !ref.IsLocal() {
		return
	}
	if err := layout.CheckCreate(ref.Path); err != nil {
		a.note("without --dry-run, this would fail: " + err.Error())
	}
}

// options adds what applies to every place that a command opens.
func (a *app) options(o places.Options) places.Options {
	o.Layout, o.Registry.Hosts, o.Registry.OnEvent = a.layoutOptions(), &a.hosts, a.retried
	return o
}

func (a *app) layoutOptions() layout.Options {
	timeout := a.lockTimeout
	if timeout == 0 {
		timeout = -time.Second
	}
	return layout.Options{LockTimeout: timeout, Link: a.link}
}
