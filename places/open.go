package places

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/ocicache/ocicache/archive"
	"github.com/ocicache/ocicache/layout"
	"github.com/ocicache/ocicache/registry"
)

// Options say how to open places. The zero value is ready to use.
type Options struct {
	Layout   layout.Options
	Registry registry.Options
	// Base has the blobs that an archive was packed without; nil for none. For other places it is an
	// error.
	Base layout.Source
	// DryRun keeps Create from making a layout.
	DryRun bool
}

// Opened is a place that a reference named. Close it when the job is done.
type Opened struct {
	// Source is the place, with all of its optional interfaces (layout.RandomAccess and the like): give it to functions that
	// read. It is nil if Create would have made a layout, but did not because of a dry run.
	Source    layout.Source
	Reference layout.Reference
	// Notes say what a user should know about the place, such as that missing volumes of an archive are rebuilt.
	Notes []string

	close func() error
}

// Close releases what the place holds: files, connections.
func (o *Opened) Close() error {
	if o.close == nil {
		return nil
	}
	return o.close()
}

// Place returns the place for writing. It fails with a *NotWritableError for an archive.
func (o *Opened) Place() (layout.Place, error) {
	if place, ok := o.Source.(layout.Place); ok {
		return place, nil
	}
	return nil, &NotWritableError{Reference: o.Reference}
}

// Open opens what a reference names for reading. It fails with a *NotThereError if nothing is there, with a *HostError if a
// bare path looks like the name of a repository, and with an error that wraps layout.ErrReference if the name can't be one. It
// does not ask a registry for anything yet.
func Open(ctx context.Context, ref layout.Reference, o Options) (*Opened, error) {
	switch {
	case ref.Transport == layout.TransportStream:
		return nil, fmt.Errorf("%w: standard input (-) can't be used here", layout.ErrReference)
	case IsArchive(ref):
		return openArchive(ctx, ref, o)
	case o.Base != nil:
		return nil, fmt.Errorf("%w: only archives can have a base, and %s is not one", layout.ErrReference, ref)
	case ref.Transport == layout.TransportRegistry:
		return openRegistry(ref, o)
	case isDir(ref):
		return openDir(ref, o)
	default:
		return nil, fmt.Errorf("%w: unknown transport %q", layout.ErrReference, ref.Transport)
	}
}

// Create opens what a reference names for writing, and makes a layout if nothing is there. It fails as Open does, with a
// *NotWritableError for an archive, and with an *IsFileError if a file is in the way, in a dry run as well.
func Create(ctx context.Context, ref layout.Reference, o Options) (*Opened, error) {
	switch {
	case ref.Digest != "":
		return nil, fmt.Errorf("%w: %s: give a tag, not a digest; the digest follows from what is written", layout.ErrReference, ref)
	case IsArchive(ref) && ref.Transport == layout.TransportPath:
		return nil, &IsFileError{Path: ref.Path}
	case IsArchive(ref):
		return nil, &NotWritableError{Reference: ref}
	}
	o.Registry.Push = true
	opened, err := Open(ctx, ref, o)
	if err == nil && isDir(ref) {
		err = checkIndex(ctx, opened.Source)
	}
	var none *NotThereError
	if !isDir(ref) || !errors.As(err, &none) && !errors.Is(err, layout.ErrNotLayout) {
		return opened, err
	}
	if err := checkNew(ref); none != nil && err != nil {
		return nil, err
	}
	if o.DryRun {
		return &Opened{Reference: ref}, layout.CheckCreate(ref.Path)
	}
	dir, err := layout.Create(ctx, ref.Path, o.Layout)
	if err != nil {
		return nil, fmt.Errorf("make the layout %s: %w", ref.Path, err)
	}
	return &Opened{Source: dir, Reference: ref}, nil
}

// checkIndex fails if a layout's index.json can't be read. Nothing could be tagged in it, so not even its lock is made.
func checkIndex(ctx context.Context, src layout.Source) error {
	if dir, ok := src.(*layout.Dir); ok {
		_, err := dir.Index(ctx)
		return err
	}
	return nil
}

// IsArchive reports whether a reference names an archive: a file, or volumes of one.
func IsArchive(ref layout.Reference) bool {
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

// isDir reports whether a reference that names no archive names a layout directory.
func isDir(ref layout.Reference) bool {
	return ref.Transport == layout.TransportLayout || ref.Transport == layout.TransportPath
}

func openDir(ref layout.Reference, o Options) (*Opened, error) {
	dir, err := layout.Open(ref.Path, o.Layout)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notThere(ref)
	}
	if err != nil {
		return nil, err
	}
	return &Opened{Source: dir, Reference: ref}, nil
}

func openArchive(ctx context.Context, ref layout.Reference, o Options) (*Opened, error) {
	opened, err := archive.Open(ctx, []string{ref.Path}, archive.OpenOptions{Base: o.Base})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notThere(ref)
	}
	if err != nil {
		return nil, err
	}
	return &Opened{Source: opened, Reference: ref, Notes: opened.Notes(), close: opened.Close}, nil
}

func openRegistry(ref layout.Reference, o Options) (*Opened, error) {
	repository, err := registry.Open(ref.Path, o.Registry)
	if err != nil {
		return nil, err
	}
	return &Opened{Source: repository, Reference: ref, close: repository.Close}, nil
}

// Same reports whether two references name the same place: by the file or, if it is far, by the name.
func Same(a, b layout.Reference) bool {
	return SameFile(a, b) || a.IsFar() && a.Transport == b.Transport && a.Path == b.Path
}

// SameFile reports whether two references name the same directory or file. It is false for anything that is not local, to which
// there may be several ways.
func SameFile(a, b layout.Reference) bool {
	if !a.IsLocal() || !b.IsLocal() {
		return false
	}
	infoA, err := os.Stat(a.Path)
	if err != nil {
		return false
	}
	infoB, err := os.Stat(b.Path)
	return err == nil && os.SameFile(infoA, infoB)
}
