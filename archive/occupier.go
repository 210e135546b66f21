package archive

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ocicache/ocicache/internal/durable"
	"github.com/ocicache/ocicache/internal/volumes"
	"github.com/ocicache/ocicache/layout"
)

// OccupiedError says that a file would lie in a place that is used to make it, or would replace part of that place.
type OccupiedError struct {
	File, Place string
	Use         string // what the place does, as in "is being packed"
}

func (e *OccupiedError) Error() string {
	return fmt.Sprintf("%s is part of %s, which %s", e.File, e.Place, e.Use)
}

// CheckTarget checks whether Pack with these options could give an archive of something in the sources the name file, and
// fails as Pack would. It writes nothing.
func CheckTarget(ctx context.Context, file string, o PackOptions, sources ...layout.Source) error {
	if err := o.checkOccupied(file, sources); err != nil {
		return err
	}
	_, err := volumes.Claim(ctx, file, o.claim())
	return err
}

// checkOccupied fails with an *OccupiedError if an archive or its work directory would be part of what it is made from or relies on.
func (o PackOptions) checkOccupied(file string, sources []layout.Source) error {
	for _, src := range sources {
		if err := checkOccupied(file, src, "is being packed"); err != nil {
			return err
		}
	}
	for _, holder := range o.Have {
		if err := checkOccupied(file, holder, "is given with --have"); err != nil {
			return err
		}
	}
	return nil
}

// checkOccupied fails with an *OccupiedError if a file or its work directory would be part of a place.
func checkOccupied(file string, place fmt.Stringer, use string) error {
	path, err := durable.Resolve(filepath.Clean(file))
	if err != nil {
		return err
	}
	work, err := workDir(path)
	if err != nil {
		return err
	}
	if occupier, ok := place.(layout.Occupier); ok && (occupier.Occupies(path) || occupier.Occupies(work)) {
		return &OccupiedError{File: file, Place: place.String(), Use: use}
	}
	return nil
}

// Occupies reports whether a path is one of the archive's files, or lies in its base.
func (a *Archive) Occupies(path string) bool {
	if base, ok := a.base.(layout.Occupier); ok && base.Occupies(path) {
		return true
	}
	return a.src.Occupies(path)
}

// Occupies reports whether a path is this file.
func (f *tarFile) Occupies(path string) bool {
	own, err := f.Stat()
	if err != nil {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && os.SameFile(own, info)
}

// Occupies reports whether a path is part of the source.
func (s *staging) Occupies(path string) bool {
	src, ok := s.src.(layout.Occupier)
	return ok && src.Occupies(path)
}
