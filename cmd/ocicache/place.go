package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/ocicache/ocicache/layout"
)

// errNoPlace says that nothing is where a reference points.
var errNoPlace = errors.New("no such place")

// noPlaceError wraps errNoPlace with the path.
type noPlaceError struct{ path string }

func (e *noPlaceError) Error() string { return e.path + ": no such file or directory" }
func (e *noPlaceError) Unwrap() error { return errNoPlace }

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

// open opens the layout that a reference names.
func (a *app) open(ref layout.Reference, link bool) (*layout.Dir, error) {
	if err := a.checkTransport(ref); err != nil {
		return nil, err
	}
	dir, err := layout.Open(ref.Path, a.layoutOptions(link))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &noPlaceError{ref.Path}
	}
	return dir, err
}

// create opens the layout that a reference names, and makes it where there is none.
func (a *app) create(ref layout.Reference, link bool) (*layout.Dir, error) {
	if err := a.checkTransport(ref); err != nil {
		return nil, err
	}
	dir, err := layout.Create(ref.Path, a.layoutOptions(link))
	if err != nil {
		return nil, fmt.Errorf("make the layout %s: %w", ref.Path, err)
	}
	return dir, nil
}

func (a *app) checkTransport(ref layout.Reference) error {
	if ref.Transport == layout.TransportPath || ref.Transport == layout.TransportLayout {
		return nil
	}
	return &usageError{fmt.Errorf("%s: this version of ocicache works on layout directories only", ref)}
}

func (a *app) layoutOptions(link bool) layout.Options {
	timeout := a.lockTimeout
	if timeout == 0 {
		timeout = -time.Second
	}
	return layout.Options{LockTimeout: timeout, Link: link}
}

// same says whether two references name one directory.
func same(a, b layout.Reference) bool {
	infoA, err := os.Stat(a.Path)
	if err != nil {
		return false
	}
	infoB, err := os.Stat(b.Path)
	return err == nil && os.SameFile(infoA, infoB)
}
