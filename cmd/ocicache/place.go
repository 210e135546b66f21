package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// errNoPlace says that nothing is where a reference points.
var errNoPlace = errors.New("no such place")

// noPlaceError wraps errNoPlace with the path.
type noPlaceError struct{ path string }

func (e *noPlaceError) Error() string { return e.path + ": no such file or directory" }
func (e *noPlaceError) Unwrap() error { return errNoPlace }

// source is what a reference names, opened for reading.
type source interface {
	layout.Source
	fmt.Stringer
}

// place is a source that can be written to as well.
type place interface {
	source
	layout.Sink
}

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
	ref.Tag = tag
	return ref, nil
}

// isRegistry says whether a reference names a registry.
func isRegistry(ref layout.Reference) bool { return ref.Transport == layout.TransportRegistry }

// open opens what a reference names, for reading.
func (a *app) open(ref layout.Reference, o registry.Options) (source, error) {
	return a.openPlace(ref, o)
}

// openPlace opens what a reference names, for reading and writing.
func (a *app) openPlace(ref layout.Reference, o registry.Options) (place, error) {
	switch ref.Transport {
	case layout.TransportRegistry:
		return a.openRegistry(ref, o)
	case layout.TransportPath, layout.TransportLayout:
		dir, err := layout.Open(ref.Path, a.layoutOptions())
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &noPlaceError{ref.Path}
		}
		if err != nil {
			return nil, err
		}
		return dir, nil
	default:
		return nil, &usageError{fmt.Errorf("%s: only a layout directory or a registry can be written to like this", ref)}
	}
}

// create opens the place that a reference names for writing, and makes a layout where there is none.
func (a *app) create(ctx context.Context, ref layout.Reference, o registry.Options) (place, error) {
	if ref.Transport != layout.TransportPath && ref.Transport != layout.TransportLayout {
		return a.openPlace(ref, o)
	}
	dir, err := layout.Create(ctx, ref.Path, a.layoutOptions())
	if err != nil {
		return nil, fmt.Errorf("make the layout %s: %w", ref.Path, err)
	}
	return dir, nil
}

func (a *app) openRegistry(ref layout.Reference, o registry.Options) (place, error) {
	repository, err := registry.Open(ref.Path, o)
	if errors.Is(err, layout.ErrReference) {
		return nil, &usageError{err}
	}
	if err != nil {
		return nil, err
	}
	if ref.Tag != "" { // from --tag
		if repository, err = repository.Only(ref.Tag); err != nil {
			return nil, &usageError{err}
		}
	}
	a.closers = append(a.closers, repository)
	return repository, nil
}

func (a *app) layoutOptions() layout.Options {
	timeout := a.lockTimeout
	if timeout == 0 {
		timeout = -time.Second
	}
	return layout.Options{LockTimeout: timeout, Link: a.link}
}

// tagOf returns the tag that a reference names in its place, or "".
func tagOf(ref layout.Reference, p layout.Source) string {
	if repository, ok := p.(*registry.Repository); ok {
		return repository.ScopedTag()
	}
	return ref.Tag
}

// same says whether two references name one directory.
func same(a, b layout.Reference) bool {
	if isRegistry(a) || isRegistry(b) {
		return false
	}
	infoA, err := os.Stat(a.Path)
	if err != nil {
		return false
	}
	infoB, err := os.Stat(b.Path)
	return err == nil && os.SameFile(infoA, infoB)
}
