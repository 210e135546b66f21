package archive

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ocicache/ocicache/internal/volumes"
	"github.com/ocicache/ocicache/layout"
)

// OccupiedError says that an archive would lie in the place that it is made of, or replace part of it.
type OccupiedError struct {
	File, Place string
}

func (e *OccupiedError) Error() string {
	return fmt.Sprintf("%s is part of %s, which is to be packed", e.File, e.Place)
}

// CheckTarget finds out whether Pack with these options could call an archive of something in the sources file, and fails
// as Pack does. It writes nothing.
func CheckTarget(ctx context.Context, file string, o PackOptions, sources ...layout.Source) error {
	if err := checkOccupied(file, sources...); err != nil {
		return err
	}
	_, err := volumes.Claim(ctx, file, o.claim())
	return err
}

// checkOccupied fails with an *OccupiedError where a file, or its work directory, is part of a source.
func checkOccupied(file string, sources ...layout.Source) error {
	path, err := volumes.Resolve(filepath.Clean(file))
	if err != nil {
		return err
	}
	work, err := workDir(path)
	if err != nil {
		return err
	}
	for _, src := range sources {
		place, ok := src.(layout.Occupier)
		if ok && (place.Occupies(path) || place.Occupies(work)) {
			return &OccupiedError{File: file, Place: src.String()}
		}
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
