package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/places"
	"github.com/ocicache/ocicache/registry"
)

// baseUsage says what --base is for.
const baseUsage = "where an archive finds the blobs that it was packed without: a layout, an archive or a repository"

// parse reads a reference, with --tag in place of its tag.
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
	ref.Tag = tag
	return ref, nil
}

// isRegistry reports whether a reference names a registry.
func isRegistry(ref layout.Reference) bool { return ref.Transport == layout.TransportRegistry }

// open opens what a reference names, for reading. An archive takes from base what it was packed without; base is "" for
// none. It is closed when the command ends.
func (a *app) open(ctx context.Context, ref layout.Reference, base string, o registry.Options) (*places.Opened, error) {
	options := places.Options{Layout: a.layoutOptions(), Registry: o}
	if base != "" && !places.IsArchive(ref) {
		return nil, &usageError{fmt.Errorf("--base is for archives, and %s is none", ref)}
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
		options.Base = opened.Source
	}
	opened, err := places.Open(ctx, ref, options)
	return a.took(opened, err)
}

// create opens what a reference names, for writing, and makes a layout where there is nothing. It is closed when the
// command ends.
func (a *app) create(ctx context.Context, ref layout.Reference, o registry.Options) (*places.Opened, error) {
	opened, err := places.Create(ctx, ref, places.Options{Layout: a.layoutOptions(), Registry: o})
	return a.took(opened, err)
}

// took notes what has to be closed, and says what there is to know about it.
func (a *app) took(opened *places.Opened, err error) (*places.Opened, error) {
	var writable *places.NotWritableError
	if errors.Is(err, layout.ErrReference) || errors.As(err, &writable) {
		err = &usageError{err}
	}
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, opened)
	for _, note := range opened.Notes {
		fmt.Fprintf(a.stderr, "ocicache: %s: %s\n", clean(opened.Reference.Path), clean(note))
	}
	return opened, nil
}

func (a *app) layoutOptions() layout.Options {
	timeout := a.lockTimeout
	if timeout == 0 {
		timeout = -time.Second
	}
	return layout.Options{LockTimeout: timeout, Link: a.link}
}
