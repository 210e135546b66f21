package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// errNoPlace says that nothing is where a reference points.
var errNoPlace = errors.New("no such place")

// noPlaceError wraps errNoPlace with the path.
type noPlaceError struct{ path string }

func (e *noPlaceError) Error() string { return e.path + ": no such file or directory" }
func (e *noPlaceError) Unwrap() error { return errNoPlace }

// notWritableError says that a command does not write to such a place.
type notWritableError struct{ ref layout.Reference }

func (e *notWritableError) Error() string {
	return fmt.Sprintf("%s: this writes to layout directories and registries only", e.ref)
}

// isFileError says that there is a file where a layout was to be made.
type isFileError struct{ path string }

func (e *isFileError) Error() string { return e.path + ": it is a file, and no layout" }

// source is what a reference names, opened for reading.
type source interface {
	archive.Store
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

// open opens what a reference names, for reading. An archive takes from base what it was packed without; base is "" for
// none.
func (a *app) open(ctx context.Context, ref layout.Reference, base string, o registry.Options) (source, error) {
	if isArchive(ref) {
		return a.openArchive(ctx, ref, base, o)
	}
	if base != "" {
		return nil, &usageError{fmt.Errorf("--base is for archives, and %s is none", ref)}
	}
	return a.openPlace(ref, o)
}

// isArchive says whether a reference names an archive: a file, or volumes of one.
func isArchive(ref layout.Reference) bool {
	switch ref.Transport {
	case layout.TransportArchive:
		return true
	case layout.TransportPath:
		info, err := os.Stat(ref.Path)
		return err == nil && info.Mode().IsRegular() || errors.Is(err, fs.ErrNotExist) && archive.IsInVolumes(ref.Path)
	default:
		return false
	}
}

func (a *app) openArchive(ctx context.Context, ref layout.Reference, base string, o registry.Options) (source, error) {
	var options archive.OpenOptions
	if base != "" {
		var err error
		if options.Base, err = a.openBase(ctx, base, o); err != nil {
			return nil, err
		}
	}
	opened, err := archive.Open(ctx, []string{ref.Path}, options)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &noPlaceError{ref.Path}
	}
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, opened)
	for _, note := range opened.Notes() {
		fmt.Fprintf(a.stderr, "ocicache: %s: %s\n", ref.Path, note)
	}
	return opened, nil
}

// openBase opens where blobs are looked for that an archive was packed without.
func (a *app) openBase(ctx context.Context, text string, o registry.Options) (source, error) {
	ref, err := parse(text, "")
	if err != nil {
		return nil, err
	}
	from, err := a.open(ctx, ref, "", o)
	if err != nil {
		return nil, fmt.Errorf("--base: %w", err)
	}
	return from, nil
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
		return nil, &usageError{&notWritableError{ref}}
	}
}

// create opens the place that a reference names for writing, and makes a layout where there is none.
func (a *app) create(ctx context.Context, ref layout.Reference, o registry.Options) (place, error) {
	if ref.Transport != layout.TransportPath && ref.Transport != layout.TransportLayout {
		return a.openPlace(ref, o)
	}
	if info, err := os.Stat(ref.Path); err == nil && info.Mode().IsRegular() {
		return nil, &isFileError{ref.Path}
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
